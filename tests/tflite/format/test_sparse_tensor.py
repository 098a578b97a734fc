"""The codec against an oracle of plain loops, against literal bytes, and against itself."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.core.errors import TfliteError
from edgeprune.tflite.format.sparse_tensor import (
    CsrLevel,
    DenseLevel,
    Layout,
    SparseTensor,
    count_blocks,
    decode_tensor,
    encode_tensor,
    has_bits,
    index_type,
    stored_bytes,
)

Array = np.ndarray[Any, np.dtype[Any]]


def decode_by_loops(sparse: SparseTensor) -> Array:
    """Walks the levels position by position, as the format's description says."""
    rank = len(sparse.shape)
    dense = np.zeros(sparse.shape, sparse.values.dtype)
    values = iter(sparse.values)
    block_size: dict[int, int] = {}
    for axis, level in zip(sparse.traversal, sparse.levels, strict=True):
        if axis >= rank and isinstance(level, DenseLevel):
            block_size[sparse.block_map[axis - rank]] = level.size

    def walk(depth: int, parent: int, at: dict[int, int]) -> None:
        if depth == len(sparse.levels):
            position = []
            for axis in range(rank):
                outer = at[axis]
                if axis in block_size:
                    outer = outer * block_size[axis] + at[rank + sparse.block_map.index(axis)]
                position.append(outer)
            dense[tuple(position)] = next(values)
            return
        level, axis = sparse.levels[depth], sparse.traversal[depth]
        if isinstance(level, DenseLevel):
            for i in range(level.size):
                walk(depth + 1, parent * level.size + i, {**at, axis: i})
            return
        for i in range(int(level.segments[parent]), int(level.segments[parent + 1])):
            walk(depth + 1, i, {**at, axis: int(level.indices[i])})

    walk(0, 0, {})
    return dense


DTYPES = ("float32", "float16", "int8")


