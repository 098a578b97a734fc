"""Says which nodes XNNPACK can run on NCHW maps, as its sparse kernels need them, and why not.

The rules are those of `xnn_check_nchw_compatibility` in src/subgraph.c of google/XNNPACK, at
b9d4073a6 (the time of tflite-runtime 2.14.0) and 37e59cdb3 (LiteRT 2.1.6). The two differ in
elementwise operators, reductions and FULLY_CONNECTED.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeprune.core.spelling import with_article
from edgeprune.tflite.format.graph import Subgraph
from edgeprune.tflite.gate.node import Node, constant, is_constant, well_formed
from edgeprune.tflite.gate.rules import XnnpackRules

_MOST_AXES = 8
_DELEGATED_ACTIVATIONS = (0, 1, 2, 3)
"""NONE, RELU, RELU_N1_TO_1 and RELU6; a node with another one stays with TFLite."""


@dataclass(frozen=True)
class ClusterFit:
    """Whether a node fits a cluster: inside it, as its beginning, as its end, or not at all.

    `begins` takes NHWC and makes NCHW, `ends` the other way round. Where nothing fits, `reason`
    says why, and `remedy` what to do about it.
    """

    inside: bool = False
    begins: bool = False
    ends: bool = False
    reason: str = ""
    remedy: str = ""


_INSIDE = ClusterFit(inside=True)


def fit_of(main: Subgraph, node: Node, rules: XnnpackRules) -> ClusterFit:
    """Says how a node fits a cluster of a runtime."""
    if not node.inputs or node.output < 0 or not well_formed(main, node.operator):
        return ClusterFit(
            reason="is not put together as converters do", remedy="Convert the model again."
        )
    if not _fixed_size(main, node):
        return ClusterFit(
            reason="has a size set at run time", remedy="Fix height, width and channels."
        )
    if not _floats(main, node):
        return ClusterFit(
            reason="computes with other types than float", remedy="Keep the model in float."
        )
    if rules.halves_give_nan and mixes_halves(main, node):
        return ClusterFit(
            reason="has float16 weights and a float32 bias", remedy="Store both alike."
        )
    if getattr(node.operator.options, "fusedActivationFunction", 0) not in _DELEGATED_ACTIVATIONS:
        return ClusterFit(
            reason="has an activation that XNNPACK does not fuse", remedy="Use a ReLU."
        )
    check = _CHECKS.get(node.op)
    if check is not None:
        return check(main, node, rules)
    if node.op in rules.unary:
        return _four_axes(main, node)
    if node.op in rules.reduces:
        return _reduction(main, node, rules)
    return _not_supported(node, rules)


def _not_supported(node: Node, rules: XnnpackRules) -> ClusterFit:
    where = f"{rules.runtime} has no kernel of {node.op} for sparse networks"
    return ClusterFit(reason=where, remedy=_REMEDIES.get(node.op, "Replace the layer."))


_REMEDIES: Mapping[str, str] = {
    "AVERAGE_POOL_2D": "Use GlobalAveragePooling2D at the end and strided depthwise convolutions "
    "in the middle.",
    "CONCATENATION": "Join branches by adding them.",
    "GELU": "Use ReLU, hard swish or swish.",
    "MAX_POOL_2D": "Use a strided depthwise convolution.",
    "PRELU": "Use ReLU or LeakyReLU.",
    "RESIZE_NEAREST_NEIGHBOR": "Resize bilinearly.",
    "SUB": "Add the negative instead.",
    "TANH": "Use ReLU, hard swish or swish.",
}


def _floats(main: Subgraph, node: Node) -> bool:
    """Whether all of a node's values are float32, or float16 constants that are restored to it."""
    values = (*node.inputs, node.output)
    stored = [constant(main, index) for index in node.inputs]
    return all(main.tensors[index].dtype == "float32" for index in values) and all(
        found is None or found.dtype in ("float32", "float16") for found in stored
    )


