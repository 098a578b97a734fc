"""SAME padding that XNNPACK reads wrongly: strides that step over a kernel.

Where a stride is longer than a kernel along an axis, the last window may end before the map does.
SAME then adds no zeros, and XNNPACK, where it subtracts, a huge number of them: outputs are noise.

Measured 2026-11-27 on x86-64, CONV_2D and DEPTHWISE_CONV_2D of every kernel but 1x1, strides 2 and
3: tflite-runtime 2.14.0 differs by as much as its outputs, LiteRT 2.3.0 is right; on emulated ARM64
LiteRT 2.1.6 is wrong too. Pools are right in both.
"""

from __future__ import annotations

from edgeprune.core.runtime import Runtime
from edgeprune.tflite.format.graph import Operator, Subgraph
from edgeprune.tflite.format.shapes import same_padding

MISREAD_BY = frozenset({Runtime("tflite-runtime", "2.14.0"), Runtime("LiteRT", "2.1.6")})
"""Runtimes whose XNNPACK does so, of those that were tried."""


def stepped_over(main: Subgraph, operator: Operator) -> tuple[int, int] | None:
    """The zeros that a convolution adds to rows and columns, if XNNPACK reads them wrongly."""
    total = same_padding(main, operator)
    if total is None or min(total) >= 0:
        return None
    rows, columns = main.tensors[operator.inputs[1]].shape[1:3]
    return None if (rows, columns) == (1, 1) else (max(total[0], 0), max(total[1], 0))
