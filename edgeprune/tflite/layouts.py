"""The layouts that weights are stored sparsely in: the smallest one, and the one of kernels."""

from __future__ import annotations

from collections.abc import Iterator

from edgeprune.core.arrays import Array
from edgeprune.tflite.format.sparse_tensor import Layout, count_blocks, stored_bytes

_BLOCK_SIZES = (2, 4, 8, 16)


def smallest_layout(nonzero: Array, item_bytes: int) -> tuple[Layout, int]:
    """Returns the layout that stores a tensor in the fewest bytes, and that number.

    Tried are CSR over the last axis and over the first one (then with the last axis outermost),
    each without blocks and with blocks along the first or last axis. Over the first axis with
    blocks of output channels is usually the smallest for 1x1 convolutions, since positions then
    fit a byte.

    Args:
      nonzero: bool, at least two axes, none of length 0.
    """
    sizes = []
    for block_map, block in _blocks(nonzero.shape):
        blocks = count_blocks(nonzero, _by_rows(nonzero.ndim, block_map, block))
        for order in (_by_rows, _by_columns):
            layout = order(nonzero.ndim, block_map, block)
            sizes.append((stored_bytes(nonzero.shape, layout, item_bytes, blocks), layout))
    size, layout = min(sizes, key=lambda entry: entry[0])
    return layout, size


def direct_layout(dtype: str) -> Layout:
    """Returns the one layout that FULLY_CONNECTED computes on without decoding it first."""
    return _by_rows(2, (1,), (4,) if dtype == "float32" else (16,))


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    yield (), ()
    for axis in (0, len(shape) - 1):
        for size in _BLOCK_SIZES:
            if shape[axis] % size == 0:
                yield (axis,), (size,)


def _by_rows(rank: int, block_map: tuple[int, ...], block: tuple[int, ...]) -> Layout:
    axes = (*range(rank), *range(rank, rank + len(block)))
    return Layout(axes, block_map, block, csr=(rank - 1,))


def _by_columns(rank: int, block_map: tuple[int, ...], block: tuple[int, ...]) -> Layout:
    axes = (rank - 1, *range(1, rank - 1), 0, *range(rank, rank + len(block)))
    return Layout(axes, block_map, block, csr=(rank - 1,))
