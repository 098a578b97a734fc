"""TFLite's sparse tensor format (`SparsityParameters`) in NumPy, both ways and bit for bit.

The format walks a dense tensor level by level: first its axes in any order, then, inside a block,
the block's axes. Each level is either dense (all positions are stored) or CSR (only those that
hold something, their positions listed per parent). What counts as zero is an item whose *bits* are
all zero: -0.0 and NaN are stored, so decoding gives back exactly the bits that were encoded.

Source: the comments of `SparsityParameters` in TensorFlow Lite's `schema.fbs`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError

_SCATTER_ITEMS = 1 << 20


@dataclass(frozen=True)
class DenseLevel:
    """A level that stores all of its `size` positions."""

    size: int


@dataclass(frozen=True, eq=False)
class CsrLevel:
    """A level that stores some positions: `indices[segments[p]:segments[p + 1]]` for parent `p`.

    Both are 1-D uint8, uint16 or int32.
    """

    segments: Array
    indices: Array


Level: TypeAlias = DenseLevel | CsrLevel


@dataclass(frozen=True)
class Layout:
    """How to store a tensor of rank `k` sparsely.

    `traversal` is a permutation of `range(k + len(block))`: first the axes in the order of their
    levels, then the block's axes, where `k + i` stands for the part of axis `block_map[i]` inside
    a block, `block[i]` long. `csr` holds the levels (positions in `traversal`) stored as CSR.

    Two-by-one blocks of `[out, in]`, walked input by input:
    `Layout((1, 0, 2), block_map=(0,), block=(2,), csr=(1,))`.
    """

    traversal: tuple[int, ...]
    block_map: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    csr: tuple[int, ...] = ()

    def __str__(self) -> str:
        blocks = " ".join(
            f"x{size} on axis {axis}" for axis, size in zip(self.block_map, self.block, strict=True)
        )
        axes = ",".join(map(str, self.traversal[: len(self.traversal) - len(self.block)]))
        return f"axes {axes}, blocks {blocks}" if blocks else f"axes {axes}"


@dataclass(frozen=True, eq=False)
class SparseTensor:
    """A sparsely stored tensor: the dense `shape`, one `Level` per entry of `traversal`, `values`.

    `values` is 1-D and holds the stored items in the order of the walk.
    """

    shape: tuple[int, ...]
    traversal: tuple[int, ...]
    block_map: tuple[int, ...]
    levels: tuple[Level, ...]
    values: Array

    @property
    def index_bytes(self) -> int:
        """Bytes that the positions take, without the values."""
        return sum(
            level.segments.nbytes + level.indices.nbytes
            for level in self.levels
            if isinstance(level, CsrLevel)
        )


def encode_tensor(dense: Array, layout: Layout) -> SparseTensor:
    """Stores the positions whose bits are not all zero, in the given layout.

    A tensor without any keeps its first position: with an empty buffer the runtimes would take it
    for one that is computed at run time.

    Args:
      dense: any shape that the layout's blocks divide, items of 1, 2, 4 or 8 bytes.
    """
    walk = np.ascontiguousarray(_in_walking_order(dense, layout))
    present = [has_bits(walk)]
    if dense.size and not present[0].any():
        present[0].flat[0] = True
    for _ in walk.shape[1:]:
        present.insert(0, present[0].any(axis=-1))
    stored = np.ones((), np.bool_)
    levels: list[Level] = []
    for depth, size in enumerate(walk.shape):
        if depth in layout.csr:
            levels.append(_csr_level(present[depth], stored))
            stored = present[depth]
        else:
            levels.append(DenseLevel(size))
            stored = np.broadcast_to(stored[..., None], walk.shape[: depth + 1])
    values = walk[stored]
    return SparseTensor(dense.shape, layout.traversal, layout.block_map, tuple(levels), values)


def decode_tensor(sparse: SparseTensor) -> Array:
    """Returns the dense tensor; positions that are not stored hold zero.

    Raises:
      TfliteError: the parts contradict each other (see `check`).
    """
    dense = np.empty(sparse.shape, sparse.values.dtype)
    decode_into(sparse, dense.reshape(-1))
    return dense


def decode_into(sparse: SparseTensor, dense: Array) -> None:
    """Decodes into `dense`, 1-D and of the values' type, without a second copy of the tensor.

    Raises:
      TfliteError: the parts contradict each other (see `check`).
    """
    check(sparse, "sparse tensor")
    dense[:] = 0
    if not dense.size:
        return
    positions = np.zeros(1, np.int32 if dense.size < 2**31 else np.int64)
    for level, step in zip(sparse.levels, _steps(sparse), strict=True):
        positions = _descend(positions, level, step)
    for start in range(0, positions.size, _SCATTER_ITEMS):
        part = slice(start, start + _SCATTER_ITEMS)
        dense[positions[part]] = sparse.values[part]


def stored_bytes(shape: tuple[int, ...], layout: Layout, item_bytes: int, blocks: int) -> int:
    """Counts the bytes that `encode_tensor` needs for values and positions, without encoding.

    Args:
      shape: that of the dense tensor.
      layout: one whose only CSR level is the last one before the block's.
      blocks: how many blocks hold something, see `count_blocks`.
    """
    rank = len(shape)
    extents = _extents(shape, layout.block_map, layout.block)
    last = extents[layout.traversal[rank - 1]]
    parents = math.prod(extents[:rank]) // last
    positions = blocks * index_type(last - 1).itemsize
    segments = (parents + 1) * index_type(blocks).itemsize
    return blocks * math.prod(layout.block) * item_bytes + positions + segments


def count_blocks(nonzero: Array, layout: Layout) -> int:
    """Returns how many of the layout's blocks hold a True; at least 1, which `encode_tensor` keeps.

    Args:
      nonzero: bool, the dense tensor's shape, True where bits are set.
    """
    split, _ = _split_blocks(nonzero, layout)
    return (
        int(np.count_nonzero(split.any(axis=_block_axes(layout)) if layout.block else split)) or 1
    )


def has_bits(dense: Array) -> Array:
    """Returns True where an item's bits are not all zero: also for -0.0 and NaN."""
    bits: Array = dense.view(f"u{dense.itemsize}") != 0
    return bits


