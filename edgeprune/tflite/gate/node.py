"""Lowers a .tflite graph to the nodes that XNNPACK gets from TFLite's delegate.

Weights behind DENSIFY and DEQUANTIZE are constants there, PAD becomes padding of the convolution
behind it, and a clamp joins the operator in front of it. What is left is what the NCHW pass sees.

Sources: tflite/delegates/xnnpack/xnnpack_delegate.cc at google-ai-edge/LiteRT v2.1.6 (1461b6b2d);
`xnn_subgraph_fusion` in src/subgraph.c at google/XNNPACK b9d4073a6 (the time of tflite-runtime
2.14.0) and 37e59cdb3 (the time of LiteRT 2.1.6).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgeprune.tflite.format.graph import Operator, Subgraph, Tensor

Padding = tuple[int, int, int, int]
"""Zeros around a map: top, right, bottom, left."""

_NONE: Padding = (0, 0, 0, 0)
_RESTORED_AT_LOAD = ("DENSIFY", "DEQUANTIZE")
_CLAMPS = ("RELU", "RELU6", "RELU_N1_TO_1")
_TAKES_CLAMP = (
    "ADD",
    "AVERAGE_POOL_2D",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "DIV",
    "FULLY_CONNECTED",
    "MAX_POOL_2D",
    "MUL",
    "SUB",
    "TRANSPOSE_CONV",
)
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_PARAMETER_INPUTS = (
    "EXPAND_DIMS",
    "MEAN",
    "PAD",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "SLICE",
    "STRIDED_SLICE",
    "SUM",
    "TRANSPOSE",
)
"""Operators that hand only their first input on as a value; the others are parameters."""
_SAME = 0


@dataclass(frozen=True, eq=False)
class Node:
    """One XNNPACK node.

    `operator` is the .tflite operator it stands for, `absorbed` the indices of those that it took
    in. `inputs` are all tensors it reads as values, -1 left out; `output` is the tensor that it
    writes. `padding` is explicit padding; `same` says that TensorFlow's SAME rule is left to run
    time, as for every stride above 1.
    """

    operator: Operator
    inputs: tuple[int, ...]
    output: int
    absorbed: tuple[int, ...] = ()
    padding: Padding = _NONE
    same: bool = False

    @property
    def op(self) -> str:
        """The builtin's name."""
        return self.operator.op


_FORMS: Mapping[str, tuple[str, int]] = {
    "ADD": ("AddOptionsT", 2),
    "AVERAGE_POOL_2D": ("Pool2DOptionsT", 1),
    "CONCATENATION": ("ConcatenationOptionsT", 1),
    "CONV_2D": ("Conv2DOptionsT", 2),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptionsT", 2),
    "DIV": ("DivOptionsT", 2),
    "FULLY_CONNECTED": ("FullyConnectedOptionsT", 2),
    "MAX_POOL_2D": ("Pool2DOptionsT", 1),
    "MAXIMUM": ("", 2),
    "MEAN": ("ReducerOptionsT", 2),
    "MINIMUM": ("", 2),
    "MUL": ("MulOptionsT", 2),
    "PAD": ("", 2),
    "RESIZE_BILINEAR": ("ResizeBilinearOptionsT", 2),
    "SUB": ("SubOptionsT", 2),
    "SUM": ("ReducerOptionsT", 2),
}
"""Per operator, the class of its options (empty where none is read), and the inputs it needs."""
_ON_MAPS = ("AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D")


def well_formed(main: Subgraph, operator: Operator) -> bool:
    """Whether an operator has the inputs, options and shapes that its kind always has.

    Files that no converter made need not; their operators fit nowhere.
    """
    kind, needed = _FORMS.get(operator.op, ("", 1))
    if len(operator.outputs) != 1 or operator.outputs[0] < 0 or len(operator.inputs) < needed:
        return operator.op not in _FORMS and not operator.custom
    if min(operator.inputs[:needed], default=0) < 0:
        return False
    if kind and type(operator.options).__name__ != kind:
        return False
    maps = (operator.inputs[0], operator.outputs[0]) if operator.op in _ON_MAPS else ()
    return all(len(main.tensors[index].shape) == 4 for index in maps)


def lower(main: Subgraph) -> tuple[Node, ...]:
    """Returns the nodes of a subgraph in the order of execution."""
    nodes = [_node(main, operator) for operator in main.operators if not _static(main, operator)]
    return tuple(_fuse_padding(main, _fuse_clamps(main, nodes)))


def is_constant(main: Subgraph, index: int) -> bool:
    """Whether a value is known when the model is loaded."""
    return constant(main, index) is not None


