"""Values behind TFLite Micro's DECODE operator: a bit for each, and those that are no hole.

    mask       ceil(n / 8) bytes, in C order, most significant bit first; 1 where a value is stored
    ancillary  16 bytes of header, then the values under the ones, in C order, in the tensor's type

Holes are the zero point, of a slice where a tensor has several. The kernel checks neither mask nor
number of values, and reads on behind them: `wrong_coding` does that before anybody runs a file.

Source: decode.cc, decode_state.h and decode_state_prune.cc in tensorflow/lite/micro/kernels of
tflite-micro, and its wheel 0.dev20261023182759.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array

DECODE = "TFLM_DECODE"
"""The operator's name, a custom code."""
HEADER_BYTES = 16
CODING_VERSION = 1
BITMASK = 2
"""The coding of this module, in byte 0 of the header."""
OTHER_CODINGS = frozenset({0, 1, *range(127, 256)})
"""Lookup table, Huffman code, and those of a firmware's own, which are not read here."""
PACKED_TYPES = ("bool", "float32", "int8", "int16", "int32", "int64")
"""Types that the kernel decodes."""
_LAYOUT_VERSION_AT = 4


@dataclass(frozen=True, eq=False)
class PackedValues:
    """The two constants that DECODE takes for one tensor: uint8, 1-D."""

    mask: Array
    ancillary: Array

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return int(self.mask.nbytes + self.ancillary.nbytes)

    @property
    def stored(self) -> int:
        """How many values are no hole."""
        return int(np.unpackbits(self.mask).sum())


def header() -> Array:
    """The header of a bitmask's ancillary: uint8 `[16]`."""
    made = np.zeros(HEADER_BYTES, np.uint8)
    made[0], made[1], made[_LAYOUT_VERSION_AT] = BITMASK, CODING_VERSION, 1
    return made


def holes(shape: Sequence[int], dtype: np.dtype[Any], zero_points: Array, axis: int) -> Array:
    """What every place of a tensor holds where nothing is stored, of its shape.

    Args:
      shape: the tensor's.
      dtype: of its values.
      zero_points: none, one, or one for each slice along `axis`.
      axis: the quantized one.
    """
    if zero_points.size <= 1:
        return np.full(shape, zero_points[0] if zero_points.size else 0, dtype)
    along = [-1 if place == axis % len(shape) else 1 for place in range(len(shape))]
    return np.broadcast_to(zero_points.astype(dtype).reshape(along), shape)


def pack_values(values: Array, zero_points: Array, axis: int = 0) -> PackedValues:
    """Packs values of one of `PACKED_TYPES`; zero points and axis are as for `holes`."""
    kept = _bits(values) != _bits(holes(values.shape, values.dtype, zero_points, axis))
    stored = np.ascontiguousarray(values[kept]).view(np.uint8)
    return PackedValues(np.packbits(kept), np.concatenate([header(), stored]))


def _bits(values: Array) -> Array:
    """The same bits as integers, by which -0.0 is no hole and NaN is itself."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def unpack_values(
    packed: PackedValues,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    zero_points: Array,
    axis: int = 0,
) -> Array:
    """The values of a tensor, of its shape; `wrong_coding` must have found nothing."""
    values = holes(shape, dtype, zero_points, axis).copy()
    kept = np.unpackbits(packed.mask, count=math.prod(shape)).astype(bool).reshape(shape)
    little = np.dtype(dtype).newbyteorder("<")
    values[kept] = np.frombuffer(packed.ancillary[HEADER_BYTES:].tobytes(), little)
    return values


def packed_bytes(count: int, stored: int, item_bytes: int = 1) -> int:
    """Bytes of mask and ancillary of `count` values of which `stored` are no holes."""
    return -(-count // 8) + HEADER_BYTES + stored * item_bytes


def wrong_coding(packed: PackedValues, shape: Sequence[int], item_bytes: int) -> tuple[str, str]:
    """What is expected and what was received instead; both empty for a sound bitmask.

    Args:
      packed: whose header names the bitmask.
      shape: of the tensor that it decodes to.
      item_bytes: bytes of one value.
    """
    found = packed.ancillary[:HEADER_BYTES]
    if found.tobytes() != header().tobytes():
        return f"the header {header().tobytes().hex()}", found.tobytes().hex()
    wanted = -(-math.prod(shape) // 8)
    if packed.mask.size != wanted:
        return f"a mask of {wanted} bytes for {list(shape)}", f"{packed.mask.size} bytes"
    if np.unpackbits(packed.mask)[math.prod(shape) :].any():
        return "zeros behind the last bit of its mask", "ones"
    values = packed.ancillary.size - HEADER_BYTES
    if packed.stored * item_bytes != values:
        return f"{packed.stored * item_bytes} bytes for {packed.stored} ones", f"{values} bytes"
    return "", ""