def plain_zeros(dense: Array) -> Array:
    """Returns the items with 0.0 in the place of -0.0, all others bit for bit; integers as given.

    Masks that multiply, and the folding of a negative scale into weights, leave a -0.0 for every
    negative weight. It adds nothing to a sum, as 0.0 does.
    """
    if dense.dtype.kind != "f" or not (np.signbit(dense) & (dense == 0)).any():
        return dense
    return np.where(dense == 0, np.zeros((), dense.dtype), dense)


def index_type(largest: int) -> np.dtype[Any]:
    """Returns the smallest of the format's three index types that holds `largest`."""
    return np.dtype("u1" if largest < 256 else "<u2" if largest < 65536 else "<i4")


def check(sparse: SparseTensor, place: str) -> None:
    """Checks that the parts fit together, so that `decode_tensor` stays inside the dense tensor.

    Raises:
      TfliteError: they do not; the message starts with `place`.
    """
    rank, blocks = len(sparse.shape), len(sparse.block_map)
    _require(
        sorted(sparse.traversal[:rank]) == list(range(rank))
        and sorted(sparse.traversal[rank:]) == list(range(rank, rank + blocks)),
        f"{place}, traversal order",
        f"a permutation of {rank} axes, then of {blocks} block axes",
        list(sparse.traversal),
    )
    _require(
        len(set(sparse.block_map)) == blocks and all(0 <= a < rank for a in sparse.block_map),
        f"{place}, block map",
        f"different axes below {rank}",
        list(sparse.block_map),
    )
    _require(
        len(sparse.levels) == rank + blocks,
        f"{place}, levels",
        f"{rank + blocks}, one per axis and block axis",
        len(sparse.levels),
    )
    _check_levels(sparse, place)


def _check_levels(sparse: SparseTensor, place: str) -> None:
    """Checks sizes from the outside in; `stored` counts the positions kept so far."""
    extents = _extents(sparse.shape, sparse.block_map, _block_sizes(sparse, place))
    stored = 1
    for depth, (axis, level) in enumerate(zip(sparse.traversal, sparse.levels, strict=True)):
        here = f"{place}, level {depth}"
        if isinstance(level, DenseLevel):
            _require(level.size == extents[axis], here, f"size {extents[axis]}", level.size)
            stored *= level.size
        else:
            _check_csr(level, stored, extents[axis], here)
            stored = level.indices.size
    _require(stored == sparse.values.size, place, f"{stored} stored values", sparse.values.size)


