"""Runs a network on the mirrored image, so that SAME padding falls where sparse kernels want it.

SAME with stride 2 on an even length pads behind only. Seen from the other end it pads in front
only, and one zero more behind, which no window reads, makes the padding symmetric:

    before   x --------------> CONV 3x3 /2, zeros (0, 1) --> ... --> MEAN over height and width
    after    x --> mirrored --> CONV 3x3 /2, zeros (1, 0) --> ... --> MEAN over height and width
                               kernels mirrored in both axes       (does not see the difference)

Everything in between is the same network seen in a mirror: elementwise operators do not change,
kernels and padding are mirrored, and a mean over all pixels is what it was. No weight is added, the
same holds for 5x5 kernels, and the image is mirrored once, as one REVERSE_V2, which `mirror` writes
as the runtimes do it fast. `strides.pad_strides` then writes the symmetric padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.graph import Operator, Subgraph, Tensor
from edgeprune.tflite.rewrites.edit import Edit
from edgeprune.tflite.rewrites.window import CONVOLUTIONS, SAME, VALID, padding_amounts, window_of

POINTWISE = (
    "ABS",
    "CEIL",
    "ELU",
    "EXP",
    "FLOOR",
    "GELU",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOG",
    "LOGISTIC",
    "NEG",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "ROUND",
    "RSQRT",
    "SQRT",
    "SQUARE",
    "TANH",
)
BINARY = ("ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "SQUARED_DIFFERENCE", "SUB")
_REDUCTIONS = frozenset({"MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"})


def flip(edit: Edit) -> int:
    """Mirrors a network whose strided convolutions pad behind; returns how many kernels and pads.

    0, and nothing is changed, where none does, or where a part of the network would compute
    something else on a mirrored image.
    """
    main = edit.main
    if not any(_pads_behind(main, operator) for operator in main.operators):
        return 0
    images = [i for i in main.inputs if _is_map(main.tensors[i])]
    changes = changes_behind(edit, set(images), _change)
    if not images or changes is None:
        return 0
    for image in images:
        _mirror(edit, image)
    for change in changes:
        change()
    return len(changes)


def _pads_behind(main: Subgraph, operator: Operator) -> bool:
    window = window_of(main, operator)
    return window is not None and any(
        before < kernel // 2 for before, kernel in zip(window.before, window.kernel, strict=True)
    )


def _is_map(tensor: Tensor) -> bool:
    shape = tensor.shape
    return len(shape) == 4 and shape[1:3] != (1, 1) and -1 not in tensor.shape_signature[1:]


def changes_behind(
    edit: Edit,
    marked: set[int],
    change: Callable[[Edit, Operator, set[int]], Sequence[Callable[[], None]] | None],
) -> list[Callable[[], None]] | None:
    """Returns what has to be changed behind marked tensors; None where it cannot be done.

    Args:
      edit: the draft.
      marked: tensors whose values come in another order; those that follow from them are added.
      change: the changes of one operator that reads marked tensors, which marks its outputs where
        the order passes on; None where there are none.
    """
    changes: list[Callable[[], None]] = []
    for operator in edit.main.operators:
        if marked.isdisjoint(operator.inputs):
            continue
        found = change(edit, operator, marked)
        if found is None:
            return None
        changes += found
    return None if not marked.isdisjoint(edit.main.outputs) else changes


def _change(
    edit: Edit, operator: Operator, mirrored: set[int]
) -> Sequence[Callable[[], None]] | None:
    """Returns the changes of one operator that reads mirrored maps; None where there are none."""
    main = edit.main
    if operator.op in _REDUCTIONS:
        axes = main.tensors[operator.inputs[1]].values()
        whole = axes is not None and sorted(axes.reshape(-1).tolist()) == [1, 2]
        return [] if whole else None
    kept = _unchanged(main, operator, mirrored)
    rule = _RULES.get(operator.op)
    change = rule(edit, operator) if rule is not None else ([] if kept else None)
    if change is not None:
        mirrored.update(operator.outputs)
    return change


def _unchanged(main: Subgraph, operator: Operator, mirrored: set[int]) -> bool:
    """Whether an operator computes the same thing in a mirror."""
    if operator.op in POINTWISE:
        return True
    others = [main.tensors[i] for i in operator.inputs if i >= 0 and i not in mirrored]
    if operator.op in BINARY:
        return all(_pixels(tensor) == 1 for tensor in others)
    if operator.op == "CONCATENATION":
        return not others and operator.options.axis in (3, -1)
    return operator.op == "RESIZE_BILINEAR" and bool(
        operator.options.halfPixelCenters or operator.options.alignCorners
    )


def _pixels(tensor: Tensor) -> int:
    """How many pixels an operand has when it is broadcast over maps `[n, h, w, c]`."""
    return int(np.prod(tensor.shape[-3:-1])) if len(tensor.shape) > 1 else 1


def _mirror_convolution(edit: Edit, operator: Operator) -> Sequence[Callable[[], None]] | None:
    weights = edit.main.constant_behind(operator.inputs[1])[0]
    if weights is None or len(weights.shape) != 4:
        return None
    changes: list[Callable[[], None]] = []
    amounts = _amounts(edit.main, operator, weights.shape)
    if amounts is None:
        return None
    if any(before != after for before, after in amounts):
        changes.append(lambda: _pad(edit, operator, [pair[::-1] for pair in amounts]))
    if weights.shape[1:3] != (1, 1):
        own = edit.own(operator, 1)
        values = None if own is None else own.values()
        if own is None or values is None:
            return None
        turned = values[:, ::-1, ::-1]
        changes.append(lambda: edit.overwrite(own, turned))
    return changes


def _amounts(
    main: Subgraph, operator: Operator, weights: tuple[int, ...]
) -> list[tuple[int, int]] | None:
    """Returns the zeros in front and behind; None where windows do not end with the map."""
    options = operator.options
    sizes = main.tensors[operator.inputs[0]].shape[1:3]
    made = main.tensors[operator.outputs[0]].shape[1:3]
    strides = (options.strideH, options.strideW)
    spread = (options.dilationHFactor, options.dilationWFactor)
    amounts = []
    for n, m, s, k, d in zip(sizes, made, strides, weights[1:3], spread, strict=True):
        total = (m - 1) * s + (k - 1) * d + 1 - n
        if options.padding == VALID and total <= 0:
            total = 0 if total == 0 or _cut(main, operator) is not None else -1
        if total < 0 or (options.padding == VALID and total > 0):
            return None
        amounts.append((total // 2, total - total // 2))
    return amounts


def _cut(main: Subgraph, operator: Operator) -> list[list[int]] | None:
    """Returns the mirrored zeros of the PAD in front of a convolution of stride 2.

    Zeros behind that no window reads are left out, since mirrored windows would begin with them.
    None where there is no PAD for this convolution alone, or fewer zeros than are not read.
    """
    window = window_of(main, operator)
    amounts = None if window is None or window.pad is None else padding_amounts(main, window.pad)
    if window is None or amounts is None:
        return None
    mirrored = []
    pairs = zip(amounts[1:3], window.size, window.made, window.kernel, strict=True)
    for (before, after), n, m, k in pairs:
        unread = n + before + after - ((m - 1) * 2 + k)
        mirrored.append([after - unread, before])
    return mirrored if min(min(pair) for pair in mirrored) >= 0 else None


def _pad(edit: Edit, operator: Operator, amounts: Sequence[tuple[int, int]]) -> None:
    source = edit.main.tensors[operator.inputs[0]]
    rows = np.array([(0, 0), *amounts, (0, 0)], np.int32)
    shape = [n + a for n, a in zip(source.shape, rows.sum(axis=1), strict=True)]
    signature = [-1 if s < 0 else n for s, n in zip(source.shape_signature, shape, strict=True)]
    padded = edit.value(f"{source.name}/padded", shape, signature)
    constant = edit.constant(f"{source.name}/padding", rows)
    inputs = [int(edit.of(operator).inputs[0]), constant]
    edit.before(operator, [edit.operator("PAD", inputs, [padded], schema.PadOptionsT())])
    edit.of(operator).builtinOptions.padding = VALID
    edit.read(operator, 0, padded)


def _mirror_pad(edit: Edit, operator: Operator) -> Sequence[Callable[[], None]] | None:
    amounts = padding_amounts(edit.main, operator)
    if amounts is None:
        return None
    readers = edit.main.readers.get(operator.outputs[0], ())
    turned = _cut(edit.main, readers[0][0]) if len(readers) == 1 else None
    if turned is None:
        turned = [pair[::-1] for pair in amounts[1:3]]
    if turned == amounts[1:3]:
        return []
    rows = np.array([amounts[0], *turned, amounts[3]], np.int32)
    source = edit.main.tensors[operator.inputs[0]]

    def change() -> None:
        name = f"{edit.main.tensors[operator.inputs[1]].name}/mirrored"
        edit.read(operator, 1, edit.constant(name, rows))
        edit.reshape(
            operator.outputs[0],
            [n + int(a) for n, a in zip(source.shape, rows.sum(axis=1), strict=True)],
        )

    return [change]


def _mirror_pool(edit: Edit, operator: Operator) -> Sequence[Callable[[], None]] | None:
    options = operator.options
    shape = (1, options.filterHeight, options.filterWidth, 1)
    sizes = edit.main.tensors[operator.inputs[0]].shape[1:3]
    made = edit.main.tensors[operator.outputs[0]].shape[1:3]
    strides = (options.strideH, options.strideW)
    totals = [
        (m - 1) * s + k - n for n, m, s, k in zip(sizes, made, strides, shape[1:3], strict=True)
    ]
    even = all(total % 2 == 0 for total in totals) if options.padding == SAME else not any(totals)
    return [] if even and min(totals) >= 0 else None


_RULES: Mapping[str, Callable[[Edit, Operator], Sequence[Callable[[], None]] | None]] = {
    **dict.fromkeys(CONVOLUTIONS, _mirror_convolution),
    "AVERAGE_POOL_2D": _mirror_pool,
    "MAX_POOL_2D": _mirror_pool,
    "PAD": _mirror_pad,
}


def _mirror(edit: Edit, image: int) -> None:
    """Turns an input round by 180 degrees for all that read it."""
    main = edit.main
    source = main.tensors[image]
    mirrored = edit.like(source, f"{source.name}/mirrored", source.shape)
    axes = edit.constant(f"{source.name}/axes", np.array([1, 2], np.int32))
    readers = main.readers.get(image, ())
    first = min((operator for operator, _ in readers), key=lambda operator: operator.index)
    options = schema.ReverseV2OptionsT()
    edit.before(first, [edit.operator("REVERSE_V2", [image, axes], [mirrored], options)])
    for operator, position in readers:
        edit.read(operator, position, mirrored)
