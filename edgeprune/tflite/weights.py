"""The weights of an operator: which of its inputs they are, behind what restores them."""

from __future__ import annotations

from edgeprune.tflite.format.file import Operator, Subgraph, Tensor

_WEIGHT_INPUT = {
    "BATCH_MATMUL": 1,
    "CONV_2D": 1,
    "CONV_3D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
}


def weights_of(subgraph: Subgraph, operator: Operator) -> tuple[Tensor | None, tuple[str, ...]]:
    """Returns the constant that an operator takes as weights, and the operators it passes first."""
    position = _WEIGHT_INPUT.get(operator.op)
    if position is None or len(operator.inputs) <= position:
        return None, ()
    return subgraph.constant_behind(operator.inputs[position])
