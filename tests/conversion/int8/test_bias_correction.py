from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.conversion.convert import export
from edgeprune.conversion.int8 import bias_correction
from edgeprune.conversion.int8.bias_correction import (
    FEWEST_SAMPLES,
    BiasCorrection,
    LayerNoise,
    correct_biases,
)
from edgeprune.conversion.int8.bias_worker import (
    channel_sums,
    corrected_bias,
    output_error,
    signal_to_noise,
)
from edgeprune.core.arrays import Array
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.interface import predict
from edgeprune.targets.host import HOST
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.metadata import manifest_path
from tests.support.tiny_tflite import fully_connected

L = keras.layers
DEVICE = "arm-neon-int8"


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_bias_is_moved_by_the_excess_over_the_share_that_is_open(
    seed: int, one_scale: bool
) -> None:
    generator = np.random.default_rng(seed)
    stored = generator.integers(-5000, 5000, 6).astype(np.int32)
    excess, shares = generator.normal(0, 0.1, 6), generator.uniform(0, 1, 6)
    scales = generator.uniform(1e-4, 1e-3, 1 if one_scale else 6)
    found = corrected_bias(stored, excess, shares, scales)
    assert found.dtype == np.int32
    for k in range(6):
        share = max(0.1, shares[k])
        scale = scales[0] if one_scale else scales[k]
        assert found[k] == stored[k] - round(excess[k] / share / scale)


def test_a_bias_stays_within_32_bits() -> None:
    stored, ones = np.array([2**31 - 1, -(2**31)], np.int32), np.ones(2)
    found = corrected_bias(stored, np.array([-1.0, 1.0]), ones, np.array([1e-3]))
    np.testing.assert_array_equal(found, stored)


def test_the_share_that_is_open_leaves_out_both_ends_of_the_activation() -> None:
    value = np.array([[[0.0, 1.0], [3.0, 6.0]], [[0.0, 2.0], [6.0, 3.0]]])
    mean, share = channel_sums(value, 0.0, 6.0)
    np.testing.assert_allclose(mean, [2.25, 3.0])
    np.testing.assert_allclose(share, [0.25, 0.75])


def test_the_error_of_outputs_weighs_every_output_alike() -> None:
    wanted = [np.array([3.0, 4.0]), np.array([300.0, 400.0])]
    found = [np.array([3.0, 4.5]), np.array([300.0, 450.0])]
    assert output_error(found, wanted) == pytest.approx(0.01)


def test_a_tenth_of_the_amplitude_is_20_decibels_and_nothing_has_no_ratio() -> None:
    assert signal_to_noise(1.0, 0.01) == pytest.approx(20)
    assert signal_to_noise(0.0, 1.0) is signal_to_noise(1.0, 0.0) is None


def test_the_noisiest_layers_are_those_of_the_lowest_ratio() -> None:
    ratios = {"a": 30.0, "b": 10.0, "c": None, "d": 40.0, "e": 20.0}
    noise = tuple(LayerNoise(layer, snr) for layer, snr in ratios.items())
    done = BiasCorrection(False, 100, noise=noise)
    assert [row.layer for row in done.noisiest] == ["b", "e", "a"]
    assert done.to_json()["layers"][2] == {"layer": "c", "snr_db": None}


def tiny(folder: Path) -> tflite_draft.Draft:
    path = fully_connected(folder / "m.tflite", np.ones((8, 16), np.float32))
    return tflite_draft.load(path)


def test_with_few_samples_nothing_is_measured_and_the_reason_is_said(tmp_path: Path) -> None:
    draft, few = tiny(tmp_path), {"x": np.zeros((FEWEST_SAMPLES - 1, 16), np.float32)}
    after, done = correct_biases(draft, b"", few)
    assert after is draft
    assert done == BiasCorrection(False, 63, reason="63 calibration samples are fewer than 64")
    assert str(done) == "Biases are as converted: 63 calibration samples are fewer than 64."


