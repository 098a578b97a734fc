"""Loads and saves Keras models, with readable errors for files that cannot be loaded."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import keras

from edgeprune.core.errors import ModelError, OutputError
from edgeprune.core.files import require_keras_name
from edgeprune.core.work_note import working
from edgeprune.keras_model.hard_sigmoid import as_in_keras2
from edgeprune.keras_model.keras2 import (
    for_keras3,
    is_keras2,
    keras_version_of,
    require_whole_model,
)
from edgeprune.keras_model.layers import Model


def load_model(path: Path) -> Model:
    """Loads a `.keras` file (or a legacy `.h5`), compiled as it was saved where possible.

    A file that Keras 2 wrote computes as it did there, see `keras2` and `hard_sigmoid`.

    Raises:
      ModelError: the file does not exist, is not a Keras file or holds weights only, or needs code
        that is not imported.
    """
    require_whole_model(path)
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
    version = None
    try:
        version = keras_version_of(path)
        return _load_as_written(path, version)
    except Exception as error:
        raise ModelError(f"{path}: {_why_not(error, version)}") from error


def _load_as_written(path: Path, version: str | None) -> Model:
    if not is_keras2(version):
        return _load_compiled(path)
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        readable = for_keras3(path, Path(folder)) if path.suffix == ".h5" else path
        return as_in_keras2(_load_compiled(readable))


def _load_compiled(path: Path) -> Model:
    try:
        return keras.models.load_model(path)
    except Exception as error:  # noqa: BLE001
        first = error
    try:
        # The loss or the optimizer may be what failed to load; the layers do not need them.
        return keras.models.load_model(path, compile=False)
    except Exception:  # noqa: BLE001
        raise first from None


def _why_not(error: Exception, version: str | None) -> str:
    """Why a file is not loaded, and what to do, behind its name."""
    if "PruneLowMagnitude" in str(error):
        return (
            "this model is still wrapped for pruning. Load it in Python after "
            "`import edgeprune.tfmot`, and save what edgeprune.strip_pruning(model) returns."
        )
    summary = " ".join(str(error).split())[:300]
    cause = f"({type(error).__name__}: {summary})"
    if is_keras2(version):
        return (
            f"expected a model that Keras {keras.__version__} loads. Received: a file of Keras "
            f"{version}, which it cannot load {cause}. Build the same layers in Python with Keras "
            "3, call model.load_weights() on this file and save a .keras file; or convert the "
            "model where it was made, and use 'edgeprune encode' for the .tflite file."
        )
    return (
        f"Keras {keras.__version__} cannot load this model {cause}. Custom layers must be "
        "registered with @keras.saving.register_keras_serializable and imported first; then use "
        "the Python API. Lambda layers are not loaded, since they can run any code."
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
