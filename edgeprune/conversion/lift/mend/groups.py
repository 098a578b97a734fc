"""Which activations of a quantized file may get another scale, and which of them only together.

Operators that move or pick values give them with the scale that they have:

    CONV --> a --> PAD --> b --> CONV      a and b have one scale
    CONV --> a --> ADD --> b --> CONV      a and b have a scale each

Inputs and outputs of the file keep theirs, since whoever runs it knows them; so do results whose
scale the runtimes prescribe, and whatever an island reads or writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from edgeprune.conversion.int8.layers import BIAS, DATA_AT
from edgeprune.tflite.format.graph import Operator, Subgraph, Tensor

BYTES = ("int8", "uint8")
_OWN_SCALE = frozenset(
    (
        *("ADD", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "FULLY_CONNECTED"),
        *("HARD_SWISH", "LEAKY_RELU", "MEAN", "MUL", "PRELU", "QUANTIZE", "RELU", "RELU6"),
        *("SQUARED_DIFFERENCE", "SUB", "SUM", "TRANSPOSE_CONV"),
    )
)
"""Operators whose kernels compute results of any scale from inputs of any scale."""
_PRESCRIBED = frozenset(("L2_NORMALIZATION", "LOGISTIC", "LOG_SOFTMAX", "SOFTMAX", "TANH"))
"""Operators that take inputs of any scale, and whose results have one that the kernels know.

Source: the quantization specification of TensorFlow Lite, https://ai.google.dev/edge/litert/
conversion/tensorflow/quantization/quantization_spec, "restriction".
"""


def free_groups(main: Subgraph, islands: Collection[int]) -> tuple[tuple[int, ...], ...]:
    """Sets of activations that may get another scale, the same for all of a set.

    Args:
      main: the main subgraph of a file.
      islands: the indices of operators that the interpreter runs.

    Returns:
      Indices of tensors of 8 bits, each set in order, in the order of its first tensor.
    """
    bound = {*_bound(main, islands)}
    found = _joined(main)
    return tuple(sorted({each for each in found.values() if _may_change(main, each, bound)}))


def _joined(main: Subgraph) -> dict[int, tuple[int, ...]]:
    """For each quantized tensor the set that it belongs to."""
    found: dict[int, tuple[int, ...]] = {index: (index,) for index in _around_all(main)}
    for operator in main.operators:
        if operator.op not in _OWN_SCALE | _PRESCRIBED:
            linked = {other for index in _around(main, operator) for other in found[index]}
            together = tuple(sorted(linked))
            for index in together:
                found[index] = together
    return found


def _around_all(main: Subgraph) -> Iterator[int]:
    for operator in main.operators:
        yield from _around(main, operator)


def _around(main: Subgraph, operator: Operator) -> Iterator[int]:
    """The quantized tensors that an operator reads or writes."""
    both = (index for index in (*operator.inputs, *operator.outputs) if index >= 0)
    return (index for index in both if main.tensors[index].scales.size)


def _bound(main: Subgraph, islands: Collection[int]) -> Iterator[int]:
    """The tensors whose scale stays."""
    yield from main.ends
    for operator in main.operators:
        if operator.index in islands:
            yield from (*operator.inputs, *operator.outputs)
        elif operator.op in _PRESCRIBED or _takes_in(main, operator):
            yield from operator.outputs
        elif _has_bias(operator) and own_bias(main, operator) is None:
            yield operator.inputs[DATA_AT.get(operator.op, 0)]


def _takes_in(main: Subgraph, operator: Operator) -> bool:
    """Whether an operator quantizes an input of the file."""
    return operator.op == "QUANTIZE" and not {*main.inputs}.isdisjoint(operator.inputs)


def _has_bias(operator: Operator) -> bool:
    place = BIAS.get(operator.op, len(operator.inputs))
    return place < len(operator.inputs) and operator.inputs[place] >= 0


def own_bias(main: Subgraph, operator: Operator) -> Tensor | None:
    """The bias of 32 bits that an operator alone reads; None where it has none."""
    if not _has_bias(operator):
        return None
    found = main.tensors[operator.inputs[BIAS[operator.op]]]
    if found.dtype != "int32" or not found.constant or not found.scales.size:
        return None
    return found if len(main.readers[found.index]) == 1 and found.index not in main.ends else None


def _may_change(main: Subgraph, group: tuple[int, ...], bound: Collection[int]) -> bool:
    tensors = [main.tensors[index] for index in group]
    kinds = {
        (t.dtype, t.constant, t.scales.size, *t.scales[:1].tolist(), *t.zero_points[:1].tolist())
        for t in tensors
    }
    first = tensors[0]
    plain = first.dtype in BYTES and first.scales.size == 1 and not first.constant
    return plain and len(kinds) == 1 and not {*group} & {*bound}
