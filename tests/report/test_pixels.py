"""What a program does with pixels is what the file was made for, or is said to be assumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.core.data import InputSpec
from edgeprune.core.scaling import DEFAULT_SCALE, RAW, ChannelScale, ScaleBy
from edgeprune.report.loading.pixels import pixels_of
from edgeprune.report.loading.snippet import snippet
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Tensor
from tests.support.tflite_builder import Net

SILENT = "the file does not say"
TORCH = ChannelScale((123.7, 116.3, 103.5), (58.4, 57.1, 57.4))


def input_of(
    folder: Path, shape: tuple[int, ...], dtype: str, scale: float | None, zero_point: int = 0
) -> Tensor:
    """The input of a file with one RELU."""
    net = Net()
    scales = [] if scale is None else [scale]
    x = net.tensor("x", shape, dtype, scales=scales, zero_point=zero_point)
    net.operator("RELU", [x], [net.tensor("y", shape, dtype, scales=scales, zero_point=zero_point)])
    graph = read(net.save(folder / "m.tflite", [x], [1]))
    return graph.tensors[graph.inputs[0]]


@pytest.mark.parametrize(
    ("shape", "dtype", "scale", "zero_point", "said", "expected"),
    [
        ((1, 8, 8, 3), "int8", 1 / 127.5, -1, DEFAULT_SCALE, (DEFAULT_SCALE, "")),
        ((1, 8, 8, 3), "int8", 0.0074, 4, DEFAULT_SCALE, (DEFAULT_SCALE, "")),
        ((1, 8, 8, 3), "int8", 1 / 127.5, -1, None, (DEFAULT_SCALE, SILENT)),
        ((1, 8, 8, 3), "int8", 1 / 255, -128, None, ((0.0, 255.0), SILENT)),
        ((1, 8, 8, 3), "int8", 1 / 255, -128, DEFAULT_SCALE, ((0.0, 255.0), "goes from 0 to 1")),
        ((1, 8, 8, 3), "int8", 1.0, -128, DEFAULT_SCALE, (RAW, "goes from 0 to 255")),
        ((1, 8, 8, 1), "int16", 1 / 32767, 0, DEFAULT_SCALE, (DEFAULT_SCALE, "")),
        ((1, 8, 8, 3), "int8", 0.0186, -14, TORCH, (TORCH, "")),
        ((1, 8, 8, 3), "int8", 1.0, -128, RAW, (RAW, "")),
        ((1, 8, 8, 1), "float32", None, 0, DEFAULT_SCALE, (DEFAULT_SCALE, SILENT)),
        ((1, 8, 8, 1), "float32", None, 0, RAW, (RAW, "")),
        ((1, 8, 8, 3), "uint8", 0.02, 128, None, (RAW, "")),
    ],
)
def test_pixels_are_scaled_as_the_file_says_or_its_range_shows(
    shape: tuple[int, ...],
    dtype: str,
    scale: float | None,
    zero_point: int,
    said: ScaleBy | None,
    expected: tuple[ScaleBy, str],
    tmp_path: Path,
) -> None:
    tensor = input_of(tmp_path, shape, dtype, scale, zero_point)
    found = pixels_of(tensor, InputSpec("x", shape[1:], scale=said))
    assert found is not None
    by, why = expected
    assert found.by == by
    assert why in found.assumed
    assert bool(why) == bool(found.assumed)
    assert found.direct == (dtype == "uint8")


@pytest.mark.parametrize(
    ("shape", "scale", "zero_point"),
    [
        ((1, 49, 10, 1), 0.0228, -36),  # a spectrogram
        ((1, 8, 8, 3), 0.0186, -14),  # each colour was scaled by itself, nobody says how
        ((1, 128, 1, 3), 1 / 127.5, -1),  # three axes over time
        ((1, 8, 8, 2), 1 / 127.5, -1),
        ((1, 8, 8), 1 / 127.5, -1),
    ],
)
def test_an_input_that_no_pixels_fit_takes_values(
    shape: tuple[int, ...], scale: float, zero_point: int, tmp_path: Path
) -> None:
    tensor = input_of(tmp_path, shape, "int8", scale, zero_point)
    assert pixels_of(tensor, InputSpec("x", shape[1:], scale=DEFAULT_SCALE)) is None


def test_a_program_for_spectrograms_takes_floats(tmp_path: Path) -> None:
    input_of(tmp_path, (1, 49, 10, 1), "int8", 0.0228, -36)
    text = snippet(tmp_path / "m.tflite", "raspberry-pi-5", language="cpp").text
    assert "pixels" not in text
    assert "void Fill0(const float* values, std::int8_t* numbers)" in text
    assert "std::lround(x / 0.0228f) - 36" in text