def _check_csr(level: CsrLevel, parents: int, extent: int, place: str) -> None:
    segments, indices = level.segments, level.indices
    _require(segments.size == parents + 1, place, f"{parents + 1} segments", segments.size)
    _require(
        segments[0] == 0
        and segments[-1] == indices.size
        and bool(np.all(segments[1:] >= segments[:-1])),
        place,
        f"segments that rise from 0 to {indices.size}",
        f"{segments[0]} to {segments[-1]}",
    )
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        _require(low >= 0 and high < extent, place, f"indices below {extent}", f"{low} to {high}")


def _require(holds: bool, place: str, expected: str, received: object) -> None:
    if not holds:
        raise TfliteError(
            f"{place}: expected {expected}. Received: {received}. The sparse encoding is damaged; "
            "convert the model again."
        )


def _block_sizes(sparse: SparseTensor, place: str) -> tuple[int, ...]:
    """Returns the length of each block axis, in the order of `block_map`."""
    rank = len(sparse.shape)
    sizes = [0] * len(sparse.block_map)
    for axis, level in zip(sparse.traversal[rank:], sparse.levels[rank:], strict=True):
        block = axis - rank
        length = sparse.shape[sparse.block_map[block]]
        _require(
            isinstance(level, DenseLevel) and level.size > 0 and length % level.size == 0,
            f"{place}, block axis {block}",
            f"a dense level that divides {length}",
            level,
        )
        sizes[block] = level.size if isinstance(level, DenseLevel) else 0
    return tuple(sizes)


def _extents(
    shape: tuple[int, ...], block_map: tuple[int, ...], block: tuple[int, ...]
) -> tuple[int, ...]:
    """Returns the number of positions of each axis (in blocks where it has some) and block axis."""
    size_of = dict(zip(block_map, block, strict=True))
    return tuple(length // size_of.get(axis, 1) for axis, length in enumerate(shape)) + block


def _steps(sparse: SparseTensor) -> list[int]:
    """Returns how far apart, in the flat dense tensor, neighbours on each level are."""
    rank = len(sparse.shape)
    sizes = dict(zip(sparse.block_map, _block_sizes(sparse, "sparse tensor"), strict=True))
    inner = [math.prod(sparse.shape[axis + 1 :]) for axis in range(rank)]
    outer = [step * sizes.get(axis, 1) for axis, step in enumerate(inner)]
    return [
        outer[axis] if axis < rank else inner[sparse.block_map[axis - rank]]
        for axis in sparse.traversal
    ]


def _descend(positions: Array, level: Level, step: int) -> Array:
    """Goes one level down: from the flat positions of the parents to those of their children."""
    if isinstance(level, DenseLevel):
        inside = np.arange(level.size, dtype=positions.dtype) * positions.dtype.type(step)
        spread: Array = positions[:, None] + inside
        return spread.reshape(-1)
    children: Array = np.repeat(positions, np.diff(level.segments.astype(np.int64)))
    children += level.indices.astype(positions.dtype) * positions.dtype.type(step)
    return children


def _split_blocks(dense: Array, layout: Layout) -> tuple[Array, list[int]]:
    """Splits blocked axes in two; also returns where each entry of `traversal` then is."""
    rank = dense.ndim
    size_of = dict(zip(layout.block_map, layout.block, strict=True))
    shape: list[int] = []
    outer, inner = [], {}
    for axis, length in enumerate(dense.shape):
        outer.append(len(shape))
        shape.append(length // size_of.get(axis, 1))
        if axis in size_of:
            inner[axis] = len(shape)
            shape.append(size_of[axis])
    return dense.reshape(shape), [*outer[:rank], *(inner[axis] for axis in layout.block_map)]


def _block_axes(layout: Layout) -> tuple[int, ...]:
    """Returns the axes that `_split_blocks` makes for the insides of blocks."""
    return tuple(
        axis + 1 + sum(other < axis for other in layout.block_map) for axis in layout.block_map
    )


def _in_walking_order(dense: Array, layout: Layout) -> Array:
    split, places = _split_blocks(dense, layout)
    return split.transpose([places[axis] for axis in layout.traversal])


def _csr_level(present: Array, stored: Array) -> CsrLevel:
    """Lists, for each stored parent, the positions of the present children (the last axis)."""
    counts = np.count_nonzero(present, axis=-1)[stored]
    ends = np.cumsum(np.atleast_1d(counts))
    segments = np.concatenate([[0], ends]).astype(index_type(int(ends[-1])))
    size = present.shape[-1]
    each = np.broadcast_to(np.arange(size, dtype=index_type(size - 1)), present.shape)
    return CsrLevel(segments, each[present])