def constant(main: Subgraph, index: int) -> Tensor | None:
    """The constant that a value is restored from; None for one that is computed at run time."""
    return main.constant_behind(index)[0] if index >= 0 else None


def consumers(main: Subgraph, nodes: Sequence[Node], *, repeats: bool = True) -> Counter[int]:
    """How often each tensor is read; being an output of the graph counts once.

    With `repeats`, a node that reads a value at two of its inputs counts twice, as in
    `xnn_subgraph_analyze_consumers_and_producers` at b9d4073a6; without, once, as LiteRT 2.1.6 was
    seen to do (ADD of a map with itself, emulated ARM64, 2026-11-23).
    """
    reads = (node.inputs if repeats else set(node.inputs) for node in nodes)
    return Counter(i for inputs in reads for i in inputs) + Counter(set(main.outputs))


def _static(main: Subgraph, operator: Operator) -> bool:
    """Whether an operator restores a constant, which the delegate does when it is loaded."""
    return operator.op in _RESTORED_AT_LOAD and all(
        is_constant(main, index) for index in operator.outputs
    )


def _node(main: Subgraph, operator: Operator) -> Node:
    read = operator.inputs[:1] if operator.op in _PARAMETER_INPUTS else operator.inputs
    node = Node(operator, tuple(i for i in read if i >= 0), next(iter(operator.outputs), -1))
    if operator.op not in _CONVOLUTIONS or not well_formed(main, operator):
        return node
    if operator.options.padding != _SAME:
        return node
    if (operator.options.strideH, operator.options.strideW) != (1, 1):
        return replace(node, same=True)
    return replace(node, padding=_same_at_stride_one(main, operator))


def _same_at_stride_one(main: Subgraph, operator: Operator) -> Padding:
    """Returns SAME as explicit padding, which XNNPACK computes when a node is defined.

    Source: `xnn_define_convolution_2d` and `xnn_define_depthwise_convolution_2d`.
    """
    weights = constant(main, operator.inputs[1])
    if weights is None or len(weights.shape) != 4:
        return _NONE
    options = operator.options
    height = (weights.shape[1] - 1) * options.dilationHFactor
    width = (weights.shape[2] - 1) * options.dilationWFactor
    return height // 2, width - width // 2, height - height // 2, width // 2


def _fuse_clamps(main: Subgraph, nodes: Sequence[Node]) -> list[Node]:
    uses = consumers(main, nodes)
    fused: list[Node] = []
    place: dict[int, int] = {}
    for node in nodes:
        at = place.get(node.inputs[0]) if node.inputs else None
        if at is not None and node.op in _CLAMPS and uses[node.inputs[0]] == 1:
            maker = fused[at]
            absorbed = (*maker.absorbed, node.operator.index)
            fused[at] = replace(maker, output=node.output, absorbed=absorbed)
            place[node.output] = at
            continue
        if node.op in _TAKES_CLAMP:
            place[node.output] = len(fused)
        fused.append(node)
    return fused


def _fuse_padding(main: Subgraph, nodes: Sequence[Node]) -> list[Node]:
    uses = consumers(main, nodes)
    pads = {
        node.output: (node, padding)
        for node in nodes
        if node.op == "PAD" and uses[node.output] == 1 and (padding := _spatial(main, node))
    }
    fused: list[Node] = []
    merged: set[int] = set()
    for node in nodes:
        found = pads.get(node.inputs[0]) if node.inputs and node.op in _CONVOLUTIONS else None
        if found is None or node.same or getattr(node.operator.options, "padding", 0) == _SAME:
            fused.append(node)
            continue
        pad, padding = found
        merged.add(pad.operator.index)
        top, right, bottom, left = (a + b for a, b in zip(node.padding, padding, strict=True))
        fused.append(
            replace(
                node,
                inputs=(pad.inputs[0], *node.inputs[1:]),
                absorbed=(*node.absorbed, pad.operator.index),
                padding=(top, right, bottom, left),
            )
        )
    return [node for node in fused if node.operator.index not in merged]


def _spatial(main: Subgraph, node: Node) -> Padding | None:
    """Returns the padding of a PAD on height and width only; None for any other PAD."""
    amounts = constant(main, node.operator.inputs[1]) if len(node.operator.inputs) > 1 else None
    values = None if amounts is None or amounts.shape != (4, 2) else amounts.values()
    if values is None or values[0].any() or values[3].any():
        return None
    (top, bottom), (left, right) = values[1].tolist(), values[2].tolist()
    return top, right, bottom, left
