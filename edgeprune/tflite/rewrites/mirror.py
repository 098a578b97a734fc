"""Mirrors of an image in front of a network, as runtimes compute them fast.

A REVERSE_V2 over height and width copies pixel by pixel, 27 instructions for each of three
channels, and tflite-runtime 2.14.0 reverses one axis only, whatever is asked. Whole rows are
copied fast, and transposing works on blocks:

    before   x --> REVERSE height, width --> ...
    after    x --> REVERSE height --> TRANSPOSE [n, w, c, h] --> REVERSE width --> TRANSPOSE --> ...

Where the runtimes reverse several axes at once, all values of the image are turned round, which is
one loop, and the first convolutions read their channels in the other order:

    before   x --> REVERSE height, width -----------> CONV, weights [o, h, w, c] --> ...
    after    x --> REVERSE height, width, channels -> CONV, weights [o, h, w, -c] --> ...

A file that was made for such runtimes alone is turned back for the others, by whole rows and by the
channels of the transposed image.

Executed instructions for an image of 224x224x3, emulated cortex-a76, 2026-11-27: before 1.41 M in
LiteRT 2.1.6 and 2.3.0; by rows 0.52 M there and 0.92 M in tflite-runtime 2.14.0, at once 0.19 M.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.arrays import Array
from edgeprune.tflite.format.graph import Operator, Tensor
from edgeprune.tflite.rewrites.edit import Edit
from edgeprune.tflite.rewrites.flip import BINARY, POINTWISE, changes_behind
from edgeprune.tflite.rewrites.window import padding_amounts

_AXES = [1, 2]
_ALL_AXES = [1, 2, 3]


def reverse_at_once(edit: Edit) -> int:
    """Reverses channels too, and in the weights that read them; returns how many images.

    An image stays where something behind it tells its channels apart that is not a convolution.
    """
    return sum(_at_once(edit, operator) for operator in _mirrors(edit))


def mirror_by_rows(edit: Edit) -> int:
    """Mirrors images by whole rows, and columns as rows of the transposed; returns how many."""
    mirrors = _mirrors(edit)
    for operator in mirrors:
        _by_rows(edit, operator)
    return len(mirrors)


def reverse_singly(edit: Edit) -> int:
    """Reverses images of which all values are turned round axis by axis; returns how many."""
    reversals = _mirrors(edit, _ALL_AXES)
    for operator in reversals:
        _by_rows(edit, operator, channels=True)
    return len(reversals)


def _mirrors(edit: Edit, axes: Sequence[int] = _AXES) -> list[Operator]:
    """The operators that reverse a float map, by default its height and width."""
    tensors = edit.main.tensors
    return [
        operator
        for operator in edit.main.operators
        if operator.op == "REVERSE_V2"
        and _is_map(tensors[operator.inputs[0]])
        and _axes(edit, operator) == axes
    ]


def _is_map(tensor: Tensor) -> bool:
    fixed = -1 not in tensor.shape_signature[1:]
    return len(tensor.shape) == 4 and tensor.dtype == "float32" and fixed


def _axes(edit: Edit, operator: Operator) -> list[int] | None:
    values = edit.main.tensors[operator.inputs[1]].values()
    return None if values is None else sorted(values.reshape(-1).tolist())


def _by_rows(edit: Edit, operator: Operator, *, channels: bool = False) -> None:
    source, made = (edit.main.tensors[i] for i in (operator.inputs[0], operator.outputs[0]))
    batch, height, width, depth = source.shape
    turned = (batch, width, depth, height)
    rows = edit.like(source, f"{made.name}/rows", source.shape)
    columns = edit.like(source, f"{made.name}/columns", turned)
    reversed_ = edit.like(source, f"{made.name}/reversed", turned)
    first = edit.constant(f"{made.name}/axis", np.array([1], np.int32))
    last = edit.like(source, f"{made.name}/channels", turned) if channels else reversed_
    second = edit.constant(f"{made.name}/second", np.array([2], np.int32)) if channels else -1
    there, back = (
        edit.constant(f"{made.name}/{name}", np.array(order, np.int32))
        for name, order in (("there", [0, 2, 3, 1]), ("back", [0, 3, 1, 2]))
    )
    reverse, transpose = schema.ReverseV2OptionsT(), schema.TransposeOptionsT()
    steps: list[tuple[str, list[int], int, Any]] = [
        ("REVERSE_V2", [source.index, first], rows, reverse),
        ("TRANSPOSE", [rows, there], columns, transpose),
        ("REVERSE_V2", [columns, first], reversed_, reverse),
        *([("REVERSE_V2", [reversed_, second], last, reverse)] if channels else []),
        ("TRANSPOSE", [last, back], made.index, transpose),
    ]
    edit.replace(
        operator, [edit.operator(op, inputs, [output], kind) for op, inputs, output, kind in steps]
    )


def _at_once(edit: Edit, operator: Operator) -> bool:
    changes = changes_behind(edit, {operator.outputs[0]}, _change)
    if changes is None:
        return False
    name = edit.main.tensors[operator.inputs[0]].name
    axes = edit.constant(f"{name}/axes", np.array([*_AXES, 3], np.int32))
    edit.read(operator, 1, axes)
    for change in changes:
        change()
    return True


def _change(edit: Edit, operator: Operator, turned: set[int]) -> list[Callable[[], None]] | None:
    if operator.op == "CONV_2D":
        return _weights(edit, operator)
    amounts = padding_amounts(edit.main, operator)
    passes = operator.op in POINTWISE or (amounts is not None and amounts[3] == [0, 0])
    if not passes and operator.op not in BINARY:
        return None
    changes = [] if passes else _constants(edit, operator, turned)
    turned.update(operator.outputs)
    return changes


def _weights(edit: Edit, operator: Operator) -> list[Callable[[], None]] | None:
    own = edit.own(operator, 1)
    values = None if own is None else own.values()
    if own is None or values is None or values.shape[3] != _channels(edit, operator.inputs[0]):
        return None
    reversed_ = values[..., ::-1]
    return [lambda: edit.overwrite(own, reversed_)]


def _constants(edit: Edit, operator: Operator, turned: set[int]) -> list[Callable[[], None]] | None:
    """The changes of constants that are one value per channel; one value for all may stay."""
    changes: list[Callable[[], None]] = []
    for position, index in enumerate(operator.inputs):
        if index in turned:
            continue
        other = edit.main.tensors[index]
        values = other.values()
        if values is None or other.dtype != "float32" or other.sparse:
            return None
        if values.shape and values.shape[-1] != 1:
            reversed_ = np.ascontiguousarray(values[..., ::-1])
            changes.append(_reader(edit, operator, position, f"{other.name}/turned", reversed_))
    return changes


def _reader(
    edit: Edit, operator: Operator, position: int, name: str, values: Array
) -> Callable[[], None]:
    return lambda: edit.read(operator, position, edit.constant(name, values))


def _channels(edit: Edit, tensor: int) -> int:
    return edit.main.tensors[tensor].shape[3]
