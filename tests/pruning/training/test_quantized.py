"""Quantisation-aware training: the forward pass is that of the int8 file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.conversion.trained_ranges import (
    attach_ranges,
    given_ranges,
    keep_ranges,
    load_ranges,
    ranges_beside,
    ranges_of,
)
from edgeprune.core.arrays import Array
from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, InputError, ModelError, QualityWarning
from edgeprune.core.pattern import NofM, Unstructured
from edgeprune.core.plan import Plan
from edgeprune.keras_model.calls import read_calls
from edgeprune.keras_model.copies import copy_model
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.training.quantized.aware import Awareness, aware_profile, try_aware
from edgeprune.pruning.training.quantized.fake_quantization import fake_quantize_kernel
from edgeprune.pruning.training.quantized.model import Point, QuantizedModel, kernels_in
from edgeprune.pruning.training.quantized.walk import INPUTS, Place, name_of, walk
from edgeprune.pruning.training.schedule import ConstantSparsity
from edgeprune.pruning.training.settings import Training
from edgeprune.pruning.training.strip import strip_pruning
from edgeprune.pruning.training.wrap import prune_low_magnitude
from edgeprune.tflite.format import file as tflite_file
from tests.pruning.training.test_train import X, Y, data, net
from tests.pruning.training.test_wrapper import planned
from tests.support.runtimes import MODULES

layers = keras.layers
PROFILE = load_profile("edge-tpu")
PATTERN = NofM(2, 4)


def int8_plan(model: Any, **rows: Any) -> Plan:
    return planned(model, **rows).model_copy(update={"numerics": "int8"})


def rows(model: Any) -> Plan:
    return int8_plan(model, conv=(Unstructured(), 0.5), dense=(PATTERN, 0.5))


def relu6_net() -> Any:
    """Convolution, batch normalisation and activation, which the file joins; padding, a mean."""
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(16, 3, strides=2, use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def residual_net() -> Any:
    """An addition of two scales, a concatenation, pools and a softmax."""
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    left = layers.MaxPooling2D()(layers.Conv2D(8, 1, activation="relu")(x))
    right = layers.AveragePooling2D(2)(layers.Conv2D(4, 3, padding="same")(x))
    x = layers.Flatten()(layers.Concatenate()([left, right]))
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(x))


def swish_net() -> Any:
    """Activations that the file computes by themselves, a gate, PReLU."""
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="swish")(inputs)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same")(x))
    x = layers.Activation("hard_swish")(x)
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(8, 1)(x))
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x * gate)))


def small() -> Any:
    """Sequential, with a layer whose activation is not joined to it."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3, activation="swish"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def rounded(model: Any, *places: Place) -> QuantizedModel:
    points = [Point(place, row, watched=True) for row, place in enumerate(places)]
    ends = np.tile([-2.0, 2.0], (len(points), 1))
    return QuantizedModel(model, points, ends, per_channel_dense=True)


def images(count: int = 8) -> Array:
    return np.random.default_rng(0).standard_normal((count, 6, 6, 3)).astype("float32")


def runs(path: Path, x: Array, module: str) -> tuple[Array, float]:
    """What an int8 file gives in a runtime, and the size of its steps."""
    interpreter = import_module(module).Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for sample in x:
        scale, zero = given["quantization"]
        stored = np.clip(np.round(sample / scale + zero), -128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], stored[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(made["index"])[0].astype(np.float32))
    scale, zero = made["quantization"]
    return (np.stack(outputs) - zero) * scale, scale


def aware_of(model: Any, x: Array) -> Awareness:
    found = try_aware(copy_model(model), model, PROFILE, Data((x,)), asked=True)
    assert found is not None
    return found


def test_a_walk_computes_what_the_model_does_and_sees_what_activations_take() -> None:
    model, x = small(), keras.ops.convert_to_tensor(images())
    seen: dict[Place, Any] = {}

    def visit(place: Place, value: Any) -> Any:
        seen[place] = value
        return value

    graph = read_calls(model)
    (found,) = walk(graph, [x], visit)
    np.testing.assert_array_equal(found, model(x))
    before = seen[Place(0, -1)]
    np.testing.assert_allclose(seen[Place(0, 0)], before * keras.ops.sigmoid(before), atol=1e-6)
    assert name_of(graph, Place(0, -1)) == f"{model.layers[0].name}, before its activation"
    assert model.layers[0].activation is keras.activations.silu


