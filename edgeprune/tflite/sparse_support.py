"""What runtimes make of tensors that are stored sparsely, as far as they were run on them.

Source: every combination was run on tflite-runtime 2.14.0, LiteRT 2.3.0 (x86) and 2.1.6 (ARM64,
emulated) and TFLite Micro on 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.core.runtime import Runtime, nearest_known


@dataclass(frozen=True)
class SparseSupport:
    """What one runtime makes of sparse tensors; `title` is what people call it."""

    title: str
    reads_sparse: bool
    """Whether it has DENSIFY and kernels that know a sparse tensor from a dense one."""
    restores_int8_dense: bool
    """Whether it loads FULLY_CONNECTED with int8 weights behind DENSIFY."""
    scales_per_channel: bool
    """Whether its sparse int8 kernels take one scale per output."""


_KNOWN: Mapping[Runtime, SparseSupport] = {
    Runtime("tflite-runtime", "2.14.0"): SparseSupport(
        "tflite-runtime", reads_sparse=True, restores_int8_dense=True, scales_per_channel=False
    ),
    Runtime("LiteRT", "2.1.6"): SparseSupport(
        "LiteRT", reads_sparse=True, restores_int8_dense=False, scales_per_channel=True
    ),
    Runtime("TFLM", "0.dev20261023182759"): SparseSupport(
        "TFLite Micro", reads_sparse=False, restores_int8_dense=False, scales_per_channel=False
    ),
}


def sparse_support(runtime: Runtime) -> SparseSupport:
    """What is known of a runtime, from the version that `nearest_known` names.

    Raises:
      ValueError: nothing is known under its name.
    """
    known = nearest_known(runtime, _KNOWN)
    if known is None:
        names = ", ".join(map(str, _KNOWN))
        raise ValueError(f"Expected a runtime that was tried: {names}. Received: {runtime}.")
    return _KNOWN[known]
