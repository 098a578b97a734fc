"""Edits of a draft for new weights and fewer channels; tensors and operators keep their indices."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.write_back.arguments import (
    CannotFollowShapeError,
    Shape,
    like_old,
    new_arguments,
)
from edgeprune.conversion.lift.write_back.positions import Positions
from edgeprune.conversion.lift.write_back.stored import Stored
from edgeprune.conversion.lift.write_back.values import NewValue
from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError
from edgeprune.tflite.format.draft import Draft, raw_bytes
from edgeprune.tflite.format.graph import RESTORING, Operator, Subgraph, Tensor


def put_values(draft: Draft, values: Mapping[int, Stored]) -> None:
    """Gives constants of the main subgraph new bytes, scales and shapes, in place.

    Others that share bytes with one keep theirs; constants that shared bytes and still have equal
    ones go on sharing them.

    Args:
      draft: whose sparse tensors were made dense.
      values: by the index of the constant.
    """
    made: dict[tuple[int, bytes], int] = {}
    for index, stored in values.items():
        owner = draft.graph.tensors[index].buffer
        alone = draft.graph.buffer_owners[owner] == 1
        key = owner, b"" if alone else stored.data.tobytes()
        if key not in made:
            made[key] = _buffer(draft, owner if alone else None, stored.data)
        for restored in _same_bytes(draft.graph.subgraphs[0], index):
            draft.model.subgraphs[0].tensors[restored].buffer = made[key]
        _describe(draft.model.subgraphs[0].tensors[index], stored)
        for restored in _restored(draft.graph.subgraphs[0], index):
            put_shape(draft, restored, stored.shape)


def put_copies(draft: Draft, copies: Sequence[tuple[NewValue, Stored]]) -> None:
    """Gives operators constants of their own in place of those that others read too, in place."""
    for value, stored in copies:
        index = _added(draft, f"{value.tensor.name}/{value.layer}", stored.shape, stored.data)
        tensor = draft.model.subgraphs[0].tensors[index]
        tensor.type = draft.model.subgraphs[0].tensors[read_by(draft, value).index].type
        if stored.scales.size:
            tensor.quantization = copy.copy(
                draft.model.subgraphs[0].tensors[value.tensor.index].quantization
            )
            _describe(tensor, stored)
        for operator, position in value.places:
            _read(draft, operator, position, index)


def read_by(draft: Draft, value: NewValue) -> Tensor:
    """What the operators of a layer read: the constant itself, or what it is restored to."""
    operator, position = value.places[0]
    return draft.graph.tensors[draft.graph.operators[operator].inputs[position]]


def _buffer(draft: Draft, owner: int | None, data: Array) -> int:
    """The index of a buffer with new bytes: that of a constant alone in it, else a new one."""
    if owner is not None:
        draft.model.buffers[owner].data = data
        return owner
    draft.model.buffers.append(schema.BufferT(data=data))
    return len(draft.model.buffers) - 1


def _describe(tensor: Any, stored: Stored) -> None:
    tensor.shape = np.array(stored.shape, np.int32)
    if stored.scales.size:
        tensor.quantization.scale = stored.scales
        tensor.quantization.zeroPoint = stored.zero_points
        tensor.quantization.min = tensor.quantization.max = None


def _same_bytes(main: Subgraph, index: int) -> Iterator[int]:
    """A constant, and what DENSIFY restored of it, which has its bytes once it is dense."""
    yield index
    for operator, _ in main.readers.get(index, ()):
        if operator.op == "DENSIFY":
            yield from operator.outputs


def _restored(main: Subgraph, index: int) -> Iterator[int]:
    """All tensors that a constant is restored to."""
    for operator, _ in main.readers.get(index, ()):
        if operator.op in RESTORING:
            for output in operator.outputs:
                yield output
                yield from _restored(main, output)


def put_shape(draft: Draft, index: int, shape: Shape) -> None:
    """Gives a tensor of the main subgraph another shape; lengths left open stay so."""
    tensor = draft.model.subgraphs[0].tensors[index]
    tensor.shape = np.array(shape, np.int32)
    if tensor.shapeSignature is not None and len(tensor.shapeSignature) == len(shape):
        pairs = zip(tensor.shapeSignature.tolist(), shape, strict=True)
        tensor.shapeSignature = np.array([-1 if n < 0 else m for n, m in pairs], np.int32)


def put_lengths(draft: Draft, shapes: Mapping[int, Shape], positions: Positions) -> None:
    """Gives tensors their new shapes, and operators the constants that follow from them, in place.

    Args:
      draft: the file.
      shapes: new shapes of tensors that are computed, by index.
      positions: of slices and pads, once channels are removed.

    Raises:
      TfliteError: an operator whose constants do not follow; it is named.
    """
    for index, shape in shapes.items():
        put_shape(draft, index, shape)
    main = draft.graph.subgraphs[0]
    for operator in main.operators:
        try:
            arguments = new_arguments(main, operator, shapes, positions)
        except CannotFollowShapeError as why:
            raise TfliteError(
                f"{draft.graph.path}: {operator.op} (operator {operator.index}): expected one that "
                f"follows when channels are removed. Received: {why}. Leave out the layers that "
                "feed it with --skip, or take a route that keeps channels."
            ) from why
        for position, values in arguments.items():
            _put_argument(draft, operator, position, values)
        _put_options(draft, operator, shapes)


def _put_argument(draft: Draft, operator: Operator, position: int, values: Array) -> None:
    """Lets an operator read other lengths; what others read too stays as it is."""
    main, subgraph = draft.graph.subgraphs[0], draft.model.subgraphs[0]
    index = operator.inputs[position]
    old = main.tensors[index]
    before = old.values()
    if before is not None and np.array_equal(before.reshape(-1), values.reshape(-1)):
        return
    added = _added(draft, f"{old.name}/operator_{operator.index}", values.shape, raw_bytes(values))
    subgraph.tensors[added].type = subgraph.tensors[index].type
    _read(draft, operator.index, position, added)


def _added(draft: Draft, name: str, shape: Shape, data: Array) -> int:
    """Adds a constant; returns its index."""
    tensors = draft.model.subgraphs[0].tensors
    draft.model.buffers.append(schema.BufferT(data=data))
    tensors.append(
        schema.TensorT(
            shape=np.array(shape, np.int32),
            buffer=len(draft.model.buffers) - 1,
            name=name.encode(),
            hasRank=True,
        )
    )
    return len(tensors) - 1


def _read(draft: Draft, operator: int, position: int, tensor: int) -> None:
    """Lets an operator read another tensor at one of its inputs."""
    changed = draft.model.subgraphs[0].operators[operator]
    changed.inputs = np.array(changed.inputs, np.int32)
    changed.inputs[position] = tensor


def _put_options(draft: Draft, operator: Operator, shapes: Mapping[int, Shape]) -> None:
    """Lengths that stand in an operator's options."""
    options = draft.model.subgraphs[0].operators[operator.index].builtinOptions
    output = operator.outputs[0] if operator.outputs else -1
    if output not in shapes:
        return
    if operator.op == "RESHAPE" and getattr(options, "newShape", None) is not None:
        old = np.array(options.newShape, np.int32)
        if old.size == len(shapes[output]):
            options.newShape = like_old(old, shapes[output], "int32")
    if operator.op == "DEPTHWISE_CONV_2D":
        source = operator.inputs[0]
        channels = shapes.get(source, draft.graph.tensors[source].shape)[-1]
        options.depthMultiplier = shapes[output][-1] // channels
