"""Loads and saves Keras models, with readable errors for files that cannot be loaded."""

from __future__ import annotations

import json
import re
import tempfile
import warnings
import zipfile
from pathlib import Path

import keras

from edgeprune.core.errors import ModelError, QualityWarning
from edgeprune.core.files import KERAS, SAVED_MODEL, replacing, require_keras_name
from edgeprune.core.first_bytes import TFLITE_MODEL, describe_beginning
from edgeprune.core.work_note import working
from edgeprune.keras_model.hard_sigmoid import as_in_keras2
from edgeprune.keras_model.keras2 import (
    for_keras3,
    is_keras2,
    keras_version_of,
    require_whole_model,
)
from edgeprune.keras_model.layers import Model

_LOST = "_edgeprune_lost_compilation"
"""Attribute of a loaded model that says why its compilation is missing."""
MAX_JSON_BYTES = 16 << 20
"""How much larger than its archive a model's description may be; those of large networks have half
a megabyte."""
MAX_RATIO = 32
"""How many times larger than its archive weights may be; of pruned ones, zeros are packed well."""
FREE_BYTES = 64 << 20
"""Bytes that weights may have beyond that."""


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
    if path.suffix not in KERAS:
        raise ModelError(
            f"{path}: expected a model whose name ends in .keras, .h5 or .tflite. Received: "
            f"'{path.suffix}'. {_remedy(path)}"
        )
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise ModelError(
            f"{path}: expected a .keras file, which is a zip archive. Received: "
            f"{path.stat().st_size} bytes that are not one: {describe_beginning(path)}, cut short "
            "or of another format. Save the model again with model.save()."
        )
    if path.suffix == ".keras":
        _require_sizes(path)
    with working(f"Keras loaded {path}"):
        return _load(path)


def _remedy(path: Path) -> str:
    """What to do with a file whose name does not say what it is."""
    if path.name == SAVED_MODEL:
        return f"It is part of a SavedModel: name its folder, {path.parent}."
    found = describe_beginning(path)
    if found == TFLITE_MODEL:
        return f"It is {found}: let its name end in .tflite."
    return f"It is {found}; save a model with model.save('name.keras')."


def as_model(given: Model | str | Path) -> Model:
    """A model as it is, or loaded from the path of its file as by `load_model`.

    Raises:
      ModelError: as `load_model`; or it is neither a model of Keras 3 nor a path.
    """
    if isinstance(given, str | Path):
        return load_model(Path(given))
    if not isinstance(given, keras.Model):
        kind = type(given)
        raise ModelError(
            "Expected a model of Keras 3, or the path of its file, of a .tflite file or of a "
            f"SavedModel folder. Received: {kind.__module__}.{kind.__qualname__}."
        )
    return given


def name_of(given: Model | str | Path) -> str:
    """A model's path, if it was given by that, else its name."""
    return str(given) if isinstance(given, str | Path) else str(given.name)


def _require_sizes(path: Path) -> None:
    """Looks at what the members of an archive unpack to, before Keras unpacks them.

    Raises:
      ModelError: one is far larger than what it is packed into, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ModelError(
            f"{path}: expected a .keras file, which is a zip archive. Received: a damaged one "
            f"({error}). Save the model again with model.save()."
        ) from error
    size = path.stat().st_size
    for member in members:
        is_text = member.filename.endswith(".json")
        limit = size + MAX_JSON_BYTES if is_text else MAX_RATIO * size + FREE_BYTES
        if member.file_size > limit:
            raise ModelError(
                f"{path}: expected '{member.filename[:100]}' to unpack to at most {limit} bytes in "
                f"a file of {size}. Received: {member.file_size}. If that is right, save the model "
                "again with model.save(), which does not compress."
            )


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
        loaded = _load_compiled(readable)
        model = as_in_keras2(loaded)
        setattr(model, _LOST, lost_compilation(loaded))
        return model


def _load_compiled(path: Path) -> Model:
    try:
        return keras.models.load_model(path)
    except Exception as error:  # noqa: BLE001
        first = error
    try:
        # The loss or the optimizer may be what failed to load; the layers do not need them.
        model = keras.models.load_model(path, compile=False)
    except Exception:  # noqa: BLE001
        raise first from None
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


def _why_not(error: Exception, version: str | None) -> str:
    """Why a file is not loaded, and what to do, behind its name."""
    if "PruneLowMagnitude" in str(error):
        return (
            "this model is still wrapped for pruning. Load it in Python after "
            "`import edgeprune.tfmot`, and save what edgeprune.strip_pruning(model) returns."
        )
    missing = re.search(r"Could not locate (?:class|function|object) '[^']*'", str(error))
    summary = missing[0] if missing else " ".join(str(error).split())[:300]
    cause = f"({type(error).__name__}: {summary})"
    if is_keras2(version):
        return (
            f"expected a model that Keras {keras.__version__} loads. Received: a file of Keras "
            f"{version}, which it cannot load {cause}. Build the same layers in Python with Keras "
            "3, call model.load_weights() on this file and save a .keras file; or convert the "
            "model where it was made, and use 'edgeprune encode' for the .tflite file."
        )
    return (
        f"Keras {keras.__version__} cannot load this model {cause}. Name the "
        "file that defines its own layers with --custom-objects FILE.py; in Python, import it "
        "first. Lambda layers are not loaded, since they can run any code."
    )


def save_model(model: Model, path: Path) -> None:
    """Saves a model as `.keras`, atomically.

    Raises:
      OutputError: the name does not end in `.keras`, or the file cannot be written.
    """
    require_keras_name(path)
    with replacing(path) as new:
        model.save(new)
