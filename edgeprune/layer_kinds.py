"""The kinds of layers that have a device matrix, by Keras class name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

KERNEL_AXES: Mapping[str, int] = MappingProxyType(
    {
        "Dense": 2,
        "Conv1D": 3,
        "Conv2D": 4,
        "SeparableConv1D": 3,
        "SeparableConv2D": 4,
        "Conv1DTranspose": 3,
        "Conv2DTranspose": 4,
        "DepthwiseConv1D": 3,
        "DepthwiseConv2D": 4,
    }
)
"""How many axes the kernel has; of a separable layer the pointwise one."""

KINDS = tuple(KERNEL_AXES)
