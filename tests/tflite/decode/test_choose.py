"""The choice of weights under a limit, against every subset; and the arena it is made by."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.tflite.decode.arena import Lifetime, needed_at_once, planned_bytes
from edgeprune.tflite.decode.choose import PERSISTENT_BYTES, arena_of, best_set, choose
from edgeprune.tflite.decode.weights import weights_to_pack
from edgeprune.tflite.format.file import read
from tests.support.packing import sparse_weights
from tests.support.small_nets import chain

BUFFERS = st.lists(
    st.builds(
        lambda size, first, length: Lifetime(16 * size, first, first + length),
        st.integers(1, 9),
        st.integers(0, 9),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=9,
)


def offsets_by_hand(buffers: list[Lifetime]) -> int:
    """The largest first, each at the lowest multiple of 16 where nothing needed at once lies."""
    order = sorted(range(len(buffers)), key=lambda i: (buffers[i].size, i), reverse=True)
    placed: dict[int, int] = {}
    for index in order:
        buffer = buffers[index]
        offset = 0
        while any(
            buffer.meets(buffers[other])
            and start < offset + buffer.size
            and offset < start + buffers[other].size
            for other, start in placed.items()
        ):
            offset += 16
        placed[index] = offset
    return max(start + buffers[index].size for index, start in placed.items())


@given(BUFFERS)
def test_the_planner_takes_the_first_gap_for_the_largest_first(buffers: list[Lifetime]) -> None:
    assert planned_bytes(buffers) == offsets_by_hand(buffers)
    assert planned_bytes(buffers) >= max(needed_at_once(buffers).values())


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 20)), max_size=8),
    st.integers(0, 60),
    st.sets(st.integers(0, 255), max_size=40),
)
def test_the_best_set_is_that_of_all_subsets(
    items: list[tuple[int, int]], room: int, misfits: set[int]
) -> None:
    items.sort(key=lambda item: -item[0] / item[1])

    def fits(chosen: tuple[int, ...]) -> bool:
        bits = sum(1 << index for index in chosen)
        return not chosen or (bits not in misfits and sum(items[i][1] for i in chosen) <= room)

    every = (
        chosen
        for count in range(len(items) + 1)
        for chosen in itertools.combinations(range(len(items)), count)
    )
    most = max(sum(items[i][0] for i in chosen) for chosen in every if fits(chosen))
    found, exact = best_set(items, room, fits)
    assert exact
    assert fits(found)
    assert sum(items[i][0] for i in found) == most


@pytest.mark.parametrize("spare", [0, 300, 700, 5_000, 10_000, 30_000, 10**6])
def test_the_file_is_the_smallest_within_the_arena(spare: int, tmp_path: Path) -> None:
    shapes = [(16, 3, 3, 8), (64, 1, 1, 16), (64, 3, 3, 64), (24, 3, 3, 64), (80, 1, 1, 24)]
    layers = [
        ("CONV_2D", sparse_weights(shape, 0.5 + 0.1 * i, i)) for i, shape in enumerate(shapes)
    ]
    main = read(chain(tmp_path / "m.tflite", layers, size=8))
    weights = weights_to_pack(main)
    arena = arena_of(main.subgraphs[0], measured=20_000)
    limit = 20_000 + spare
    every = (
        chosen
        for count in range(len(weights) + 1)
        for chosen in itertools.combinations(weights, count)
    )
    fitting = [chosen for chosen in every if arena.bytes_with(chosen) <= limit]
    most = max(sum(weight.saved_bytes for weight in chosen) for chosen in fitting)
    found = choose(weights, arena, limit)
    assert found.exact
    assert arena.bytes_with(found.weights) <= limit
    assert sum(weight.saved_bytes for weight in found.weights) == most


def test_without_a_limit_every_weight_that_becomes_smaller_is_packed(tmp_path: Path) -> None:
    layers = [("CONV_2D", sparse_weights((64, 3, 3, 64), 0.8))]
    main = read(chain(tmp_path / "m.tflite", layers, size=2))
    weights = weights_to_pack(main)
    arena = arena_of(main.subgraphs[0], measured=1_000)
    assert choose(weights, arena, None).weights == weights
    assert arena.bytes_with([]) == 1_000
    # Unpacked weights, and the input and output that are needed beside them.
    together = 64 * 3 * 3 * 64 + 2 * 2 * 2 * 64
    assert arena.bytes_with(weights) == 1_000 - 2 * 2 * 2 * 64 + together + PERSISTENT_BYTES
