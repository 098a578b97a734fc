"""The closed sets of words that device profiles, plans and the command line share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Numerics = Literal["float32", "float16", "int8"]
"""`float16` means weights of 16 bits that the runtime computes with in 32; int8 is full int8."""
Goal = Literal["latency", "flash", "memory"]
Allocation = Literal["uniform", "lamp", "reconstruction"]
"""How zeros are spread over layers: evenly, by the weights alone, or by the losses that samples
show (evenly where there are none)."""
Core = Literal["cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1"]
"""ARM64 cores that can be emulated. Source: the names that QEMU 7.2 takes and that were tried."""
DEFAULT_CORE: Core = "cortex-a76"
Accelerator = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]
"""Ethos-U NPUs with their multiplications per cycle.

Source: --accelerator-config of ethos-u-vela 5.2.0.
"""
TargetName = Literal["host", "arm64-emulated", "tflm", "vela", "edgetpu-model", "ssh", "adb"]
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

LAYER_KINDS = tuple(KERNEL_AXES)
"""Keras class names of the layers that have a device matrix."""
