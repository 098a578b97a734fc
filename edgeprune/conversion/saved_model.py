"""A SavedModel folder as a .tflite file: one signature, converted once into the cache.

TensorFlow's converter runs in a child process. What it made is found again by the content of the
folder, the signature and the version of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgeprune.conversion.converter import Conversion, ConversionError, convert_in_child
from edgeprune.conversion.obstacles import cause
from edgeprune.core import digest
from edgeprune.core.errors import ModelError
from edgeprune.core.files import SAVED_MODEL
from edgeprune.core.spelling import suggestion
from edgeprune.core.work_note import working
from edgeprune.targets.cache import cache_folder, set_up
from edgeprune.tflite.format import draft as tflite_draft

_INTERNAL = ("__saved_model_init_op", "__saved_model_train_op")
_SERVING = "serve"
"""The tag of the graph that is meant for inference."""
_KERAS_PAIR = ("serve", "serving_default")
"""Signatures of what `Model.export` of Keras 3 writes: one function under two names."""
_PARTS = ("variables", "assets")
"""Folders beside saved_model.pb that belong to it."""
_FORM = 1
"""Changes when the same folder becomes another file."""
_ROOM = 4
"""How many times the size of the folder has to be free in the cache."""
_CALL = "f = tf.function(model).get_concrete_function(tf.TensorSpec([1, 224, 224, 3], tf.float32))"
_REMEDY = (
    f"Save it again with a signature of its own: {_CALL}; tf.saved_model.save(model, FOLDER, "
    "signatures=f)."
)


@dataclass(frozen=True)
class ConvertedFolder:
    """What was made of a SavedModel folder."""

    path: Path
    """The .tflite file, in the cache."""
    told: str
    """A sentence that says what was done."""


@dataclass(frozen=True)
class _Signature:
    """One of the functions that a SavedModel offers."""

    name: str
    inputs: tuple[tuple[str, Any], ...]
    """Names and TensorInfos."""
    tags: tuple[str, ...]
    """Tags of its graph."""


def converted_folder(folder: Path, signature: str | None = None) -> ConvertedFolder:
    """Converts one signature of a SavedModel to a float .tflite file, unless that was done before.

    Args:
      folder: the SavedModel.
      signature: its name; of a folder that has one only it may be left out.

    Raises:
      ModelError: no SavedModel, a damaged one, no such signature or a choice of several, inputs
        without fixed sizes, or operators that TFLite does not have.
      TargetError: the cache folder cannot be written.
    """
    chosen = _chosen(folder, _signatures(folder), signature)
    _require_sizes(folder, chosen)
    key = digest.of_json([_FORM, _content(folder), chosen.name, tf.__version__])
    place = cache_folder() / "saved-models" / key
    made = place / f"{folder.resolve().name}.tflite"
    known = made.is_file()

    def build(new: Path, rest: Path) -> None:
        rest.mkdir()
        (new / made.name).write_bytes(_converted(folder, chosen, rest))

    if not known:
        set_up("saved-model", place, made.is_file, build, room_bytes=_ROOM * _size(folder))
    did = "was converted before by" if known else "was converted by"
    told = (
        f"{folder}: signature '{chosen.name}' of the SavedModel {did} TensorFlow "
        f"{tf.__version__}; kept as {made}"
    )
    return ConvertedFolder(made, told)


def _converted(folder: Path, chosen: _Signature, work: Path) -> bytes:
    """The bytes of the .tflite file."""
    conversion = Conversion("float32", True, chosen.name, chosen.tags)
    try:
        with working(f"TensorFlow converted {folder}"):
            return _with_batch_of_one(convert_in_child(folder, conversion, work), folder)
    except ConversionError as error:
        raise ModelError(
            f"{folder}: expected a SavedModel that TensorFlow {tf.__version__} converts to TFLite. "
            f"Received: {cause(error)}. Replace what it names where the model is made, or save the "
            "part without it (pre- and post-processing) as a signature."
        ) from error


def _with_batch_of_one(content: bytes, folder: Path) -> bytes:
    """A file whose inputs and outputs have a batch of 1, where the signature leaves it open.

    Devices plan their memory before they run.
    """
    draft = tflite_draft.from_bytes(content, folder)
    subgraph = draft.model.subgraphs[0]
    for index in (*subgraph.inputs, *subgraph.outputs):
        tensor = subgraph.tensors[index]
        signed = tensor.shapeSignature
        if signed is not None and len(signed) and all(size >= 0 for size in signed[1:]):
            tensor.shapeSignature = None
    return bytes(tflite_draft.pack(draft.model))


def _signatures(folder: Path) -> dict[str, _Signature]:
    """The signatures of the graph for inference, by name.

    Raises:
      ModelError: not a SavedModel, or a damaged one.
    """
    # It reads the file, and runs nothing.
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    file = folder / SAVED_MODEL
    if not file.is_file():
        raise ModelError(
            f"{folder}: expected a model file, or a SavedModel folder, which holds {SAVED_MODEL}. "
            f"Received: a folder with {_listed(folder)}. Check the path."
        )
    try:
        saved = parse_saved_model(str(folder))
    except OSError as error:
        raise ModelError(
            f"{file}: expected a SavedModel. Received: a damaged file ({error}). Save the model "
            "again."
        ) from error
    graphs = {tuple(sorted(graph.meta_info_def.tags)): graph for graph in saved.meta_graphs}
    tags = next((tags for tags in graphs if _SERVING in tags), next(iter(graphs), None))
    if tags is None:
        raise ModelError(
            f"{file}: expected a SavedModel. Received: a damaged file, without a graph. Save the "
            "model again."
        )
    return {
        name: _Signature(name, tuple(sorted(found.inputs.items())), tags)
        for name, found in sorted(graphs[tags].signature_def.items())
        if name not in _INTERNAL
    }


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{', '.join(names[:4])}{more}" if names else "nothing"


def _chosen(folder: Path, signatures: dict[str, _Signature], asked: str | None) -> _Signature:
    """The signature that is asked for, or the only one; Keras' two names for one are no choice.

    Raises:
      ModelError: there is no such one, or a choice.
    """
    if asked is None and (len(signatures) == 1 or _is_one_of_keras(signatures)):
        return list(signatures.values())[-1]
    if asked in signatures:
        return signatures[asked]
    names = ", ".join(signatures)
    if not signatures:
        raise ModelError(
            f"{folder}: expected a SavedModel with a signature, the function that is converted. "
            f"Received: one without. {_REMEDY}"
        )
    if asked is None:
        raise ModelError(
            f"{folder}: expected the name of one signature, which is converted. Received: a "
            f"SavedModel with {len(signatures)}: {names}. Choose one with --signature NAME "
            "(`signature`)."
        )
    raise ModelError(
        f"{folder}: expected one of its signatures: {names}. Received: --signature {asked}."
        f"{suggestion(asked, signatures)}"
    )


def _is_one_of_keras(signatures: Mapping[str, _Signature]) -> bool:
    """Whether these are the two names that Keras gives one function."""
    if tuple(signatures) != _KERAS_PAIR:
        return False
    one, other = (
        [(name, info.dtype, info.tensor_shape) for name, info in found.inputs]
        for found in signatures.values()
    )
    return one == other


def _require_sizes(folder: Path, chosen: _Signature) -> None:
    """Checks that all inputs are numbers whose sizes are known, apart from the batch.

    Raises:
      ModelError: one is not.
    """
    for name, found in chosen.inputs:
        shape, said = found.tensor_shape, f"{folder}: signature '{chosen.name}', input '{name}': "
        sizes = [axis.size for axis in shape.dim]
        if tf.dtypes.as_dtype(found.dtype) == tf.string:
            raise ModelError(
                f"{said}expected numbers. Received: text, such as serialized examples, which "
                f"TFLite does not take. Choose a signature that takes tensors. {_REMEDY}"
            )
        if shape.unknown_rank or any(size < 0 for size in sizes[1:]):
            known = "any" if shape.unknown_rank else ", ".join(_said(size) for size in sizes)
            raise ModelError(
                f"{said}expected sizes that are known, other than the batch. Received: [{known}]. "
                f"{_REMEDY}"
            )


def _said(size: int) -> str:
    return "any" if size < 0 else str(size)


def _files(folder: Path) -> Sequence[Path]:
    """The files of a SavedModel, in order."""
    beside = (path for part in _PARTS for path in (folder / part).rglob("*") if path.is_file())
    return [folder / SAVED_MODEL, *sorted(beside)]


def _content(folder: Path) -> list[list[str | None]]:
    """Names and digests of the files."""
    return [[str(path.relative_to(folder)), digest.of_file(path)] for path in _files(folder)]


def _size(folder: Path) -> int:
    """Bytes of the files."""
    return sum(path.stat().st_size for path in _files(folder))