@st.composite
def tensors_and_layouts(draw: st.DrawFn) -> tuple[Array, Layout]:
    """Any rank up to 4, any blocks that divide, any traversal, any outer levels as CSR."""
    rank = draw(st.integers(1, 4))
    blocked = draw(st.lists(st.sampled_from(range(rank)), unique=True, max_size=2))
    block = tuple(draw(st.integers(1, 4)) for _ in blocked)
    size_of = dict(zip(blocked, block, strict=True))
    shape = [draw(st.integers(1, 4)) * size_of.get(axis, 1) for axis in range(rank)]
    outer = draw(st.permutations(range(rank)))
    inner = draw(st.permutations(range(rank, rank + len(blocked))))
    csr = draw(st.sets(st.sampled_from(range(rank))))
    layout = Layout((*outer, *inner), tuple(blocked), block, tuple(sorted(csr)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    seed = draw(st.integers(0, 2**32 - 1))
    density = draw(st.sampled_from((0.0, 0.1, 0.5, 1.0)))
    rng = np.random.default_rng(seed)
    items = rng.integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8)
    items[rng.random(shape) >= density] = 0
    return items.view(dtype).reshape(shape), layout


@settings(max_examples=300, deadline=None)
@given(tensors_and_layouts())
def test_decode_gives_back_the_bits_that_were_encoded(case: tuple[Array, Layout]) -> None:
    dense, layout = case
    assert decode_tensor(encode_tensor(dense, layout)).tobytes() == dense.tobytes()


@settings(max_examples=200, deadline=None)
@given(tensors_and_layouts())
def test_decode_agrees_with_the_loops(case: tuple[Array, Layout]) -> None:
    dense, layout = case
    sparse = encode_tensor(dense, layout)
    assert decode_tensor(sparse).tobytes() == decode_by_loops(sparse).tobytes()


@settings(max_examples=200, deadline=None)
@given(tensors_and_layouts())
def test_bytes_are_counted_without_encoding(case: tuple[Array, Layout]) -> None:
    dense, layout = case
    last = len(dense.shape) - 1
    layout = Layout(layout.traversal, layout.block_map, layout.block, (last,))
    blocks = count_blocks(has_bits(dense), layout)
    counted = stored_bytes(dense.shape, layout, dense.itemsize, blocks)
    sparse = encode_tensor(dense, layout)
    assert counted == sparse.values.nbytes + sparse.index_bytes


def test_a_small_matrix_gives_the_levels_of_the_formats_description() -> None:
    dense = np.array([[1, 0, 2, 3], [0, 4, 0, 0], [0, 0, 5, 0]], np.float32)
    sparse = encode_tensor(dense, Layout((0, 1), csr=(1,)))
    assert sparse.levels[0] == DenseLevel(3)
    assert isinstance(sparse.levels[1], CsrLevel)
    assert sparse.levels[1].segments.tobytes() == bytes([0, 3, 4, 5])
    assert sparse.levels[1].indices.tobytes() == bytes([0, 2, 3, 1, 2])
    assert sparse.values.tolist() == [1, 2, 3, 4, 5]


def test_blocks_of_two_outputs_are_walked_input_by_input() -> None:
    dense = np.array([[1, 0, 0], [2, 0, 3], [0, 0, 4], [0, 0, 5]], np.int8)
    sparse = encode_tensor(dense, Layout((1, 0, 2), (0,), (2,), (1,)))
    assert isinstance(sparse.levels[1], CsrLevel)
    assert sparse.levels[1].segments.tobytes() == bytes([0, 1, 1, 3])
    assert sparse.levels[1].indices.tobytes() == bytes([0, 0, 1])
    assert sparse.values.tobytes() == bytes([1, 2, 0, 3, 4, 5])


def test_minus_zero_and_nan_are_not_zero() -> None:
    dense = np.array([[0.0, -0.0, np.nan, 0.0]], np.float32)
    sparse = encode_tensor(dense, Layout((0, 1), csr=(1,)))
    assert sparse.values.size == 2
    assert decode_tensor(sparse).tobytes() == dense.tobytes()


def test_a_tensor_of_zeros_keeps_one_value_so_that_its_buffer_is_not_empty() -> None:
    dense = np.zeros((3, 4), np.float32)
    sparse = encode_tensor(dense, Layout((0, 1), csr=(1,)))
    assert sparse.values.tolist() == [0]
    assert not decode_tensor(sparse).any()


@pytest.mark.parametrize(
    ("largest", "name"),
    [(0, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16"), (65536, "int32")],
)
def test_positions_take_the_smallest_type_that_holds_them(largest: int, name: str) -> None:
    assert index_type(largest).name == name


@pytest.mark.parametrize("columns", [256, 257, 65536, 65537])
def test_wide_rows_survive_the_change_of_index_type(columns: int) -> None:
    dense = np.zeros((2, columns), np.int8)
    dense[0, 0] = dense[1, -1] = 1
    assert np.array_equal(decode_tensor(encode_tensor(dense, Layout((0, 1), csr=(1,)))), dense)


def damaged() -> list[tuple[str, SparseTensor]]:
    rows = CsrLevel(np.array([0, 1, 2], np.uint8), np.array([0, 3], np.uint8))
    values = np.array([1, 2], np.float32)

    def tensor(**parts: Any) -> SparseTensor:
        whole: dict[str, Any] = {
            "shape": (2, 4),
            "traversal": (0, 1),
            "block_map": (),
            "levels": (DenseLevel(2), rows),
            "values": values,
        }
        return SparseTensor(**{**whole, **parts})

    def csr(segments: list[int], indices: list[int]) -> tuple[DenseLevel, CsrLevel]:
        return DenseLevel(2), CsrLevel(np.array(segments), np.array(indices))

    blocks = (DenseLevel(1), rows)
    return [
        ("traversal order", tensor(traversal=(0, 0))),
        ("traversal order", tensor(traversal=(0, 2))),
        ("levels", tensor(levels=(DenseLevel(2),))),
        ("size 2", tensor(levels=(DenseLevel(7), rows))),
        ("size 2", tensor(levels=(DenseLevel(-2), rows))),
        ("3 segments", tensor(levels=csr([0, 2], [0, 3]))),
        ("rise", tensor(levels=csr([0, 2, 1], [0, 3]))),
        ("rise", tensor(levels=csr([1, 1, 2], [0, 3]))),
        ("rise", tensor(levels=csr([0, 1, 9], [0, 3]))),
        ("indices below 4", tensor(levels=csr([0, 1, 2], [0, 4]))),
        ("indices below 4", tensor(levels=csr([0, 1, 2], [-1, 0]))),
        ("stored values", tensor(values=np.ones(3, np.float32))),
        ("block map", tensor(traversal=(0, 1, 2), block_map=(5,), levels=(*blocks, DenseLevel(2)))),
        ("divides", tensor(traversal=(0, 1, 2), block_map=(1,), levels=(*blocks, DenseLevel(3)))),
        ("divides", tensor(traversal=(0, 1, 2), block_map=(1,), levels=(*blocks, DenseLevel(0)))),
        ("divides", tensor(traversal=(0, 1, 2), block_map=(1,), levels=(*blocks, rows))),
    ]


@pytest.mark.parametrize(("words", "sparse"), damaged())
def test_parts_that_contradict_each_other_are_named(words: str, sparse: SparseTensor) -> None:
    with pytest.raises(TfliteError, match=words):
        decode_tensor(sparse)


def test_all_traversals_of_a_convolution_decode_alike() -> None:
    dense = np.arange(2 * 3 * 3 * 4, dtype=np.int8).reshape(2, 3, 3, 4) % 3
    for traversal in itertools.permutations(range(4)):
        sparse = encode_tensor(dense, Layout(traversal, csr=(3,)))
        assert np.array_equal(decode_tensor(sparse), dense)