def _fixed_size(main: Subgraph, node: Node) -> bool:
    """Whether all lengths but the batch are known, as the rules on shapes need them."""
    values = [main.tensors[index] for index in (*node.inputs, node.output)]
    return all(-1 not in value.shape_signature[1:] for value in values)


def mixes_halves(main: Subgraph, node: Node) -> bool:
    """Whether weights are float16 and their bias is float32.

    LiteRT 2.1.6 gives NaN on ARM64 when such weights go through DENSIFY, also in a network that
    stays dense; converters store both in float16. Measured on emulated ARM64, 2026-11-23. LiteRT
    2.3.0 computes right, 2026-11-27.
    """
    if node.op not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") or len(node.inputs) < 3:
        return False
    weights, bias = constant(main, node.inputs[1]), constant(main, node.inputs[2])
    halves = weights is not None and weights.dtype == "float16"
    return halves and bias is not None and bias.dtype == "float32"


def _four_axes(main: Subgraph, node: Node) -> ClusterFit:
    if len(main.tensors[node.inputs[0]].shape) == 4:
        return _INSIDE
    return ClusterFit(reason="works on a tensor without height and width")


def _convolution(main: Subgraph, node: Node, _: XnnpackRules) -> ClusterFit:
    options = node.operator.options
    weights = constant(main, node.inputs[1]) if len(node.inputs) == 3 else None
    if weights is None or not is_constant(main, node.inputs[2]) or len(weights.shape) != 4:
        return ClusterFit(reason="has no constant weights and bias")
    height, width, in_ = weights.shape[1:]
    if main.tensors[node.inputs[0]].shape[-1] != in_:
        return ClusterFit(reason="is a grouped convolution", remedy="Use groups=1.")
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return ClusterFit(reason="is dilated", remedy="Use dilation 1.")
    strides = (options.strideH, options.strideW)
    if (height, width) == (1, 1):
        if strides != (1, 1) or any(node.padding):
            return ClusterFit(
                reason="is a 1x1 convolution with a stride or padding",
                remedy="Stride in a depthwise convolution in front of it.",
            )
        return _INSIDE
    return _stem(node, (height, width), strides, in_)


def _stem(node: Node, kernel: tuple[int, int], strides: tuple[int, int], in_: int) -> ClusterFit:
    if kernel != (3, 3) or strides != (2, 2) or in_ != 3:
        return ClusterFit(
            reason=f"is {with_article(f'{kernel[0]}x{kernel[1]}')} convolution of stride "
            f"{max(strides)} on {in_} channels; only 1x1 convolutions and a 3x3 stem of stride 2 "
            "on 3 channels have a kernel for sparse networks",
            remedy="Use depthwise 3x3 and 1x1 convolutions, and a 3x3 stem of stride 2 on RGB.",
        )
    if node.same or node.padding != (1, 1, 1, 1):
        return ClusterFit(
            reason="is a stem without padding by 1 on every side",
            remedy="Use ZeroPadding2D(1) and padding='valid'.",
        )
    return ClusterFit(begins=True)


