"""Types and storage of tensors, as text that follows from what they hold and nothing else."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.tflite.format.decode_operator import PackedTensor
from edgeprune.tflite.format.graph import Tensor
from edgeprune.tflite.format.sparse_tensor import DenseLevel, SparseTensor
from edgeprune.tflite.text.words import bytes_text, digest_of, number_text, values_text

_LISTED = 8
"""Values of a constant that are written out."""


class TensorTexts:
    """Writes what tensors are; constants that share their bytes are read once."""

    def __init__(self) -> None:
        self._contents: dict[Hashable, str] = {}

    def text(self, tensor: Tensor, packed: PackedTensor | None = None) -> str:
        """A tensor in angle brackets: type, shape, quantization, how it is stored, values.

        Args:
          tensor: of any kind.
          packed: what a DECODE makes the tensor from, if one does.
        """
        parts = [f"{tensor.dtype}{_shape(tensor)}", *_quantization(tensor)]
        if tensor.variable:
            parts.append("variable")
        if packed is not None and packed.readable:
            parts += [f"packed in {packed.packed.nbytes} bytes", self._content_of_packed(packed)]
        if tensor.encoding is not None:
            parts.append(_sparse(tensor.encoding))
        if tensor.constant:
            parts.append(self._content(tensor))
        return f"<{', '.join(parts)}>"

    def _content(self, tensor: Tensor) -> str:
        key = tensor.buffer, tensor.dtype, tensor.shape if tensor.sparse else None, _zero(tensor)
        if key not in self._contents:
            values = tensor.values()
            self._contents[key] = (
                bytes_text(tensor.data) if values is None else _content(values, _zero(tensor))
            )
        return self._contents[key]

    def _content_of_packed(self, packed: PackedTensor) -> str:
        if packed.key not in self._contents:
            self._contents[packed.key] = _content(packed.values(), _zero(packed.tensor))
        return self._contents[packed.key]


def _shape(tensor: Tensor) -> str:
    """The lengths of the axes, `?` for one that is set at run time."""
    sizes = tensor.shape_signature
    if len(sizes) != len(tensor.shape):
        sizes = tensor.shape
    return f"[{','.join('?' if size < 0 else str(size) for size in sizes)}]"


def _quantization(tensor: Tensor) -> list[str]:
    if not tensor.scales.size:
        return []
    zeros = tensor.zero_points
    if tensor.scales.size == 1:
        zero = [f"zero point {zeros[0]}"] if zeros.size == 1 and zeros[0] else []
        return [f"scale {number_text(tensor.scales[0])}", *zero]
    scales = f"scales {values_text(tensor.scales)} along axis {tensor.quantized_dimension}"
    return [scales, *([f"zero points {values_text(zeros)}"] if zeros.any() else [])]


def _sparse(sparse: SparseTensor) -> str:
    rank = len(sparse.shape)
    axes = ",".join(map(str, sparse.traversal[:rank]))
    blocks = [
        f"x{level.size} on axis {sparse.block_map[axis - rank]}"
        for axis, level in zip(sparse.traversal[rank:], sparse.levels[rank:], strict=True)
        if isinstance(level, DenseLevel)
    ]
    return f"sparse by axes {axes}" + (f" in blocks {' '.join(blocks)}" if blocks else "")


def _zero(tensor: Tensor) -> int:
    return int(tensor.zero_points[0]) if tensor.zero_points.size else 0


def _content(values: Array, zero: int) -> str:
    """A few values, or of many how many are zero (the zero point), and a digest of all."""
    flat = values.reshape(-1)
    if flat.size <= _LISTED:
        return values_text(flat)
    zeros = int(np.count_nonzero(flat == zero))
    said = f"{100 * zeros / flat.size:.1f} % zeros, " if zeros else ""
    return said + digest_of(flat)
