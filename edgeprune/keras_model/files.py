"""Loads and saves Keras models, with readable errors for files that cannot be loaded."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import keras

from edgeprune.core.errors import ModelError, OutputError
from edgeprune.core.files import require_keras_name
from edgeprune.core.work_note import working
from edgeprune.keras_model.layers import Model


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
    with working(f"Keras loaded {path}"):
        return _load(path)


def _load(path: Path) -> Model:
    try:
        return keras.models.load_model(path)
    except Exception as error:  # noqa: BLE001  Keras raises whatever a file's layers raise
        first = error
    try:
        # The loss or the optimizer may be what failed to load; the layers do not need them.
        return keras.models.load_model(path, compile=False)
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
