"""Writes the weights of a pruned model into the file that it was lifted from, and proves it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.write_back.check import check_against_twin
from edgeprune.conversion.lift.write_back.edits import put_copies, put_lengths, put_values
from edgeprune.conversion.lift.write_back.scales import stored_values
from edgeprune.conversion.lift.write_back.shapes import new_shapes
from edgeprune.conversion.lift.write_back.stored import Stored
from edgeprune.conversion.lift.write_back.values import Changes, NewValue, new_values
from edgeprune.conversion.lift.write_back.windows import put_first_values
from edgeprune.core.errors import TfliteError
from edgeprune.core.files import Artifact, describe_file, require_folder, write_file
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.layers import Model
from edgeprune.tflite.format.draft import Draft, load, write_or_copy
from edgeprune.tflite.format.draft_indices import drop_unused_buffers
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import METADATA_NAME, drop_metadata
from edgeprune.tflite.store_densely import make_dense, remove_densify


@dataclass(frozen=True)
class WrittenBack(Artifact):
    """A file with new weights on disk, and what became of the old scales."""

    new_scales: int = 0
    """How many scales of weights of quantized operators are others than in the given file: for
    values beyond their old range, or in less than half of it."""
    untied: int = 0
    """How many kernels are stored once more, since layers that shared one have each its own."""


def write_back(lifted: Lifted, pruned: Model, output: Path) -> WrittenBack:
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

    Raises:
      TfliteError: the file changed since it was lifted, weights that cannot be written back, or a
        result that one of these does not run or that computes something else than `pruned`.
      ModelError: `pruned` lacks a layer of the lifted model.
      OutputError: the file cannot be written.
    """
    require_folder(output)
    draft = _load_same(lifted)
    changes, stored = stored_values(draft, new_values(lifted, pruned))
    written = _written(lifted, pruned, draft, changes, stored)
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        made = Path(folder, "written.tflite")
        write_or_copy(draft, made, changed=written)
        check_against_twin(lifted, _rounded(pruned, stored), read(made))
        write_file(output, made.read_bytes())
    new_scales = sum(value.fresh for value in stored.values())
    untied = sum(value.order is not None for value in changes.copied)
    return WrittenBack(**vars(describe_file(output)), new_scales=new_scales, untied=untied)


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
    put_lengths(draft, shapes)
    put_first_values(draft, lifted, pruned)
    remove_densify(draft, sparse)
    drop_unused_buffers(draft.model)
    drop_metadata(draft.model, METADATA_NAME)
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