def test_a_model_without_points_has_rounded_kernels_alone() -> None:
    model, x = small(), images()
    student = rounded(model)
    for layer in model.layers:
        for variable in layer.trainable_variables:
            values = np.asarray(variable)
            if values.ndim > 1:
                axes = tuple(range(values.ndim - 1))
                scale = np.abs(values).max(axis=axes, keepdims=True) / 127
                variable.assign(np.round(values / scale) * scale)
    np.testing.assert_allclose(student(x), model(x), atol=1e-5)


def test_a_point_rounds_its_value_to_256_numbers() -> None:
    model = small()
    last = rounded(model, Place(3, 0))(images(64))
    steps = np.asarray(last) / (4 / 255)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert np.abs(last).max() <= 2.01


def test_ranges_follow_the_batches_of_training_and_no_others() -> None:
    model, x = small(), images() * 3
    student = rounded(model, Place(INPUTS, 0))
    student(x)
    np.testing.assert_array_equal(student.ranges, [[-2, 2]])
    student(x, training=True)
    wanted = 0.99 * np.array([-2, 2]) + 0.01 * np.array([x.min(), x.max()])
    np.testing.assert_allclose(np.asarray(student.ranges)[0], wanted, rtol=1e-5)
    student(x)
    np.testing.assert_allclose(np.asarray(student.ranges)[0], wanted, rtol=1e-5)


def test_measured_ranges_are_what_values_span_without_rounding() -> None:
    model, x = small(), 5 * images(70)
    student = rounded(model, Place(INPUTS, 0), Place(3, 0))
    student.measure([x])
    kept = [
        (variable, fake_quantize_kernel(variable.value, axes))
        for variable, axes in kernels_in(model, per_channel_dense=True)
    ]
    with keras.StatelessScope(kept):
        last = np.asarray(model(x))
    wanted = [[x.min(), x.max()], [min(last.min(), 0), max(last.max(), 0)]]
    np.testing.assert_allclose(student.ranges, wanted, rtol=1e-4)


def test_training_moves_weights_and_moving_averages() -> None:
    model, x = small(), images()
    before = [np.asarray(variable).copy() for variable in model.variables]
    student = rounded(model, Place(0, 0), Place(3, 0))
    student.compile("sgd", "mse")
    student.fit(x, np.ones((len(x), 3)), verbose=0)
    assert all((np.asarray(v) != b).any() for v, b in zip(model.variables, before, strict=True))


def test_a_wrapped_model_survives_keras_files_and_is_stripped(tmp_path: Path) -> None:
    model, x = small(), images()
    model.compile("sgd", "mse")
    student = rounded(
        prune_low_magnitude(model, ConstantSparsity(0.5, 0)), Place(0, 0), Place(3, 0)
    )
    student.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(x), student(x))
    assert loaded.points == student.points
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no step was trained
        plain = strip_pruning(loaded)
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in model.layers]
    np.testing.assert_array_equal(plain(x), model(x))


def test_recurrent_layers_are_refused_by_name() -> None:
    inputs = keras.Input((8, 4))
    model = keras.Model(
        inputs, layers.Dense(2, name="dense")(layers.LSTM(4, name="memory")(inputs))
    )
    plan = int8_plan(model, dense=(Unstructured(), 0.5))
    with pytest.raises(ModelError, match=r"memory: .*LSTM.*--no-quantize-aware"):
        aware_profile(model, plan, None)
    assert aware_profile(model, plan, asked=False) is None


def test_only_int8_routes_are_quantisation_aware() -> None:
    model = net()
    plan = planned(model, dense=(Unstructured(), 0.5)).model_copy(update={"numerics": "float32"})
    assert aware_profile(model, plan, None) is None
    with pytest.raises(InputError, match="int8"):
        aware_profile(model, plan, asked=True)
    found = aware_profile(model, rows(model), None)
    assert found is not None
    assert found.numerics == "int8"


def test_a_model_whose_graph_is_not_known_trains_without() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(2, name="dense")

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

    model = Own()
    model(np.zeros((1, 4), "float32"))
    plan = int8_plan(model, dense=(Unstructured(), 0.5))
    with pytest.warns(QualityWarning, match="no graph of an Own"):
        assert aware_profile(model, plan, None) is None
    with pytest.raises(ModelError, match="no graph of an Own"):
        aware_profile(model, plan, asked=True)


