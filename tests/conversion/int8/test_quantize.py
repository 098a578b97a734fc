from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.conversion.convert import export
from edgeprune.conversion.from_keras import calibration, convert
from edgeprune.conversion.int8.measure import measure_ranges
from edgeprune.conversion.int8.quantize import (
    QuantizerError,
    quantize,
    quantize_in_child,
    with_ranges,
)
from edgeprune.conversion.int8.range_worker import extremes, least_error
from edgeprune.conversion.int8.ranges import Range, activations
from edgeprune.core.arrays import Array
from edgeprune.core.errors import ModelError
from edgeprune.profiles.profile import load_profile
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.graph import Graph
from tests.support.tiny_tflite import fully_connected

L = keras.layers
DEVICE = load_profile("arm-neon-int8")


def graph_of(content: bytes) -> Graph:
    return tflite_draft.from_bytes(content, Path("m.tflite")).graph


def tiny(folder: Path) -> bytes:
    return fully_connected(folder / "m.tflite", np.ones((8, 16), np.float32)).read_bytes()


@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=9))
def test_the_extremes_of_nothing_are_zero(values: list[float]) -> None:
    found = extremes(np.array(values, np.float32).reshape(-1, 1))[:, 0]
    assert found.tolist() == ([min(values), max(values)] if values else [0.0, 0.0])


def rounded(values: Array, low: float, high: float) -> Array:
    step = (high - low) / 255
    found: Array = np.clip(np.round((values - low) / step), 0, 255) * step + low
    return found


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 1.5]), st.booleans())
def test_a_range_by_error_lies_within_the_extremes_and_is_no_worse(
    seed: int, power: float, positive: bool
) -> None:
    normal = np.random.default_rng(seed).normal(size=20000)
    values = np.abs(normal) ** power * (1 if positive else np.sign(normal))
    low, high = float(values.min()), float(values.max())
    found = least_error(np.histogram(values, 1024, (low, high))[0], low, high)
    assert (found[0] == 0) if positive else (low <= found[0] < 0)
    assert 0 < found[1] <= high
    ours, theirs = (
        np.sum((rounded(values, *ends) - values) ** 2) for ends in (found, (min(low, 0.0), high))
    )
    assert ours <= 1.05 * theirs


def test_few_values_keep_their_extremes() -> None:
    values = np.random.default_rng(0).normal(size=9000) ** 3
    low, high = float(values.min()), float(values.max())
    assert least_error(np.histogram(values, 1024, (low, high))[0], low, high) == (low, high)


def test_a_single_value_far_out_is_clipped() -> None:
    values = np.append(np.random.default_rng(0).uniform(0, 1, 100_000), 3.0)
    counts = np.histogram(values, 1024, (0, 3))[0]
    low, high = least_error(counts, 0.0, 3.0)
    # (3 - high)**2 + 100,000 (high / 255)**2 / 12 is least there; ends are tried in steps of 0.09.
    assert low == 0
    assert high == pytest.approx(3 / (1 + 100_000 / 12 / 255**2), abs=0.045)


def test_ranges_are_those_of_what_is_computed_or_given(tmp_path: Path) -> None:
    graph = graph_of(tiny(tmp_path))
    named = {graph.tensors[index].name for index in activations(graph)}
    assert named == {graph.tensors[index].name for index in (*graph.inputs, *graph.outputs)}


def test_measured_ranges_are_the_extremes_over_all_samples(tmp_path: Path) -> None:
    content = tiny(tmp_path)
    graph = graph_of(content)
    given_name, made_name = (graph.tensors[i].name for i in (*graph.inputs, *graph.outputs))
    x = np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32)
    found = measure_ranges(content, {given_name: x})
    assert found[given_name] == Range(float(x.min()), float(x.max()))
    sums = x.astype(np.float64).sum(axis=1)
    assert found[made_name].low == pytest.approx(sums.min(), rel=1e-5)
    assert found[made_name].high == pytest.approx(sums.max(), rel=1e-5)


def test_zero_is_put_into_every_range_that_is_written(tmp_path: Path) -> None:
    content = tiny(tmp_path)
    name = graph_of(content).tensors[graph_of(content).inputs[0]].name
    draft = tflite_draft.from_bytes(with_ranges(content, {name: Range(2, 3)}), Path("m"))
    (stored,) = (
        tensor.quantization
        for tensor in draft.model.subgraphs[0].tensors
        if tensor.quantization is not None and tensor.quantization.min is not None
    )
    assert (stored.min.tolist(), stored.max.tolist()) == ([0.0], [3.0])


