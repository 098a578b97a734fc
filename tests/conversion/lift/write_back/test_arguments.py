"""Constants that hold lengths, after channels were removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.write_back.arguments import new_arguments
from edgeprune.conversion.lift.write_back.positions import Positions
from edgeprune.tflite.format.file import read
from tests.support.tflite_builder import Net


def arguments(
    folder: Path,
    op: str,
    before: tuple[Sequence[int], Sequence[int]],
    after: tuple[Sequence[int], Sequence[int]],
    constants: Sequence[Any],
    options: Any = None,
    positions: Positions | None = None,
) -> Mapping[int, list[Any]]:
    """The new constants of one operator whose input and output change their shapes."""
    net = Net()
    x = net.tensor("x", before[0])
    held = [net.constant(f"c{i}", np.array(c, np.int32)) for i, c in enumerate(constants)]
    y = net.tensor("y", before[1])
    inputs = [x, *held]
    if op == "TRANSPOSE_CONV":
        inputs = [*held, net.constant("w", np.zeros((6, 2, 2, 8), np.float32)), x]
    net.operator(op, inputs, [y], options=options)
    main = read(net.save(folder / "one.tflite", [x], [y])).subgraphs[0]
    shapes = {x: tuple(after[0]), y: tuple(after[1])}
    found = new_arguments(main, main.operators[0], shapes, positions or Positions())
    return {position: values.tolist() for position, values in found.items()}


def test_a_reshape_gets_the_new_shape_and_keeps_the_length_it_leaves_open(tmp_path: Path) -> None:
    found = arguments(
        tmp_path, "RESHAPE", ((1, 2, 2, 8), (1, 32)), ((1, 2, 2, 6), (1, 24)), [[-1, 32]]
    )
    assert found == {1: [-1, 24]}


@pytest.mark.parametrize("left", [(0, 5), (2, 3)])
def test_zeros_beside_channels_are_as_many_as_keras_keeps_on_either_side(
    tmp_path: Path, left: tuple[int, int]
) -> None:
    pads = [[0, 0], [0, 0], [0, 0], [3, 4]]
    shapes = ((1, 2, 2, 8), (1, 2, 2, 15)), ((1, 2, 2, 6), (1, 2, 2, 11))
    kept = Positions(added={0: (left,)})
    found = arguments(tmp_path, "PAD", *shapes, [pads], positions=kept)
    assert found == {1: [[0, 0], [0, 0], [0, 0], list(left)]}


def test_zeros_beside_rows_stay_when_channels_go(tmp_path: Path) -> None:
    pads = [[0, 0], [1, 0], [0, 1], [0, 0]]
    shapes = ((1, 2, 2, 8), (1, 3, 3, 8)), ((1, 2, 2, 6), (1, 3, 3, 6))
    assert arguments(tmp_path, "PAD", *shapes, [pads]) == {1: pads}


def taking(*keys: slice) -> Positions:
    return Positions(taken={0: (slice(None), *keys)})


@pytest.mark.parametrize(
    ("begin", "size", "key", "wanted"),
    [
        (0, 4, slice(0, 3), {1: [0, 0], 2: [1, 3]}),
        (2, 4, slice(1, 4), {1: [0, 1], 2: [1, 3]}),
        (4, -1, slice(2, 5), {1: [0, 2], 2: [1, -1]}),
    ],
)
def test_a_slice_takes_what_is_left_of_its_channels_from_where_they_are_then(
    tmp_path: Path, begin: int, size: int, key: slice, wanted: Mapping[int, list[int]]
) -> None:
    shapes = ((1, 8), (1, 4)), ((1, 5), (1, 3))
    found = arguments(tmp_path, "SLICE", *shapes, [[0, begin], [1, size]], positions=taking(key))
    assert found == wanted


@pytest.mark.parametrize(
    ("given", "options", "made", "wanted"),
    [
        ([[0, 2], [1, 6], [1, 1]], {}, ((1, 4), (1, 3)), {1: [0, 1], 2: [1, 4]}),
        ([[0, 4], [1, 0], [1, 1]], {"endMask": 2}, ((1, 4), (1, 3)), {1: [0, 1], 2: [1, 4]}),
        ([[0, 2], [0, 6], [1, 1]], {"ellipsisMask": 1}, ((1, 4), (1, 3)), {1: [0, 1], 2: [0, 4]}),
        (
            [[0, 0, 2], [1, 0, 4], [1, 1, 1]],
            {"newAxisMask": 2, "offset": True},
            ((1, 1, 4), (1, 1, 3)),
            {1: [0, 0, 1], 2: [1, 0, 3]},
        ),
    ],
)
def test_a_strided_slice_follows_whichever_axes_its_places_stand_for(
    tmp_path: Path,
    given: Sequence[Sequence[int]],
    options: Mapping[str, Any],
    made: tuple[Sequence[int], Sequence[int]],
    wanted: Mapping[int, Sequence[int]],
) -> None:
    shapes = ((1, 8), made[0]), ((1, 5), made[1])
    masks = schema.StridedSliceOptionsT(**options)
    found = arguments(
        tmp_path, "STRIDED_SLICE", *shapes, given, masks, positions=taking(slice(1, 4))
    )
    assert found == wanted


def test_a_single_channel_that_is_taken_is_found_behind_those_removed(tmp_path: Path) -> None:
    shapes = ((1, 8), (1,)), ((1, 5), (1,))
    masks = schema.StridedSliceOptionsT(shrinkAxisMask=2)
    given = [[0, 4], [1, 5], [1, 1]]
    found = arguments(
        tmp_path, "STRIDED_SLICE", *shapes, given, masks, positions=taking(slice(2, 3))
    )
    assert found == {1: [0, 2], 2: [1, 3]}


def test_a_transposed_convolution_gets_the_shape_of_its_output(tmp_path: Path) -> None:
    shapes = ((1, 2, 2, 8), (1, 4, 4, 6)), ((1, 2, 2, 8), (1, 4, 4, 3))
    assert arguments(tmp_path, "TRANSPOSE_CONV", *shapes, [[1, 4, 4, 6]]) == {0: [1, 4, 4, 3]}


def test_an_operator_away_from_what_changes_keeps_its_constants(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 8)), net.tensor("y", (1, 8))
    net.operator("RESHAPE", [x, net.constant("c", np.array([1, 8], np.int32))], [y])
    main = read(net.save(tmp_path / "one.tflite", [x], [y])).subgraphs[0]
    assert new_arguments(main, main.operators[0], {}, Positions()) == {}