def test_ranges_lie_beside_the_model_they_belong_to(tmp_path: Path) -> None:
    from edgeprune.conversion.int8.ranges import Range

    model = small()
    attach_ranges(model, {"a": Range(-1.0, 2.0), "b": Range(0.0, 6.0)}, {"a": "conv"})
    keep_ranges(model, tmp_path / "m.keras")
    beside = ranges_beside(tmp_path / "m.keras")
    assert beside == tmp_path / "m.ranges.json"
    content = json.loads(beside.read_text(encoding="utf-8"))
    assert content["ranges"][0] == {"layer": "conv", "tensor": "a", "min": -1.0, "max": 2.0}
    other = copy_model(model)
    load_ranges(other, tmp_path / "m.keras")
    assert ranges_of(other) == ranges_of(model)
    other.layers[0].kernel.assign(other.layers[0].kernel * 2)
    assert ranges_of(other) is None
    assert given_ranges(other) is not None


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"schema": 2}', '{"schema": 1, "model_sha256": "a", "ranges": [1]}']
)
def test_what_does_not_read_as_ranges_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "m.ranges.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="m.ranges.json: expected ranges of schema 1"):
        load_ranges(small(), tmp_path / "m.keras")


@pytest.mark.slow
@pytest.mark.parametrize("build", [relu6_net, residual_net, swish_net])
def test_the_forward_pass_is_that_of_the_file(build: Callable[[], Any], tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = build()
    from_logits = build is not residual_net
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits))
    x = np.repeat(X, 4, axis=0) + np.random.default_rng(1).normal(0, 0.3, (256, 8, 8, 4))
    x, y = x.astype("float32"), np.repeat(Y, 4)
    model.fit(x, y, epochs=12, verbose=0)
    aware = aware_of(model, x)
    aware.student.compile("adam", model.loss)
    aware.student.fit(x, y, epochs=2, verbose=0)
    trained = strip_pruning(aware.student)
    aware.finish(trained)
    made = export(trained, PROFILE, tmp_path / "m.tflite")
    assert made.trained_ranges is not None
    wanted = np.asarray(aware.student(x))
    for module in MODULES.values():
        found, step = runs(tmp_path / "m.tflite", x, module)
        assert np.median(np.abs(found - wanted)) <= 2 * step
        assert np.mean(found.argmax(1) == wanted.argmax(1)) >= 0.99


@pytest.mark.slow
def test_prune_trains_on_int8_routes_for_the_file_that_export_writes(tmp_path: Path) -> None:
    model = net()
    trained = prune(model, rows(model), data(), Training(epochs=2, batch_size=16))
    keras.models.save_model(trained, tmp_path / "m.keras")
    keep_ranges(trained, tmp_path / "m.keras")
    assert all(type(layer).__module__.startswith("keras.") for layer in trained.layers)
    made = export(tmp_path / "m.keras", PROFILE, tmp_path / "m.tflite", plan=rows(model))
    manifest = json.loads((tmp_path / "m.manifest.json").read_text(encoding="utf-8"))
    found = ranges_of(trained)
    assert found is not None
    assert manifest["ranges_sha256"] == found.sha256
    assert made.mended is None
    by_name = {tensor.name: tensor for tensor in tflite_file.read(tmp_path / "m.tflite").tensors}
    checked = [row for row in found.rows if row.tensor in by_name and row.layer is not None]
    assert len(checked) >= 3
    for row in checked:
        scale = by_name[row.tensor].scales[0]
        assert scale == pytest.approx((row.high - row.low) / 255, rel=1e-5)


@pytest.mark.slow
def test_the_pattern_holds_in_the_int8_file(tmp_path: Path) -> None:
    model = net()
    trained = prune(model, rows(model), data(), Training(epochs=2, batch_size=16))
    export(trained, PROFILE, tmp_path / "m.tflite")
    graph = tflite_file.read(tmp_path / "m.tflite")
    weights = [t for t in graph.tensors if t.constant and t.dtype == "int8" and len(t.shape) > 1]
    by_shape = {tensor.shape: tensor for tensor in weights}
    dense, conv = by_shape[(4, 16)], by_shape[(16, 1, 1, 4)]
    for tensor in (dense, conv):
        assert not np.any(tensor.zero_points)
    groups = np.asarray(dense.values()).reshape(-1, 4)
    assert ((groups == 0).sum(axis=1) >= 2).all()
    assert (np.asarray(conv.values()) == 0).mean() >= 0.5


@pytest.mark.slow
def test_a_model_that_lost_channels_trains_for_its_file_too(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 4), name="image")
    hidden = inputs
    for _ in range(2):
        hidden = layers.Conv2D(32, 3, padding="same", use_bias=False)(hidden)
        hidden = layers.ReLU(6.0)(layers.BatchNormalization()(hidden))
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(hidden)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    made = plan(model, "arm-neon-int8", sparsity=0.5)
    x = np.repeat(X, 4, axis=0)
    trained = prune(model, made, Data((x,), np.repeat(Y, 4)), Training(epochs=4, batch_size=16))
    assert trained.count_params() < 0.7 * model.count_params()
    exported = export(trained, "arm-neon-int8", tmp_path / "m.tflite", plan=made)
    assert exported.trained_ranges is not None
    wanted = np.asarray(trained(x))
    for module in MODULES.values():
        found, _ = runs(tmp_path / "m.tflite", x, module)
        assert np.mean((found - wanted) ** 2) < 0.01 * np.mean(wanted**2)


