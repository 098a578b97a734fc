"""What `inspect` says of one operator and of one weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

SparseInference: TypeAlias = Literal["all", "part", "none", "not-applicable"]
Kernel: TypeAlias = Literal[
    "dense",
    "direct sparse",
    "dense after DENSIFY",
    "dense after DECODE",
    "wrong",
    "sparse convolution",
]
"""Kinds of kernels; see `OpReport`."""


@dataclass(frozen=True)
class OpReport:
    """One operator: which kind of kernel runs it, whether that skips zeros, and why (not).

    `kernel` is "dense", "direct sparse" (computes on the sparse weights), "sparse convolution" (in
    XNNPACK's sparse mode on ARM64), "dense after DENSIFY", "dense after DECODE" (of TFLite Micro),
    or "wrong" (takes sparse weights for dense ones, or maps in NCHW for maps in NHWC). `sparsity`
    is the fraction of zeros in its weights, None without weights.
    """

    index: int
    op: str
    version: int
    kernel: Kernel
    sparse: bool
    sparsity: float | None
    reason: str


@dataclass(frozen=True)
class TensorReport:
    """One weight: `stored_bytes` in the file, and `sparse_bytes` in the smallest sparse layout.

    `sparse_bytes` is None for types that cannot be stored sparsely.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    sparse: bool
    sparsity: float
    stored_bytes: int
    sparse_bytes: int | None

    @property
    def smaller_bytes(self) -> int:
        """Bytes in whichever form is smaller."""
        return min(self.stored_bytes, self.sparse_bytes or self.stored_bytes)