def _depthwise(main: Subgraph, node: Node, _: XnnpackRules) -> ClusterFit:
    options = node.operator.options
    weights = constant(main, node.inputs[1]) if len(node.inputs) == 3 else None
    if weights is None or not is_constant(main, node.inputs[2]) or len(weights.shape) != 4:
        return ClusterFit(reason="has no constant weights and bias")
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return ClusterFit(reason="is dilated", remedy="Use dilation 1, or a 5x5 kernel.")
    if options.depthMultiplier != 1:
        return ClusterFit(reason="has a depth multiplier", remedy="Use depth_multiplier=1.")
    kernel, stride = weights.shape[1], options.strideH
    square = weights.shape[2] == kernel and options.strideW == stride
    if not square or kernel not in (3, 5) or stride not in (1, 2):
        return ClusterFit(
            reason=f"has {with_article(f'{kernel}x{weights.shape[2]}')} kernel of stride {stride}",
            remedy="Use 3x3 or 5x5 kernels of stride 1 or 2.",
        )
    if node.same or node.padding != (kernel // 2,) * 4:
        return ClusterFit(
            reason=f"is not padded by {kernel // 2} on every side (SAME with stride 2 pads one "
            "side more than the other)",
            remedy=f"Use ZeroPadding2D({kernel // 2}) and padding='valid'.",
        )
    return _INSIDE


def _binary(main: Subgraph, node: Node, _: XnnpackRules) -> ClusterFit:
    """Says whether an ADD or MUL fits.

    A constant first operand may be a scalar or a vector. For a constant second one, XNNPACK looks
    at the shape of the first operand instead, which must then have at most one axis longer than 1.
    """
    first, second = (main.tensors[index].shape for index in node.inputs)
    remedy = "Put the constant first, with the shape [1, 1, 1, 1] or [1, 1, 1, c]."
    if len(first) != 4 or len(second) != 4:
        return ClusterFit(reason="has an operand without four axes", remedy=remedy)
    constants = [is_constant(main, index) for index in node.inputs]
    if any(constants) and sum(length != 1 for length in first) > 1:
        return ClusterFit(reason="has a constant beside a whole map", remedy=remedy)
    return _INSIDE


def _extreme(main: Subgraph, node: Node, rules: XnnpackRules) -> ClusterFit:
    scalar = any(
        found is not None and all(length == 1 for length in found.shape)
        for index in node.inputs
        for found in [constant(main, index)]
    )
    if rules.constant_extremes and scalar and len(main.tensors[node.output].shape) == 4:
        return _INSIDE
    return _not_supported(node, rules)


def _fully_connected(main: Subgraph, node: Node, rules: XnnpackRules) -> ClusterFit:
    """Says whether a FULLY_CONNECTED fits: on maps, as a 1x1 convolution.

    Behind a MEAN without kept axes it stays outside, and its weights are not counted: measured
    with LiteRT 2.1.6 on emulated ARM64, 2026-11-23.
    """
    maps = len(main.tensors[node.inputs[0]].shape) == 4
    if not rules.fully_connected or node.operator.version == 8 or not maps:
        return ClusterFit(
            reason="is a classifier behind the sparse network"
            if not maps
            else f"has no kernel for sparse networks in {rules.runtime}",
            remedy="Use a 1x1 convolution." if maps else "",
        )
    return _INSIDE


def _resize(main: Subgraph, node: Node, _: XnnpackRules) -> ClusterFit:
    shape = main.tensors[node.inputs[0]].shape
    if len(shape) == 4 and shape[1] > 1 and shape[2] > 1:
        return _INSIDE
    return ClusterFit(reason="resizes a map with one row or column")


def _reduction(main: Subgraph, node: Node, rules: XnnpackRules) -> ClusterFit:
    if len(main.tensors[node.inputs[0]].shape) != 4:
        return ClusterFit(reason="averages over other axes than height and width")
    if rules.spatial_reductions and not spatial_axes(main, node):
        return ClusterFit(reason="averages over other axes than height and width")
    return ClusterFit(inside=True, ends=True)


def spatial_axes(main: Subgraph, node: Node) -> bool:
    """Whether a reduction is over height and width, and names them as 1 and 2."""
    return reduced_axes(main, node) == [1, 2]


def reduced_axes(main: Subgraph, node: Node) -> list[int]:
    """The axes of a reduction as the file names them, sorted; empty where they are not constant."""
    axes = constant(main, node.operator.inputs[1]) if len(node.operator.inputs) > 1 else None
    values = None if axes is None or math.prod(axes.shape) > _MOST_AXES else axes.values()
    return [] if values is None else sorted(values.reshape(-1).tolist())


def _depth_to_space(_main: Subgraph, _node: Node, _: XnnpackRules) -> ClusterFit:
    return ClusterFit(ends=True)


_CHECKS: Mapping[str, Callable[[Subgraph, Node, XnnpackRules], ClusterFit]] = {
    "ADD": _binary,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": _depth_to_space,
    "FULLY_CONNECTED": _fully_connected,
    "MAXIMUM": _extreme,
    "MINIMUM": _extreme,
    "MUL": _binary,
    "RESIZE_BILINEAR": _resize,
}
