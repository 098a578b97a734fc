"""Convolutions whose stride steps over their kernel: XNNPACK computes noise from SAME there.

Found by the campaign: random graph 10 of seed 0, whose file differed by 5 % from its model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.conversion.convert import export
from edgeprune.conversion.same_padding import write_out_padding
from edgeprune.inspection.inspect_file import inspect
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.files import save_model
from edgeprune.tflite.format.draft import load
from edgeprune.tflite.format.file import read
from edgeprune.tflite.misread_padding import stepped_over
from tests.support.tflite_builder import Net

L = keras.layers
SIDES = st.integers(1, 30)
WINDOWS = st.tuples(st.integers(1, 5), st.integers(1, 5))


def convolution(path: Path, side: int, kernel: tuple[int, int], stride: int) -> Path:
    """One float CONV_2D with SAME padding on a square map of 2 channels."""
    net, made = Net(), -(-side // stride)
    x, y = net.tensor("x", (1, side, side, 2)), net.tensor("y", (1, made, made, 3))
    weights = np.random.default_rng(0).standard_normal((3, *kernel, 2)).astype(np.float32)
    options = schema.Conv2DOptionsT(strideW=stride, strideH=stride, padding=schema.Padding.SAME)
    net.operator("CONV_2D", [x, net.constant("w", weights), -1], [y], 1, options)
    return net.save(path, [x], [y])


@given(SIDES, WINDOWS, st.integers(1, 4))
def test_zeros_that_are_written_out_give_the_same_windows(
    tmp_path_factory: Any, side: int, kernel: tuple[int, int], stride: int
) -> None:
    path = convolution(tmp_path_factory.getbasetemp() / "m.tflite", side, kernel, stride)
    made = -(-side // stride)
    over = any((made - 1) * stride + size < side for size in kernel) and kernel != (1, 1)
    changed = write_out_padding(load(path)).graph.subgraphs[0]
    operator = changed.operators[-1]
    assert (operator.options.padding == schema.Padding.VALID) == over
    padded = changed.tensors[operator.inputs[0]].shape[1:3]
    if over:
        windows = [(n - size) // stride + 1 for n, size in zip(padded, kernel, strict=True)]
        assert windows == [made, made]
    else:
        assert padded == (side, side)


def test_a_file_that_needs_nothing_is_the_same_draft(tmp_path: Path) -> None:
    draft = load(convolution(tmp_path / "m.tflite", 13, (1, 3), 2))
    assert write_out_padding(draft) is draft


def test_inspect_names_the_operator_and_the_runtimes(tmp_path: Path) -> None:
    path = convolution(tmp_path / "m.tflite", 12, (1, 3), 2)
    (found,) = [each for each in inspect(path).findings if each.rule == "padding-misread"]
    assert found.op == 0
    assert "tflite-runtime 2.14.0" in found.message
    assert stepped_over(read(path).subgraphs[0], read(path).operators[0]) == (0, 1)


def stepping(side: int) -> Any:
    """Layers of every kind that a stride of 2 or 3 steps over, beside a pool, which is right."""
    x = keras.Input((side, side, 4))
    made = [
        L.Conv2D(6, (1, 3), 2, padding="same", name="rows")(x),
        L.Conv2D(6, (3, 1), 2, padding="same", name="columns")(x),
        L.DepthwiseConv2D((1, 2), 2, padding="same", name="depthwise")(x),
        L.MaxPooling2D((1, 3), 2, padding="same", name="pool")(x),
        L.Conv2D(6, 2, 3, padding="same", name="both")(x),
    ]
    return keras.Model(x, [L.Flatten(name=f"flat{index}")(y) for index, y in enumerate(made)])


@pytest.mark.slow
@pytest.mark.parametrize("device", ["xnnpack-x86", "arm-neon-int8"])
def test_every_runtime_computes_what_the_model_does(tmp_path: Path, device: str) -> None:
    model = stepping(12)
    x = [np.random.default_rng(1).standard_normal((32, 12, 12, 4)).astype(np.float32)]
    save_model(model, tmp_path / "m.keras")
    export(model, device, tmp_path / "m.tflite", x=x)
    assert {each.rule for each in inspect(tmp_path / "m.tflite").findings} == set()
    verdict = validate(tmp_path / "m.tflite", device, reference=tmp_path / "m.keras", x=x)
    assert verdict.ok, verdict
