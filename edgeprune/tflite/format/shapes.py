"""Which shape an operator's output has, by its inputs and options: runtimes compute it so.

A file declares the shapes of all tensors, but runtimes use those of constants and inputs alone and
compute the others. Where both differ, what was declared is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgeprune.tflite.format.graph import Operator, Subgraph, Tensor

Shape = tuple[int, ...]

PADS = ("MIRROR_PAD", "PAD", "PADV2")
_SAME = 0


def contradiction(subgraph: Subgraph, operator: Operator) -> tuple[str, str] | None:
    """What shape an operator's output has to have, and what is declared; None where both agree.

    Only lengths that are fixed are compared; operators other than padding, convolution, pooling and
    those that restore constants are not looked at.
    """
    compute = _COMPUTED.get(operator.op)
    if compute is None or not operator.inputs or len(operator.outputs) != 1:
        return None
    source, output = operator.inputs[0], operator.outputs[0]
    if source < 0 or output < 0:
        return None
    taken, made = subgraph.tensors[source], subgraph.tensors[output]
    computed = compute(subgraph, operator, taken.shape) if taken.shape and made.shape else None
    if computed is None or _agree(computed, taken, made):
        return None
    return (
        f"an output {made.name!r} of {list(computed)}, as computed from {taken.name!r}",
        f"{list(made.shape)}",
    )


def _agree(computed: Shape, taken: Tensor, made: Tensor) -> bool:
    if len(computed) != len(made.shape):
        return False
    open_axes = {
        axis
        for tensor in (taken, made)
        for axis, length in enumerate(tensor.shape_signature)
        if length < 0
    }
    pairs = enumerate(zip(computed, made.shape, strict=True))
    return all(first == second or axis in open_axes for axis, (first, second) in pairs)


def _restored(subgraph: Subgraph, operator: Operator, shape: Shape) -> Shape | None:
    return shape if subgraph.tensors[operator.inputs[0]].constant else None


def _padded(subgraph: Subgraph, operator: Operator, shape: Shape) -> Shape | None:
    index = operator.inputs[1] if len(operator.inputs) > 1 else -1
    amounts = subgraph.tensors[index] if index >= 0 else None
    if amounts is None or amounts.shape != (len(shape), 2):
        return None
    values = amounts.values() if amounts.dtype in ("int32", "int64") else None
    if values is None:
        return None
    rows = values.tolist()
    return tuple(n + before + after for n, (before, after) in zip(shape, rows, strict=True))


def _convolved(subgraph: Subgraph, operator: Operator, shape: Shape) -> Shape | None:
    options = operator.options
    index = operator.inputs[1] if len(operator.inputs) > 1 else -1
    weights = subgraph.tensors[index].shape if index >= 0 else ()
    if len(weights) != 4 or not hasattr(options, "dilationHFactor"):
        return None
    reach = (
        (weights[1] - 1) * options.dilationHFactor + 1,
        (weights[2] - 1) * options.dilationWFactor + 1,
    )
    channels = weights[0] if operator.op == "CONV_2D" else weights[3]
    return _windows(shape, options, reach, channels)


def same_padding(subgraph: Subgraph, operator: Operator) -> tuple[int, int] | None:
    """Zeros that a convolution with SAME padding adds to rows and columns; below 0 where it skips.

    None for any other operator, and where a length is not known.
    """
    options = operator.options
    if not hasattr(options, "dilationHFactor") or options.padding != _SAME:
        return None
    lengths = subgraph.tensors[operator.inputs[0]].shape_signature[1:3]
    kernel = subgraph.tensors[operator.inputs[1]].shape[1:3]
    strides = (options.strideH, options.strideW)
    if len(lengths) != 2 or len(kernel) != 2 or min(*lengths, *strides) < 1:
        return None
    dilations = (options.dilationHFactor, options.dilationWFactor)
    rows, columns = (
        (-(-n // stride) - 1) * stride + (size - 1) * dilation + 1 - n
        for n, size, stride, dilation in zip(lengths, kernel, strides, dilations, strict=True)
    )
    return rows, columns


def _pooled(_: Subgraph, operator: Operator, shape: Shape) -> Shape | None:
    options = operator.options
    if not hasattr(options, "filterHeight"):
        return None
    return _windows(shape, options, (options.filterHeight, options.filterWidth), shape[-1])


def _windows(shape: Shape, options: object, reach: tuple[int, int], channels: int) -> Shape | None:
    """Counts the windows of a stride on a map `[n, h, w, c]`; None for what is no such map."""
    strides = (getattr(options, "strideH", 0), getattr(options, "strideW", 0))
    if len(shape) != 4 or min(strides) < 1:
        return None
    same = getattr(options, "padding", _SAME) == _SAME
    made = [
        -(-(n if same else n - size + 1) // stride)
        for n, size, stride in zip(shape[1:3], reach, strides, strict=True)
    ]
    return (shape[0], *made, channels)


_COMPUTED: Mapping[str, Callable[[Subgraph, Operator, Shape], Shape | None]] = {
    **dict.fromkeys(PADS, _padded),
    "AVERAGE_POOL_2D": _pooled,
    "CONV_2D": _convolved,
    "DENSIFY": _restored,
    "DEPTHWISE_CONV_2D": _convolved,
    "DEQUANTIZE": _restored,
    "MAX_POOL_2D": _pooled,
}