def network() -> Any:
    """Two inputs, of which one chooses rows, a residual, a shared layer and two outputs."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    word = keras.Input((4,), dtype="int32", name="word")
    shared = L.Conv2D(8, 3, padding="same", activation="relu", name="shared")
    x = L.Conv2D(8, 1)(image)
    x = L.Add()([x, shared(shared(x))])
    rows = L.Flatten()(L.Embedding(10, 3)(word))
    joined = L.Concatenate()([L.GlobalAveragePooling2D()(x), rows])
    outputs = [L.Dense(5, name="scores")(joined), L.Dense(1, "sigmoid", name="sure")(joined)]
    return keras.Model([image, word], outputs)


def data(count: int) -> list[Array]:
    generator = np.random.default_rng(0)
    image = generator.normal(size=(count, 8, 8, 3)).astype(np.float32)
    return [image, generator.integers(0, 10, (count, 4)).astype(np.int32)]


def by_the_converter(model: Any, samples: dict[str, Array], folder: Path) -> bytes:
    """The file that TensorFlow's converter makes in one go."""
    specs = [
        tf.TensorSpec((1, *array.shape[1:]), array.dtype, name=name)
        for name, array in samples.items()
    ]
    module = tf.Module()
    module.kept = [variable.value for variable in model.variables]
    module.serve = tf.function(
        lambda image, word: dict(zip(("scores", "sure"), model([image, word]), strict=True)),
        input_signature=specs,
    )
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rows = [{name: array[k : k + 1] for name, array in samples.items()} for k in range(20)]
    converter.representative_dataset = lambda: iter(rows)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = (
        not DEVICE.per_channel_dense
    )
    content: bytes = converter.convert()
    return content


def found_int8(graph: Graph) -> set[int]:
    return {tensor.index for tensor in graph.tensors if tensor.dtype == "int8"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_two_steps_give_the_file_of_the_converter(tmp_path: Path) -> None:
    model = network()
    samples = calibration(model, data(20))
    floating = convert(model, DEVICE, "int8")
    ranges = measure_ranges(floating, samples)
    dense = DEVICE.per_channel_dense
    found = graph_of(quantize(floating, ranges, per_channel_dense=dense))
    wanted = graph_of(by_the_converter(model, samples, tmp_path))
    assert [o.op for o in found.operators] == [o.op for o in wanted.operators]
    # TensorFlow's calibrator takes what ADD writes in the place of its input for that input.
    (add,) = (o for o in found.operators if o.op == "ADD" and o.inputs[0] in found_int8(found))
    for ours, theirs in zip(found.tensors, wanted.tensors, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        if ours.index in add.inputs:
            assert np.all(ours.scales <= 1.00001 * theirs.scales)
        else:
            np.testing.assert_allclose(ours.scales, theirs.scales, rtol=1e-5)
            np.testing.assert_array_equal(ours.zero_points, theirs.zero_points)


@pytest.mark.slow
def test_the_file_has_the_ranges_that_were_given_in_this_process_and_in_a_child() -> None:
    model = network()
    floating = convert(model, DEVICE, "int8")
    measured = measure_ranges(floating, calibration(model, data(20)))
    ranges = {name: Range(2 * found.low, 2 * found.high) for name, found in measured.items()}
    here, plain = (
        graph_of(quantize(floating, chosen, per_channel_dense=False))
        for chosen in (ranges, measured)
    )
    child = graph_of(quantize_in_child([(floating, ranges)], per_channel_dense=False)[0])
    tensors = zip(here.tensors, child.tensors, plain.tensors, strict=True)
    doubled = 0
    for ours, theirs, narrow in tensors:
        assert ours.name == theirs.name == narrow.name
        np.testing.assert_array_equal(ours.scales, theirs.scales)
        np.testing.assert_array_equal(ours.data, theirs.data)
        if ours.dtype == "int8" and not ours.constant and ours.scales[0] != narrow.scales[0]:
            assert ours.scales[0] == pytest.approx(2 * narrow.scales[0], rel=1e-5)
            doubled += 1
    assert doubled >= 6
    assert all(graph_of(floating).tensors[i].dtype == "float32" for i in here.inputs[:1])


@pytest.mark.slow
def test_what_the_quantizer_says_against_a_file_comes_back_from_the_child() -> None:
    with pytest.raises(QuantizerError):
        quantize_in_child([(b"no file", {})], per_channel_dense=False)


class Loop(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return tf.while_loop(
            lambda count, _: count < 3, lambda count, y: (count + 1, 1.5 * tf.tanh(y)), [0, x]
        )[1]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@pytest.mark.slow
def test_the_body_of_a_loop_is_int8_too(tmp_path: Path) -> None:
    inputs = keras.Input((8,))
    model = keras.Model(inputs, L.Dense(4)(Loop()(L.Dense(8)(inputs))))
    x = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    export(model, DEVICE, tmp_path / "m.tflite", x=[x])
    body = tflite_file.read(tmp_path / "m.tflite").subgraphs[2]
    (tanh,) = (o for o in body.operators if o.op == "TANH")
    assert body.tensors[tanh.inputs[0]].dtype == "int8"


@pytest.mark.slow
def test_values_that_are_not_finite_are_refused_with_the_tensor(tmp_path: Path) -> None:
    inputs = keras.Input((8,))
    huge = L.Activation("exponential", name="huge")(L.Dense(8)(inputs))
    model = keras.Model(inputs, L.Dense(4)(huge))
    x = np.random.default_rng(0).normal(0, 1e4, (20, 8)).astype(np.float32)
    with pytest.raises(ModelError, match=r"expected finite values.*'.*huge"):
        export(model, DEVICE, tmp_path / "m.tflite", x=[x])
    assert not list(tmp_path.iterdir())
