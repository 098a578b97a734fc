from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.conversion.convert import export
from edgeprune.conversion.from_keras import calibration, convert, quantized
from edgeprune.conversion.int8 import mend as mend_module
from edgeprune.conversion.int8 import mend_worker, refine
from edgeprune.conversion.int8.candidates import Candidate, Kind
from edgeprune.conversion.int8.layers import Layer, with_own_biases
from edgeprune.conversion.int8.measure import measure_ranges
from edgeprune.conversion.int8.mend import FEWEST_SAMPLES, LayerNoise, Mended, Part, mend
from edgeprune.conversion.int8.mend_worker import output_error
from edgeprune.conversion.int8.patches import as_matrix
from edgeprune.conversion.int8.refine import channel_sums, corrected_bias, signal_to_noise
from edgeprune.conversion.int8.rounding import Grid
from edgeprune.core.arrays import Array
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.interface import predict
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.host import HOST
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.graph import Subgraph
from edgeprune.tflite.format.signature import input_ports
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
    part = Part(False, 100)
    done = Mended(part, part, part, part, noise)
    assert [row.layer for row in done.noisiest] == ["b", "e", "a"]
    assert done.to_json()["layers"][2] == {"layer": "c", "snr_db": None}


def tiny(folder: Path) -> tflite_draft.Draft:
    path = fully_connected(folder / "m.tflite", np.ones((8, 16), np.float32))
    return tflite_draft.load(path)


def test_with_few_samples_nothing_is_measured_and_the_reason_is_said(tmp_path: Path) -> None:
    draft, few = tiny(tmp_path), {"x": np.zeros((FEWEST_SAMPLES - 1, 16), np.float32)}
    after, done = mend([Candidate("extremes", b"", draft)], few)
    assert after is draft
    part = Part(False, 63, reason="63 calibration samples are fewer than 64")
    assert done == Mended(part, part, part, part)
    assert str(done) == "int8 is as converted: 63 calibration samples are fewer than 64."


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


def zeros_of(path: Path) -> list[Array]:
    """Where the weights of every 1x1 convolution are 0, `[16, 16]`."""
    main = tflite_file.read(path).subgraphs[0]
    found = [main.tensors[o.inputs[1]] for o in main.operators if o.op == "CONV_2D"]
    assert all(not np.any(tensor.zero_points) for tensor in found)
    stored = [np.asarray(t.values()) for t in found if t.shape == (16, 1, 1, 16)]
    return [values.reshape(16, 16) == 0 for values in stored]


def readers_of_biases(path: Path) -> list[int]:
    """How many operators read each bias: the converter stores those of untrained layers once."""
    main = tflite_file.read(path).subgraphs[0]
    biases = {o.inputs[2] for o in main.operators if o.op in {"CONV_2D", "DEPTHWISE_CONV_2D"}}
    return [len(main.readers[index]) for index in biases]


@pytest.mark.slow
def test_an_int8_file_comes_nearer_to_the_model_and_keeps_its_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, unseen = network(), images(128, 0), images(64, 1)
    nearer, plain = tmp_path / "nearer.tflite", tmp_path / "plain.tflite"
    done = export(model, DEVICE, nearer, x=[x]).mended
    with monkeypatch.context() as patch:
        patch.setattr(mend_module, "FEWEST_SAMPLES", 1000)
        left = export(model, DEVICE, plain, x=[x]).mended
    assert left is not None
    assert not left.bias_correction.applied
    assert not left.rounding.applied
    assert done is not None
    assert done.bias_correction.applied
    before, between = done.bias_correction.error_before, done.bias_correction.error_after
    assert (between or 1) < (before or 0)
    assert done.rounding.error_before == between
    assert done.rounding.applied is ((done.rounding.error_after or 1) < (between or 0))
    assert error_of(nearer, model, unseen) < 0.5 * error_of(plain, model, unseen)
    assert len(zeros_of(nearer)) == 4
    for zero in zeros_of(nearer):
        assert np.all(zero.reshape(16, 4, 4)[:, :, 1:3])
    assert all(count == 1 for count in readers_of_biases(nearer))
    manifest = json.loads(manifest_path(nearer).read_text())
    assert validate(nearer, DEVICE, reference=model, x=[unseen]).ok
    assert manifest["int8"] == done.to_json()
    assert manifest["int8"]["bias_correction"]["applied"] is True
    assert "biases corrected" in str(done)


@pytest.mark.slow
def test_the_noise_of_the_last_layer_is_that_of_the_outputs(tmp_path: Path) -> None:
    """Its bias is 0, so that the converter leaves it out; it is corrected nevertheless."""
    model, x, path = network(), images(128, 0), tmp_path / "m.tflite"
    done = export(model, DEVICE, path, x=[x]).mended
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


@pytest.mark.slow
def test_weights_and_scales_in_the_file_are_those_chosen_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, x, profile = network(), images(64, 0), load_profile(DEVICE)
    floating = convert(model, profile, "int8")
    samples = calibration(model, [x])
    content = quantized(model, profile, floating, measure_ranges(floating, samples))
    floats = tflite_draft.from_bytes(floating, Path("float"))
    draft = with_own_biases(tflite_draft.from_bytes(content, Path("int8")), floats.graph)
    chosen: list[tuple[Layer, Grid]] = []
    written = refine.write_weights

    def write(draft: tflite_draft.Draft, layer: Layer, grid: Grid) -> None:
        chosen.append((layer, grid))
        written(draft, layer, grid)

    monkeypatch.setattr(refine, "write_weights", write)
    refine.refine_all({True: draft}, floats, samples)
    stored = tflite_draft.reread(draft).graph.tensors
    assert len(chosen) == 10
    for layer, grid in chosen:
        assert layer.weights is not None
        found, bias = stored[layer.weights.index], stored[layer.bias.index]
        matrix = as_matrix(layer.operator.op, np.asarray(found.values()))
        np.testing.assert_array_equal(matrix, grid.stored)
        np.testing.assert_array_equal(found.scales, grid.scales[: found.scales.size])
        assert not np.any(found.zero_points)
        given = stored[layer.operator.inputs[0]].scales
        np.testing.assert_array_equal(bias.scales, given * found.scales)


