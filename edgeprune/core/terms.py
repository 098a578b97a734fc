"""The closed sets of terms that device profiles, plans and the command line share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

Numerics = Literal["float32", "float16", "float16-arithmetic", "dynamic-range", "int8"]
"""`float16`: weights are stored in 16 bits, the runtime computes in 32. `float16-arithmetic`: the
same, and the file lets the runtime compute in 16, which it does on cores that have it.
`dynamic-range`: weights are int8, activations float32, quantized while they are multiplied. `int8`:
weights and activations are int8."""
Goal = Literal["latency", "flash", "memory"]
Allocation = Literal["uniform", "lamp", "reconstruction"]
"""How zeros are allocated to layers: the same sparsity for all, by the weights alone, or by the
losses measured on samples (the same for all without samples)."""
CheaperActivation = Literal["hard-swish", "relu6"]
"""What costly activations may be replaced by before training."""
Activation = Literal["keep", "hard-swish", "relu6"]
Core = Literal[
    "cortex-a35",
    "cortex-a53",
    "cortex-a57",
    "cortex-a72",
    "cortex-a76",
    "neoverse-n1",
    "cortex-a710",
    "neoverse-v1",
    "neoverse-n2",
]
"""ARM64 cores that can be emulated: those among QEMU's `-cpu` names that were tested."""
DEFAULT_CORE: Core = "cortex-a76"
CORE_SINCE_QEMU: Mapping[Core, tuple[int, int]] = MappingProxyType(
    {"cortex-a710": (8, 2), "neoverse-v1": (8, 1), "neoverse-n2": (8, 2)}
)
"""The first QEMU that knows a core; 7.2 knows those not named.

Source: QEMU's change logs; 7.2.22 and 10.0.13 were asked (`qemu-aarch64 -cpu help`).
"""
ModelledCore = Literal["neoverse-n1", "cortex-a55"]
"""Cores by whose scheduling models in LLVM cycles are modelled: a big one and a little one.

LLVM's own model of cortex-a76 is that of cortex-a57; neoverse-n1 is the server's form of it.
"""
MODELLED_CORES: tuple[ModelledCore, ...] = get_args(ModelledCore)
CoreFeature = Literal["dot-product", "fp16-arithmetic", "int8-matrix", "bfloat16"]
_ARMV8_2: frozenset[CoreFeature] = frozenset({"dot-product", "fp16-arithmetic"})
_ARMV8_6: frozenset[CoreFeature] = _ARMV8_2 | {"int8-matrix", "bfloat16"}
CORE_FEATURES: Mapping[Core, frozenset[CoreFeature]] = MappingProxyType(
    {
        "cortex-a76": _ARMV8_2,
        "neoverse-n1": _ARMV8_2,
        "cortex-a710": _ARMV8_6,
        "neoverse-v1": _ARMV8_6,
        "neoverse-n2": _ARMV8_6,
    }
)
"""What cores have beyond Armv8.0, of what kernels ask for; those not named have none of it.

Source: the Technical Reference Manuals of Arm (FEAT_DotProd, FEAT_FP16, FEAT_I8MM and FEAT_BF16).
"""
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
"""Ethos-U NPUs by name and multiply-accumulates per cycle.

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
"""Number of axes of the kernel by Keras class name; of a separable layer, of the pointwise one."""

LAYER_KINDS = tuple(KERNEL_AXES)
"""Keras class names of the layers that have a device matrix."""
