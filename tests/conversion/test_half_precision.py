"""A file in half precision costs half on a core that has it, and is off by its rounding alone."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.tflite.format.file import read

DEPTH, WIDTH = 4, 96
HALF_STEP = 2.0**-11
"""Largest relative error of rounding once to 11 bits."""


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.usefixtures("emulator")
def test_half_precision_halves_the_instructions_and_differs_by_its_rounding(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(WIDTH, 1, activation="relu") for _ in range(DEPTH)]
    model = keras.Sequential([keras.Input((12, 12, WIDTH), name="x"), *layers])
    files = {}
    for route in ("float32", "float16-arithmetic"):
        export(model, "android-phone", tmp_path / f"{route}.tflite", route=route)
        files[route] = read(tmp_path / f"{route}.tflite")
    x = np.random.default_rng(0).standard_normal((2, 12, 12, WIDTH)).astype(np.float32)
    whole, halved = (
        ARM64_EMULATED.count(graph, [x], "LiteRT", core="cortex-a76") for graph in files.values()
    )
    ratio = halved.facts["instructions"] / whole.facts["instructions"]
    assert 0.45 < ratio < 0.62
    # A sum of n rounded products wanders off by the root of n steps, and each layer adds its own.
    right = whole.outputs[0]
    error = np.abs(halved.outputs[0] - right).max() / np.abs(right).max()
    assert HALF_STEP / 100 < error < DEPTH * np.sqrt(WIDTH) * HALF_STEP
    plain = ARM64_EMULATED.run(files["float16-arithmetic"], [x], "LiteRT", core="cortex-a72")
    old = np.abs(plain.outputs[0] - right).max() / np.abs(right).max()
    assert old < 4 * DEPTH * HALF_STEP, "without fp16 only the weights are rounded"
