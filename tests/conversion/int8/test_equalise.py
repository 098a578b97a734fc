from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.conversion.from_keras import calibration, convert
from edgeprune.conversion.int8.candidates import float_files
from edgeprune.conversion.int8.equalise import Passage, factors, passages
from edgeprune.conversion.int8.measure import measure
from edgeprune.core.arrays import Array
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.host import HOST
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.graph import Operator

L = keras.layers


def passage(reader: str, cap: float = np.inf) -> Passage:
    ends = [Operator(k, op, False, 1, (), (), None) for k, op in enumerate(("CONV_2D", reader))]
    return Passage(ends[0], ends[1], cap, (0,))


def test_channels_that_a_depthwise_layer_reads_reach_the_largest_within_four_times() -> None:
    ends = np.array([[0.0, -2.0, 0.0, 0.0], [8.0, 4.0, 1.0, 0.0]])
    found = factors(passage("DEPTHWISE_CONV_2D"), ends)
    assert found.tolist() == [1, 2, 4, 4]
    assert factors(passage("CONV_2D"), ends) == pytest.approx([1, 2**0.5, 8**0.5, 4])


def test_no_channel_comes_near_the_cap() -> None:
    ends = np.array([[0.0] * 4, [6.0, 5.8, 3.0, 1.0]])
    found = factors(passage("DEPTHWISE_CONV_2D", cap=6.0), ends)
    assert found == pytest.approx([1, 1, 1.8, 4])


def network(activation: str) -> Any:
    """Channels of very different sizes, zeros in the kernels, a residual and a shared layer."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((12, 12, 3), name="image")
    x = L.Conv2D(8, 3, padding="same", activation=activation)(inputs)
    x = L.DepthwiseConv2D(3, padding="same", activation=activation)(x)
    x = L.Conv2D(8, 1, activation=activation)(x)
    x = L.ZeroPadding2D(1)(x)
    x = y = L.Conv2D(8, 3, 2, activation=activation)(x)
    shared = L.Conv2D(8, 1, activation=activation)
    x = L.Add()([shared(shared(x)), y])
    x = L.Conv2D(8, 1, activation=activation)(x)
    model = keras.Model(inputs, L.Dense(5)(L.GlobalAveragePooling2D()(x)))
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel = layer.weights[0]
            sizes = np.exp(generator.normal(size=kernel.shape[-1]))
            values = kernel.numpy() * sizes
            values[generator.uniform(size=values.shape) < 0.3] = 0
            kernel.assign(values)
    return model


def outputs(content: bytes, x: Array, folder: Path) -> Array:
    path = folder / "m.tflite"
    path.write_bytes(content)
    return HOST.run(tflite_file.read(path), [x], "LiteRT", delegates=False).outputs[0]


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "relu6", "linear"])
def test_an_equalised_file_computes_the_same_and_has_the_ranges_that_are_said(
    activation: str, tmp_path: Path
) -> None:
    model = network(activation)
    floating = convert(model, load_profile("arm-neon-int8"), "int8")
    x = np.random.default_rng(1).normal(size=(32, 12, 12, 3)).astype(np.float32)
    samples = calibration(model, [x])
    draft = tflite_draft.from_bytes(floating, Path("m"))
    found = [(p.maker.op, p.reader.op, len(p.path)) for p in passages(draft)]
    assert found == [
        ("CONV_2D", "DEPTHWISE_CONV_2D", 1),
        ("DEPTHWISE_CONV_2D", "CONV_2D", 1),
        ("CONV_2D", "CONV_2D", 2),
        ("CONV_2D", "FULLY_CONNECTED", 2),
    ]
    files = float_files(floating, measure(floating, samples))
    assert list(files) == ["extremes", "least_error", "equalised"]
    alike, ranges = files["equalised"]
    wanted = outputs(floating, x, tmp_path)
    same = outputs(alike, x, tmp_path)
    np.testing.assert_allclose(same, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    measured = measure(alike, samples).extremes
    for name, said in ranges.items():
        assert said.low == pytest.approx(measured[name].low, rel=1e-4, abs=1e-5)
        assert said.high == pytest.approx(measured[name].high, rel=1e-4, abs=1e-5)
    after = tflite_draft.from_bytes(alike, Path("m")).graph.tensors
    for before, now in zip(draft.graph.tensors, after, strict=True):
        if before.constant:
            zeros = (np.asarray(tensor.values()) == 0 for tensor in (before, now))
            np.testing.assert_array_equal(*zeros)
