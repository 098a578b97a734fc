"""Loads and saves Keras models, with readable errors for files that cannot be loaded."""

from __future__ import annotations

import json
import tempfile
import warnings
import zipfile
from pathlib import Path

import keras

from edgeprune.core.errors import ModelError, OutputError, QualityWarning
from edgeprune.core.files import require_keras_name
from edgeprune.keras_model.layers import Model

_LOST = "_edgeprune_lost_compilation"
"""Attribute of a loaded model that says why its compilation is missing."""


def load_model(path: Path) -> Model:
    """Loads a `.keras` file (or a legacy `.h5`), compiled as it was saved where possible.

    Raises:
      ModelError: the file does not exist, is not a Keras file, or needs code that is not imported.
    """
    if not path.is_file():
        raise ModelError(f"{path}: expected a Keras model file. Received: no such file.")
    if path.suffix not in {".keras", ".h5"}:
        raise ModelError(
            f"{path}: expected a file ending in .keras (or .h5). Received: '{path.suffix}'. "
            "Save the model with model.save('name.keras')."
        )
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise ModelError(
            f"{path}: expected a .keras file, which is a zip archive. Received: "
            f"{path.stat().st_size} bytes that are not one (cut short, or another format). "
            "Save the model again with model.save()."
        )
    return _load(path)


def _load(path: Path) -> Model:
    try:
        return keras.models.load_model(path)
    except Exception as error:  # noqa: BLE001  Keras raises whatever a file's layers raise
        first = error
    try:
        # The loss or the optimizer may be what failed to load; the layers do not need them.
        model = keras.models.load_model(path, compile=False)
    except Exception:  # noqa: BLE001
        if "PruneLowMagnitude" in str(first):
            raise ModelError(
                f"{path}: this model is still wrapped for pruning. Load it in Python after "
                "`import edgeprune.tfmot`, and save what edgeprune.strip_pruning(model) returns."
            ) from first
        summary = " ".join(str(first).split())[:300]
        raise ModelError(
            f"{path}: Keras {keras.__version__} cannot load this model ({type(first).__name__}: "
            f"{summary}). Custom layers must be registered with "
            "@keras.saving.register_keras_serializable and imported first; then use the Python "
            "API. Lambda layers are not loaded, since they can run any code."
        ) from first
    _compile_without_metrics(model, path, first)
    return model


def lost_compilation(model: Model) -> str | None:
    """Why the loss and optimizer that a model was saved with could not be loaded; else None."""
    return getattr(model, _LOST, None)


def _compile_without_metrics(model: Model, path: Path, error: Exception) -> None:
    """Compiles a model whose compilation did not load, in place, if only its metrics are why.

    Else it notes the error on the model, see `lost_compilation`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read("config.json"))["compile_config"]
        model.compile_from_config({k: v for k, v in saved.items() if "metrics" not in k})
    except Exception:  # noqa: BLE001  Keras raises whatever a file's losses raise
        said = " ".join(str(error).split()).partition(" Full object config")[0]
        setattr(model, _LOST, said[:300])
        return
    warnings.warn(
        f"{path}: the metrics that the model was compiled with cannot be loaded, and are left out "
        f"({' '.join(str(error).split())[:150]}).",
        QualityWarning,
        stacklevel=3,
    )


def save_model(model: Model, path: Path) -> None:
    """Saves a model as `.keras`, atomically.

    Raises:
      OutputError: the name does not end in `.keras`, or the folder is missing or not writable.
    """
    require_keras_name(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".edgeprune-") as folder:
            written = Path(folder, path.name)
            model.save(written)
            written.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error