@pytest.mark.slow
def test_export_refuses_ranges_of_other_weights_and_takes_data_instead(tmp_path: Path) -> None:
    model = net()
    trained = prune(model, rows(model), data(), Training(epochs=1, batch_size=16))
    trained.layers[1].kernel.assign(trained.layers[1].kernel * 0.5)
    with pytest.raises(DataError, match="belong to other weights"):
        export(trained, PROFILE, tmp_path / "m.tflite")
    made = export(trained, PROFILE, tmp_path / "m.tflite", x=Data((X,)))
    assert made.trained_ranges is None
    assert any("belong to other weights" in said for said in made.warnings)


@pytest.mark.slow
def test_a_plan_that_prunes_nothing_trains_for_int8_where_that_is_asked_for() -> None:
    model = net()
    plan = int8_plan(model, conv=(None, 0.0), dense=(None, 0.0))
    how = Training(epochs=1, batch_size=16, quantize_aware=True)
    trained = prune(model, plan, data(), how)
    assert ranges_of(trained) is not None
    assert (trained.layers[1].kernel != model.layers[1].kernel).numpy().any()


@pytest.mark.slow
def test_training_can_be_left_unaware() -> None:
    model = net()
    how = Training(epochs=1, batch_size=16, quantize_aware=False)
    assert given_ranges(prune(model, rows(model), data(), how)) is None


@pytest.mark.slow
def test_a_resumed_run_has_the_same_weights_and_ranges(tmp_path: Path) -> None:
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            del logs
            if epoch == 2:
                raise KeyboardInterrupt

    def how(**more: Any) -> Training:
        return Training(epochs=3, batch_size=16, **more)

    model, kept = net(), tmp_path / "c"
    whole = prune(model, rows(model), data(), how())
    with pytest.raises(KeyboardInterrupt):
        prune(model, rows(model), data(), how(checkpoint=kept, callbacks=[Stop()]))
    resumed = prune(model, rows(model), data(), how(checkpoint=kept, resume=True))
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    first, second = ranges_of(whole), ranges_of(resumed)
    assert first is not None
    assert second is not None
    for one, other in zip(first.rows, second.rows, strict=True):
        assert (one.tensor, one.layer) == (other.tensor, other.layer)
        np.testing.assert_allclose((one.low, one.high), (other.low, other.high), rtol=1e-4)


@pytest.mark.slow
def test_a_shared_layer_has_a_range_for_every_call_and_nested_models_are_opened() -> None:
    keras.utils.set_random_seed(0)
    part_in = keras.Input((8, 8, 4))
    part = keras.Model(part_in, layers.Conv2D(4, 1, activation="relu", name="inner")(part_in))
    shared = layers.Conv2D(4, 1, name="shared")
    inputs = keras.Input((8, 8, 4), name="image")
    x = part(shared(shared(inputs)))
    pooled = layers.GlobalAveragePooling2D()(x)
    outputs = [layers.Dense(4, name="a")(pooled), layers.Dense(2, name="b")(pooled)]
    aware = aware_of(keras.Model(inputs, outputs), X)
    assert aware.points is not None
    names = set(aware.points.names.values())
    assert {"shared, call 1", "shared, call 2", "a", "b"} <= names
    assert any(name.endswith("/inner") for name in names)
    assert len(aware.student(X)) == 2


@pytest.mark.slow
def test_inputs_of_bytes_with_preprocessing_inside_are_followed() -> None:
    inputs = keras.Input((8, 8, 4), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.ReLU()(layers.Conv2D(4, 3, name="conv")(x))
    model = keras.Model(inputs, layers.Dense(4, name="dense")(layers.Flatten()(x)))
    bytes_ = np.random.default_rng(0).integers(0, 256, X.shape).astype(np.uint8)
    aware = aware_of(model, bytes_)
    # The converter folds the scaling into the convolution: bytes are what the file rounds.
    assert aware.points is not None
    assert "dense" in aware.points.names.values()
    assert not any("rescaling" in name for name in aware.points.names.values())
    wanted, found = np.asarray(model(bytes_)), np.asarray(aware.student(bytes_))
    assert np.median(np.abs(wanted - found)) < 0.05 * np.abs(wanted).max()
