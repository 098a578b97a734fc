"""Constants that hold lengths, after channels were removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.write_back.arguments import (
    CannotFollowShapeError,
    new_arguments,
)
from edgeprune.tflite.format.file import read
from tests.support.tflite_builder import Net


def arguments(
    folder: Path,
    op: str,
    before: tuple[Sequence[int], Sequence[int]],
    after: tuple[Sequence[int], Sequence[int]],
    constants: Sequence[Any],
    options: Any = None,
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
    found = new_arguments(main, main.operators[0], shapes)
    return {position: values.tolist() for position, values in found.items()}


def test_a_reshape_gets_the_new_shape_and_keeps_the_length_it_leaves_open(tmp_path: Path) -> None:
    found = arguments(
        tmp_path, "RESHAPE", ((1, 2, 2, 8), (1, 32)), ((1, 2, 2, 6), (1, 24)), [[-1, 32]]
    )
    assert found == {1: [-1, 24]}


def test_zeros_behind_channels_make_up_for_channels_removed_in_front(tmp_path: Path) -> None:
    pads = [[0, 0], [0, 0], [0, 0], [0, 4]]
    shapes = ((1, 2, 2, 8), (1, 2, 2, 12)), ((1, 2, 2, 6), (1, 2, 2, 11))
    found = arguments(tmp_path, "PAD", *shapes, [pads])
    assert found == {1: [[0, 0], [0, 0], [0, 0], [0, 5]]}


def test_zeros_beside_rows_stay_when_channels_go(tmp_path: Path) -> None:
    pads = [[0, 0], [1, 0], [0, 1], [0, 0]]
    shapes = ((1, 2, 2, 8), (1, 3, 3, 8)), ((1, 2, 2, 6), (1, 3, 3, 6))
    assert arguments(tmp_path, "PAD", *shapes, [pads]) == {1: pads}


def test_zeros_on_both_sides_of_channels_are_named_where_they_change(tmp_path: Path) -> None:
    shapes = ((1, 8), (1, 12)), ((1, 6), (1, 11))
    with pytest.raises(CannotFollowShapeError, match="axis 1 on both sides"):
        arguments(tmp_path, "PAD", *shapes, [[[0, 0], [2, 2]]])


@pytest.mark.parametrize(
    ("begin", "size", "wanted"),
    [
        (0, 4, {1: [0, 0], 2: [1, 3]}),
        (4, 4, {1: [0, 2], 2: [1, 3]}),
        (4, -1, {1: [0, 2], 2: [1, -1]}),
    ],
)
def test_a_slice_at_either_end_of_the_channels_takes_what_is_left_of_it(
    tmp_path: Path, begin: int, size: int, wanted: Mapping[int, list[int]]
) -> None:
    shapes = ((1, 8), (1, 4)), ((1, 5), (1, 3))
    assert arguments(tmp_path, "SLICE", *shapes, [[0, begin], [1, size]]) == wanted


def test_a_slice_from_the_middle_is_named(tmp_path: Path) -> None:
    shapes = ((1, 8), (1, 4)), ((1, 5), (1, 3))
    with pytest.raises(CannotFollowShapeError, match="channels 2 to 6 of 8"):
        arguments(tmp_path, "SLICE", *shapes, [[0, 2], [1, 4]])


def test_a_strided_slice_with_an_open_end_takes_the_last_channels(tmp_path: Path) -> None:
    options = schema.StridedSliceOptionsT(endMask=2)
    shapes = ((1, 8), (1, 4)), ((1, 5), (1, 3))
    found = arguments(tmp_path, "STRIDED_SLICE", *shapes, [[0, 4], [1, 0], [1, 1]], options)
    assert found == {1: [0, 2], 2: [1, 5]}


def test_a_transposed_convolution_gets_the_shape_of_its_output(tmp_path: Path) -> None:
    shapes = ((1, 2, 2, 8), (1, 4, 4, 6)), ((1, 2, 2, 8), (1, 4, 4, 3))
    assert arguments(tmp_path, "TRANSPOSE_CONV", *shapes, [[1, 4, 4, 6]]) == {0: [1, 4, 4, 3]}


def test_an_operator_away_from_what_changes_keeps_its_constants(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 8)), net.tensor("y", (1, 8))
    net.operator("RESHAPE", [x, net.constant("c", np.array([1, 8], np.int32))], [y])
    main = read(net.save(tmp_path / "one.tflite", [x], [y])).subgraphs[0]
    assert new_arguments(main, main.operators[0], {}) == {}