def images(count: int, seed: int) -> Array:
    """Smooth images, as a channel's mean is seldom 0 in real ones."""
    rough = np.random.default_rng(seed).uniform(-1, 1, (count, 4, 4, 3))
    smooth: Array = np.kron(rough, np.ones((1, 4, 4, 1))).astype(np.float32)
    return smooth


def network() -> Any:
    """Inputs behind ReLU6 are positive, so that rounding the weights shifts the mean.

    The kernels of the 1x1 convolutions have a few large weights, which make the steps of the others
    coarse, and are 2:4.
    """
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3), name="image")
    x = L.Conv2D(16, 3, 2, padding="same", activation="relu6")(inputs)
    for number in range(4):
        x = L.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
        x = L.Conv2D(16, 1, activation="relu6", name=f"pointwise_{number}")(x)
    outputs = L.Dense(10, name="scores")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    for number in range(4):
        kernel = model.get_layer(f"pointwise_{number}").kernel
        values = 0.3 * np.random.default_rng(number).normal(size=kernel.shape) ** 3
        values[:, :, 1::4] = values[:, :, 2::4] = 0
        kernel.assign(values)
    return model


def error_of(path: Path, model: Any, x: Array) -> float:
    graph = tflite_file.read(path)
    (found,) = HOST.run(graph, [x], "LiteRT").outputs
    return output_error([found], predict(model, [x]))


def weights_of(path: Path) -> list[Array]:
    tensors = tflite_file.read(path).tensors
    return [np.asarray(t.values()) for t in tensors if t.constant and t.dtype == "int8"]


def readers_of_biases(path: Path) -> list[int]:
    """How many operators read each bias: the converter stores those of untrained layers once."""
    main = tflite_file.read(path).subgraphs[0]
    biases = {o.inputs[2] for o in main.operators if o.op in {"CONV_2D", "DEPTHWISE_CONV_2D"}}
    return [len(main.readers[index]) for index in biases]


@pytest.mark.slow
def test_an_int8_file_comes_nearer_to_the_model_and_keeps_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, unseen = network(), images(128, 0), images(64, 1)
    corrected, plain = tmp_path / "corrected.tflite", tmp_path / "plain.tflite"
    exported = export(model, DEVICE, corrected, x=[x])
    with monkeypatch.context() as patch:
        patch.setattr(bias_correction, "FEWEST_SAMPLES", 1000)
        left = export(model, DEVICE, plain, x=[x]).bias_correction
    assert left is not None
    assert not left.applied
    done = exported.bias_correction
    assert done is not None
    assert done.applied
    assert (done.error_after or 1) < (done.error_before or 0)
    assert error_of(corrected, model, unseen) < 0.8 * error_of(plain, model, unseen)
    for ours, theirs in zip(weights_of(corrected), weights_of(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert all(count == 1 for count in readers_of_biases(corrected))
    manifest = json.loads(manifest_path(corrected).read_text())
    assert validate(corrected, DEVICE, reference=model, x=[unseen]).ok
    assert manifest["int8"] == done.to_json()
    assert manifest["int8"]["bias_correction"]["applied"] is True


@pytest.mark.slow
def test_the_noise_of_the_last_layer_is_that_of_the_outputs(tmp_path: Path) -> None:
    """Its bias is 0, so that the converter leaves it out; it is corrected nevertheless."""
    model, x, path = network(), images(128, 0), tmp_path / "m.tflite"
    done = export(model, DEVICE, path, x=[x]).bias_correction
    assert done is not None
    assert len(done.noise) == 10
    assert {f"pointwise_{number}" for number in range(4)} < {row.layer for row in done.noise}
    held_back = x[1::2][:16]
    graph = tflite_file.read(path)
    (found,) = HOST.run(graph, [held_back], "LiteRT", delegates=False).outputs
    wanted = predict(model, [held_back])[0]
    right = 10 * np.log10(np.sum(wanted**2) / np.sum((found - wanted) ** 2))
    assert done.noise[-1].layer == "scores"
    (dense,) = (o for o in graph.operators if o.op == "FULLY_CONNECTED")
    assert np.any(np.asarray(graph.tensors[dense.inputs[2]].values()))
    assert done.noise[-1].snr_db == pytest.approx(right, abs=0.1)
