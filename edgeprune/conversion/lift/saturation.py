"""Where results saturate: a quantized tensor holds values of its range alone, real ones any.

    file     CONV_2D --> int8, 0 to 5.3
    Keras    Conv2D --> Saturate(0, 5.3)

No layer stands behind operators whose results are always in the range: those that move, pick or
average values of tensors with ranges no wider, and functions whose own range it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from edgeprune.conversion.lift.layers import Saturate
from edgeprune.conversion.lift.operators.fused import limits_of
from edgeprune.conversion.lift.site import Site, quantized, span_of
from edgeprune.tflite.format.graph import Tensor

Span: TypeAlias = tuple[float, float]
"""The least and the greatest value."""
_ANY: Span = (-math.inf, math.inf)

_WITHIN_INPUTS = frozenset(
    (
        *("AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CONCATENATION", "DEQUANTIZE"),
        *("DEPTH_TO_SPACE", "EMBEDDING_LOOKUP", "EXPAND_DIMS", "GATHER", "MAXIMUM", "MAX_POOL_2D"),
        *("MEAN", "MINIMUM", "MIRROR_PAD", "PACK", "PAD", "PADV2", "QUANTIZE", "REDUCE_MAX"),
        *("REDUCE_MIN", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE"),
        *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SELECT", "SELECT_V2"),
        *("SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE"),
        *("STRIDED_SLICE", "TILE", "TOPK_V2", "TRANSPOSE", "UNPACK"),
    )
)
"""Operators that give nothing beyond the values that they read, and zero."""
_OWN: Mapping[str, Span] = {
    "L2_NORMALIZATION": (-1.0, 1.0),
    "LOGISTIC": (0.0, 1.0),
    "LOG_SOFTMAX": (-math.inf, 0.0),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_0_TO_1": (0.0, 1.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "SOFTMAX": (0.0, 1.0),
    "TANH": (-1.0, 1.0),
}
"""Between what the results of some functions are."""


def saturated(site: Site, number: int, made: Any) -> Any:
    """An operator's result as its tensor can hold it.

    Args:
      site: the operator.
      number: of the output.
      made: the Keras tensor of it.

    Returns:
      The tensor itself where nothing in it can be beyond its range by more than a step.
    """
    tensor = site.building.subgraph.tensors[site.operator.outputs[number]]
    if not quantized(tensor):
        return made
    span = span_of(tensor)
    if _covers(span, _reach(site), step=float(tensor.scales[0])):
        return made
    return site.apply(Saturate(*span, name=site.new_name("saturated")), made)


def _covers(outer: Span, inner: Span, step: float) -> bool:
    """Whether a span holds another one, up to a step: results are rounded by no less."""
    slack = step * 1.001
    return outer[0] - slack <= inner[0] and inner[1] <= outer[1] + slack


def _reach(site: Site) -> Span:
    """Between what an operator's results are before they are quantized."""
    low, high = limits_of(site)
    own = _OWN.get(site.operator.op, _ANY)
    read = _read(site) if site.operator.op in _WITHIN_INPUTS else _ANY
    return max(low, own[0], read[0]), min(high, own[1], read[1])


def _read(site: Site) -> Span:
    """Between what all of an operator's real inputs are, and zero."""
    spans = [_span(site, at) for at in range(site.count)]
    return min(0.0, *(low for low, _ in spans)), max(0.0, *(high for _, high in spans))


def _span(site: Site, position: int) -> Span:
    """Between what the values of an input are; nothing where they are shapes and the like."""
    tensor: Tensor = site.building.subgraph.tensors[site.operator.inputs[position]]
    if quantized(tensor) and tensor.scales.size == 1:
        return span_of(tensor)
    values = None if site.is_live(position) else site.constant(position)
    if values is None:
        return _ANY if site.is_live(position) and tensor.dtype.startswith("float") else (0.0, 0.0)
    real = values.dtype.kind == "f" and values.size > 0
    return (float(values.min()), float(values.max())) if real else (0.0, 0.0)