def branched() -> Any:
    """A shared layer, a residual, a concatenation, two inputs and two outputs."""
    keras.utils.set_random_seed(0)
    image, extra = keras.Input((8, 8, 3), name="image"), keras.Input((6,), name="extra")
    shared = L.Conv2D(8, 3, padding="same", activation="relu", name="shared")
    x = L.Conv2D(8, 1)(image)
    x = L.Add()([x, shared(shared(x))])
    joined = L.Concatenate()([L.GlobalAveragePooling2D()(x), L.Dense(4)(extra)])
    outputs = [L.Dense(5, name="scores")(joined), L.Dense(1, "sigmoid", name="sure")(joined)]
    return keras.Model([image, extra], outputs)


@pytest.mark.slow
def test_a_shared_layer_keeps_the_converters_weights_and_branches_are_mended(
    tmp_path: Path,
) -> None:
    model, generator = branched(), np.random.default_rng(0)
    x = [generator.normal(size=(128, *shape)).astype(np.float32) for shape in ((8, 8, 3), (6,))]
    done = export(model, DEVICE, tmp_path / "m.tflite", x=x).mended
    assert done is not None
    assert done.rounding.error_after is not None
    main = tflite_file.read(tmp_path / "m.tflite").subgraphs[0]
    convolutions = [o for o in main.operators if o.op == "CONV_2D"]
    assert len(convolutions) == 3
    kernel = np.asarray(model.get_layer("shared").kernel).transpose(3, 0, 1, 2)
    largest = np.abs(kernel.reshape(8, -1)).max(axis=1) / 127
    shared = [main.tensors[o.inputs[1]] for o in convolutions if o.inputs[1] in double(main)]
    assert len(shared) == 2
    np.testing.assert_allclose(shared[0].scales, largest, rtol=1e-5)
    assert validate(
        tmp_path / "m.tflite",
        DEVICE,
        reference=model,
        x=dict(zip(("image", "extra"), x, strict=True)),
    ).ok


def double(main: Subgraph) -> set[int]:
    """Constants that two operators read, as one tensor or as two of one buffer."""
    buffers = Counter(main.tensors[o.inputs[1]].buffer for o in main.operators if o.op == "CONV_2D")
    return {tensor.index for tensor in main.tensors if buffers[tensor.buffer] > 1}


KINDS: list[Kind] = ["extremes", "least_error", "equalised"]


def test_a_part_that_does_not_help_is_left_out_and_says_so(tmp_path: Path) -> None:
    errors = {"candidates": [0.1, 0.2], "chosen": 0, "biases": 0.3, "rounding": 0.15}
    facts = {**errors, "mended": None, "layers": []}
    done = mend_module._said(facts, KINDS[:2], 80, tiny(tmp_path))
    nearer, reason = "outputs come nearer", "outputs do not come nearer to the float model"
    assert done.ranges == Part(False, 80, 0.1, 0.2, f"with the extremes as ranges {nearer}")
    none = "no layer makes channels that one other layer reads"
    assert done.equalisation == Part(False, 80, 0.1, None, none)
    assert done.bias_correction == Part(False, 80, 0.1, 0.3, reason)
    assert done.rounding == Part(False, 80, 0.1, 0.15, reason)
    assert str(done) == f"int8 is as converted: {reason}."


def test_what_was_done_is_said_with_the_first_and_the_last_error(tmp_path: Path) -> None:
    errors = {"candidates": [0.4, 0.3, 0.2], "chosen": 2, "biases": 0.1, "rounding": 0.05}
    facts = {**errors, "mended": "rounding", "layers": []}
    done = mend_module._said(facts, KINDS, 80, tiny(tmp_path))
    nearer = "with channels equalised outputs come nearer"
    assert done.ranges == Part(False, 80, 0.4, 0.3, nearer)
    assert done.equalisation == Part(True, 80, 0.4, 0.2)
    assert done.bias_correction == Part(True, 80, 0.2, 0.1)
    assert done.rounding == Part(True, 80, 0.1, 0.05)
    assert " 0.4 -> 0.05 of their square" in str(done)


def test_the_file_with_the_least_error_goes_on(tmp_path: Path) -> None:
    """Without a layer to mend: the file is float, and the candidates differ by their weights."""
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(8, 16)).astype(np.float32)
    drafts = [
        tflite_draft.load(fully_connected(tmp_path / f"{k}.tflite", weights * factor))
        for k, factor in enumerate((1.0, 1.2, 1.1))
    ]
    name = input_ports(drafts[0].graph)[0].name
    samples = {name: generator.normal(size=(70, 16)).astype(np.float32)}
    final, facts = mend_worker.mend([drafts[0]] * 2, drafts[1:], samples)
    assert final is drafts[2]
    assert facts["chosen"] == 1
    assert facts["candidates"] == pytest.approx([0.04, 0.01], rel=1e-3)
    assert facts["mended"] is None


def test_estimating_and_judging_samples_are_apart_and_spread_over_all() -> None:
    for count in (64, 127, 1000):
        fit, held = mend_worker.halves(count)
        assert not set(fit.tolist()) & set(held.tolist())
        assert len(fit) + len(held) == min(count, 128)
        assert fit[0] == 0
        assert held[-1] == count - 1 or fit[-1] == count - 1
