"""Parameter bytes and cycles on the Edge TPU, as functions of a layer's shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.targets.edgetpu_model.cycles import estimated_cycles
from edgeprune.targets.edgetpu_model.storage import (
    constant_bytes,
    flatten_bytes,
    most_outputs_in,
    parameter_bytes,
    stored_channels,
    stored_outputs,
)

SIZES = st.integers(1, 1300)


def _laid_out(outputs: int, inputs: int, area: int, bias: int) -> int:
    """Writes the blocks one by one: for every group of outputs its biases, then 4 inputs each."""
    image = bytearray()
    left = outputs
    while left > 0:
        group = min(left, 64)
        left -= group
        lanes = group
        while lanes != 4 and lanes % 16:
            lanes += 1
        if outputs > 64:
            lanes = 64
        image += bytes(bias * lanes)
        for _ in range(area):
            for _ in range(0, inputs, 4):
                image += bytes(lanes * 4)
    while len(image) % 64:
        image.append(0)
    return len(image)


@given(outputs=SIZES.filter(lambda n: n >= 4), inputs=SIZES, area=st.sampled_from([1, 9]))
def test_a_convolution_takes_what_its_blocks_take_when_they_are_written_out(
    outputs: int, inputs: int, area: int
) -> None:
    kernel = (3, 3) if area == 9 else (1, 1)
    for per_channel, bias in ((False, 4), (True, 12)):
        found = parameter_bytes("convolution", kernel, inputs, outputs, per_channel=per_channel)
        assert found == _laid_out(outputs, inputs, area, bias)


@pytest.mark.parametrize(
    ("outputs", "stored"),
    [
        *[(1, 4), (2, 4), (4, 4), (5, 16), (8, 16), (12, 16), (16, 16), (17, 32), (24, 32)],
        *[(34, 48), (64, 64), (65, 128), (72, 128), (80, 128), (96, 128), (120, 128), (144, 192)],
        *[(160, 192), (288, 320), (1001, 1024), (1280, 1280), (0, 0)],
    ],
)
def test_outputs_are_stored_as_the_compiler_stored_them(outputs: int, stored: int) -> None:
    assert stored_outputs(outputs) == stored


@given(SIZES)
def test_one_output_less_than_the_step_below_never_takes_the_same_room(outputs: int) -> None:
    stored = stored_outputs(outputs)
    below = most_outputs_in(stored)
    assert below < outputs <= stored
    assert stored_outputs(below) < stored
    assert stored_outputs(below + 1) == stored


@pytest.mark.parametrize(
    ("kind", "kernel", "inputs", "outputs", "options", "expected"),
    [
        ("convolution", (1, 1), 128, 128, {"per_channel": False}, 128 * 132),
        ("convolution", (1, 1), 128, 72, {"per_channel": False}, 128 * 132),
        ("convolution", (1, 1), 128, 64, {"per_channel": False}, 64 * 132),
        ("convolution", (3, 3), 3, 8, {"per_channel": False}, 16 * 40),
        ("convolution", (1, 1), 384, 17, {"per_channel": True}, 32 * 396),
        ("dense", (1, 1), 255, 10, {"per_channel": False}, 16 * 260),
        ("depthwise", (3, 3), 1, 32, {"per_channel": False}, 1280),
        ("depthwise", (3, 3), 1, 32, {"per_channel": True}, 32 * 48),
        ("depthwise", (3, 3), 1, 32, {"per_channel": True, "activation": False}, 1408),
        ("depthwise", (3, 3), 1, 30, {"per_channel": False, "activation": False}, 1280),
        ("convolution", (1, 1), 8, 1, {"per_channel": False}, 64),
    ],
)
def test_layers_take_the_bytes_of_the_formula(
    kind: Any,
    kernel: tuple[int, int],
    inputs: int,
    outputs: int,
    options: dict[str, bool],
    expected: int,
) -> None:
    assert parameter_bytes(kind, kernel, inputs, outputs, **options) == expected


def test_depthwise_channels_are_stored_in_fours() -> None:
    assert [stored_channels("depthwise", n) for n in (1, 4, 30, 72)] == [4, 4, 32, 72]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 180, 27), 4864 * (180 * 28 + 4)),
        ((1, 30, 27), 832 * (30 * 28 + 4)),
        ((1, 4, 4, 6), 128 * (4 * 4 * 8 + 4)),
        ((28, 20), 0),
        ((1, 48, 48, 1), 2304 * (2304 * 4 + 4)),
        ((1, 1, 1, 1001), 0),
        ((1, 6, 6, 28), 0),
        ((), 0),
    ],
)
def test_flattening_costs_an_identity_matrix_unless_channels_come_in_fours(
    shape: tuple[int, ...], expected: int
) -> None:
    assert flatten_bytes(shape) == expected


def test_the_published_flatten_log_is_met() -> None:
    assert round(flatten_bytes((180, 27)) / 2**20, 2) == 23.40


def test_the_one_known_elementwise_constant_is_met() -> None:
    assert constant_bytes(48 * 48) == 2368


def test_cycles_step_with_16_outputs_of_a_convolution_and_64_channels_of_a_depthwise_one() -> None:
    assert estimated_cycles("convolution", (14, 14), (1, 1), 64, 17) == 4 * 4 * 16 * 2
    assert estimated_cycles("convolution", (14, 14), (1, 1), 64, 32) == 4 * 4 * 16 * 2
    assert estimated_cycles("convolution", (16, 16), (3, 3), 3, 16) == 4 * 4 * 9
    assert estimated_cycles("depthwise", (14, 14), (3, 3), 1, 65) == 4 * 4 * 9 * 2
    assert estimated_cycles("dense", (1, 1), (1, 1), 100, 10) == 25
