"""Writes the weights of a pruned model into the file that it was lifted from, and proves it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeprune.conversion.lift.floating import computes_in_steps
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.mend.run import MendedFile, mend_file
from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.lift.write_back.check import check_against_twin
from edgeprune.conversion.lift.write_back.edits import put_copies, put_lengths, put_values
from edgeprune.conversion.lift.write_back.positions import new_positions
from edgeprune.conversion.lift.write_back.scales import stored_values
from edgeprune.conversion.lift.write_back.shapes import new_shapes
from edgeprune.conversion.lift.write_back.stored import Stored
from edgeprune.conversion.lift.write_back.values import Changes, NewValue, new_values
from edgeprune.conversion.lift.write_back.windows import put_first_values
from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError, errors_name
from edgeprune.core.files import Artifact, describe_file, require_folder, write_file
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.layers import Model
from edgeprune.tflite.format.draft import Draft, from_bytes, load, reread, write, write_or_copy
from edgeprune.tflite.format.draft_indices import drop_unused_buffers
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import MENDING_NAME, METADATA_NAME, drop_metadata, put_metadata
from edgeprune.tflite.remainder import with_remainder
from edgeprune.tflite.store_densely import make_dense, remove_densify


@dataclass(frozen=True)
class WrittenBack(Artifact):
    """A file with new weights on disk, and what became of the old scales."""

    new_scales: int = 0
    """How many scales of weights of quantized operators are others than in the given file: for
    values beyond their old range, or in less than half of it."""
    mended: MendedFile | None = None
    """What was tried on a quantized file by samples; None where there were none, or nothing to
    try."""
    untied: int = 0
    """How many kernels are stored once more, since layers that shared one have each its own."""


def write_back(
    lifted: Lifted, pruned: Model, output: Path, x: Sequence[Array] | None = None
) -> WrittenBack:
    """Writes the given file with the weights of a pruned model: dense, not rewritten.

    What the weights do not touch comes out as it went in: names, signatures, metadata, other
    operators. Weights are stored as they were: as float16 behind DEQUANTIZE, as integers; those
    that were sparse are dense. Integers get fresh scales where activations are real values; in
    quantized operators they keep the old ones where these fit, see `grid.kept_grid`. Where channels
    were removed, shapes follow. The file is run, before it gets its name, in the installed runtimes
    that run the given one.

    Args:
      lifted: the file, and the Keras model that was made of it.
      pruned: that model with other weights or fewer channels, and layers of the same names.
      output: the file to write.
      x: samples `[n, ...]` for each input, by which a quantized file is mended, see `mend.run`.

    Raises:
      TfliteError: the file changed since it was lifted, weights that cannot be written back, or a
        result that one of these does not run or that computes something else than `pruned`.
      ModelError: `pruned` lacks a layer of the lifted model.
      OutputError: the file cannot be written.
    """
    require_folder(output)
    with (
        errors_name(lifted.given, lifted.path),
        tempfile.TemporaryDirectory(prefix="edgeprune-") as folder,
    ):
        made = Path(folder, "written.tflite")
        edited = _edited(lifted, pruned)
        stored = edited.stored
        write_or_copy(edited.draft, made, changed=edited.changed)
        check_against_twin(lifted, _rounded(pruned, stored), read(made))
        mended = _mend(lifted, pruned, stored, made, x) if x and edited.changed else None
        _put_remainder(lifted, made, changed=edited.changed)
        write_file(output, made.read_bytes())
    new_scales = sum(value.fresh for value in stored.values())
    untied = sum(value.order is not None for value in edited.changes.copied)
    facts = vars(describe_file(output))
    return WrittenBack(**facts, new_scales=new_scales, untied=untied, mended=mended)


def _put_remainder(lifted: Lifted, made: Path, *, changed: bool) -> None:
    """Puts the remainder of the given file behind what was written, in place, where it has one."""
    if lifted.remainder is None:
        return
    whole = load(lifted.remainder.whole)
    write_or_copy(with_remainder(load(made), whole) if changed else whole, made, changed=changed)


def _mend(
    lifted: Lifted,
    pruned: Model,
    stored: Mapping[NewValue, Stored],
    made: Path,
    x: Sequence[Array],
) -> MendedFile | None:
    """Mends a quantized file, in place, and checks it again."""
    draft = load(made)
    if not computes_in_steps(draft.graph) or draft.graph.keeps_state:
        return None
    changed = {
        lifted.graph.operators[value.places[0][0]].outputs[0]: value.values
        for value in stored
        if value.order is not None and len(value.places) == 1
    }
    content, done = mend_file(lifted, pruned, draft, changed, x)
    if content is not None:
        mended = replace(from_bytes(content, made), appended=draft.appended)
        drop_unused_buffers(mended.model)
        put_metadata(mended.model, MENDING_NAME, done.to_json())
        write(mended, made)
        again = replace(lift(made), path=lifted.path)
        check_against_twin(again, again.model, again.graph)
    return done


def with_weights_of(lifted: Lifted, pruned: Model) -> Draft:
    """The given file with the weights of a pruned model, as `write_back` writes it, but not run.

    Raises:
      TfliteError: the file changed since it was lifted, or weights that cannot be written back.
      ModelError: `pruned` lacks a layer of the lifted model.
    """
    made = reread(_edited(lifted, pruned).draft)
    return made if lifted.remainder is None else with_remainder(made, load(lifted.remainder.whole))


@dataclass(frozen=True)
class _Edited:
    """A file with new weights, what is stored in it, and whether anything was changed."""

    draft: Draft
    changes: Changes
    stored: Mapping[NewValue, Stored]
    changed: bool


def _edited(lifted: Lifted, pruned: Model) -> _Edited:
    draft = _load_same(lifted)
    changes, stored = stored_values(draft, new_values(lifted, pruned))
    return _Edited(draft, changes, stored, _written(lifted, pruned, draft, changes, stored))


def _load_same(lifted: Lifted) -> Draft:
    """The file opened for editing.

    Raises:
      TfliteError: it is another one by now.
    """
    draft = load(lifted.path)
    before = [(tensor.name, tensor.shape, tensor.buffer) for tensor in lifted.graph.tensors]
    now = [(tensor.name, tensor.shape, tensor.buffer) for tensor in draft.graph.tensors]
    if before != now or len(lifted.graph.operators) != len(draft.graph.operators):
        raise TfliteError(
            f"{lifted.path}: expected the file that was read before. Received: another one of this "
            "name. Start again, and leave the file as it is meanwhile."
        )
    return draft


def _written(
    lifted: Lifted,
    pruned: Model,
    draft: Draft,
    changes: Changes,
    stored: Mapping[NewValue, Stored],
) -> bool:
    """Makes all edits, in place; returns whether there were any."""
    sparse = make_dense(draft)
    put_values(draft, {index: stored[first] for index, (first, *_) in changes.in_place.items()})
    put_copies(draft, [(value, stored[value]) for value in changes.copied])
    shapes = new_shapes(lifted, pruned)
    put_lengths(draft, shapes, new_positions(lifted, pruned))
    put_first_values(draft, lifted, pruned)
    remove_densify(draft, sparse)
    drop_unused_buffers(draft.model)
    drop_metadata(draft.model, METADATA_NAME)
    drop_metadata(draft.model, MENDING_NAME)
    return bool(stored) or bool(shapes) or any(tensors for _, tensors in sparse)


def _rounded(pruned: Model, stored: Mapping[NewValue, Stored]) -> Model:
    """The model with its weights as the file stores them; itself where they are not rounded."""
    rounded = [
        (value, found.read)
        for value, found in stored.items()
        if not np.array_equal(found.read, value.values)
    ]
    if not rounded:
        return pruned
    copy = copy_model(pruned)
    for value, values in rounded:
        variable = getattr(copy.get_layer(value.layer), value.variable)
        variable.assign(value.in_keras(values, tuple(variable.shape)))
    return copy
