"""Wrapping layers and models, and what holds while they train."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeprune.core import device_matrix
from edgeprune.core.errors import InputError, ModelError, PlanError
from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured
from edgeprune.core.plan import LayerPlan, Plan
from edgeprune.core.score import tile_maximum
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.training.callbacks import PruningSummaries, UpdatePruningStep
from edgeprune.pruning.training.masked_kernel import PruningRule
from edgeprune.pruning.training.schedule import (
    ConstantSparsity,
    LinearDecay,
    PolynomialDecay,
    Schedule,
)
from edgeprune.pruning.training.wrap import kept_layers, prune_low_magnitude, wrap
from edgeprune.pruning.training.wrapper import PruneLowMagnitude, wrappers

layers = keras.layers
CUBIC = PolynomialDecay(0.0, 0.8, 0, 8, frequency=2)
HALF = ConstantSparsity(0.5, 0)


def small_net() -> Any:
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.SeparableConv2D(8, 3, name="separable")(x)
    x = layers.Dropout(0.3, name="dropout")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="dense")(x))


def dense_net() -> Any:
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(16, "relu", name="one"), layers.Dense(4, name="two")]
    )


def compiled(model: Any, optimizer: Any = "adam", **options: Any) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **options)
    return model


def samples(shape: tuple[int, ...], count: int = 32) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return random.standard_normal((count, *shape)).astype("float32"), random.integers(0, 4, count)


def fit(model: Any, shape: tuple[int, ...], epochs: int, **options: Any) -> None:
    x, y = samples(shape)
    model.fit(
        x,
        y,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[UpdatePruningStep()],
        **options,
    )


def masks(model: Any) -> list[Any]:
    found = [np.asarray(entry.mask) for w in wrappers(model) for entry in w.masked_kernels]
    assert found, "nothing is pruned"
    return found


def kernels(model: Any) -> list[Any]:
    found = [np.asarray(entry.kernel) for w in wrappers(model) for entry in w.masked_kernels]
    assert found, "nothing is pruned"
    return found


@keras.saving.register_keras_serializable(package="edgeprune_tests")
class Branches(keras.Model):
    """Subclassed, with layers in attributes and a list, dropout and batch normalisation."""

    def __init__(self, rate: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(rate)
        self.hidden = [layers.Dense(16, "relu", name=f"hidden{i}") for i in range(2)]
        self.head = layers.Dense(4, name="head")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.drop.rate}

    def build(self, input_shape: Any) -> None:
        self.norm.build(input_shape)
        self.hidden[0].build(input_shape)
        self.hidden[1].build((None, 16))
        self.head.build((None, 16))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        x = self.norm(inputs, training=training)
        for layer in self.hidden:
            x = self.drop(layer(x), training=training)
        return self.head(x)


def branches(rate: float = 0.5) -> Any:
    model = Branches(rate)
    model.build((None, 8))
    return model


def branches_without_dropout() -> Any:
    # Keras does not save the seeds of its dropout, so no model with dropout resumes bit for bit.
    return branches(0.0)


@pytest.mark.parametrize("eagerly", [True, False])
def test_training_without_the_callback_is_refused_at_its_first_batch(eagerly: bool) -> None:
    wrapped = prune_low_magnitude(small_net(), HALF)
    wrapped.compile("sgd", "mse", run_eagerly=eagerly)
    x = np.zeros((4, 8, 8, 4), np.float32)
    y = np.zeros((4, *wrapped.output_shape[1:]), np.float32)
    before = wrapped.get_weights()
    with pytest.raises(InputError, match="UpdatePruningStep"):
        wrapped.fit(x, y, verbose=0)
    with pytest.raises(InputError, match="UpdatePruningStep"):
        wrapped.train_on_batch(x, y)
    for one, other in zip(before, wrapped.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert wrapped.predict(x, verbose=0).shape == y.shape
    wrapped.fit(x, y, verbose=0, callbacks=[UpdatePruningStep()])


def test_masked_weights_get_no_gradient_and_no_say() -> None:
    wrapped = prune_low_magnitude(small_net(), HALF)
    for wrapper in wrappers(wrapped):
        wrapper.begin()
    x, y = samples((8, 8, 4))
    with tf.GradientTape() as tape:
        outputs = wrapped(x, training=True)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, outputs)
    entries = [entry for w in wrappers(wrapped) for entry in w.masked_kernels]
    gradients = tape.gradient(loss, [entry.kernel.value for entry in entries])
    for entry, gradient in zip(entries, gradients, strict=True):
        mask = np.asarray(entry.mask)
        assert not mask.all()
        assert (np.asarray(gradient)[~mask] == 0).all()
        assert (np.asarray(gradient)[mask] != 0).any()
    before = np.asarray(wrapped(x, training=False))
    for entry in entries:
        entry.kernel.assign(np.where(np.asarray(entry.mask), np.asarray(entry.kernel), 1e3))
    np.testing.assert_array_equal(np.asarray(wrapped(x, training=False)), before)


def test_a_regularizer_sees_kept_weights_only() -> None:
    dense = layers.Dense(3, kernel_regularizer="l2", activity_regularizer="l1")
    dense.build((None, 4))
    wrapper = prune_low_magnitude(dense, HALF)
    wrapper(np.ones((2, 4), "float32"))
    wrapper.masked_kernels[0].update(0)
    wrapper.masked_kernels[0].kernel.assign(np.ones((4, 3), "float32"))
    assert len(wrapper.losses) == 2
    assert float(wrapper.losses[-1]) == pytest.approx(0.01 * 6)


def test_wrapping_copies_and_keeps_what_the_model_computes() -> None:
    model = small_net()
    wrapped = prune_low_magnitude(model, HALF)
    x, _ = samples((8, 8, 4))
    np.testing.assert_array_equal(wrapped(x), model(x))
    fit(compiled(wrapped), (8, 8, 4), epochs=1)
    assert not {id(v) for v in wrapped.variables} & {id(v) for v in model.variables}
    assert [w.layer.name for w in wrappers(wrapped)] == ["conv", "separable", "dense"]
    assert wrapped.get_layer("prune_low_magnitude_conv").trainable_variables


def test_layers_that_stay_plain_say_why() -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Embedding(9, 4), layers.LSTM(4)])
    wrapped = prune_low_magnitude(model, HALF)
    assert [kept.reason for kept in kept_layers(wrapped)] == [
        "patterns are not defined on the weights of an Embedding",
        "patterns are not defined on the weights of an LSTM",
    ]
    reasons = {kept.path: kept.reason for kept in kept_layers(prune_low_magnitude(small_net()))}
    assert "depthwise" in reasons["depthwise"]
    assert reasons["relu"] == "no weights"
    assert kept_layers(model) == ()


def test_values_given_from_outside_reach_the_wrapped_layer() -> None:
    wrapped = prune_low_magnitude(dense_net(), HALF)
    x, _ = samples((8,))
    trainable = [np.asarray(v) + 0.5 for v in wrapped.trainable_variables]
    rest = [v.value for v in wrapped.non_trainable_variables]
    outputs, _ = wrapped.stateless_call(trainable, rest, x)
    for variable, value in zip(wrapped.trainable_variables, trainable, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(outputs, wrapped(x))


def test_a_policy_and_the_input_channels_decide_what_is_wrapped() -> None:
    class NoDense:
        def allow_pruning(self, layer: Any) -> bool:
            return not isinstance(layer, layers.Dense)

        def ensure_model_supports_pruning(self, model: Any) -> None:
            assert isinstance(model, keras.Model)

    wrapped = prune_low_magnitude(small_net(), HALF, pruning_policy=NoDense())
    assert [w.layer.name for w in wrappers(wrapped)] == ["conv", "separable"]
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="first")])
    kept = kept_layers(prune_low_magnitude(model, HALF, sparsity_m_by_n=(2, 4)))
    assert kept[0].reason == "3 input channels, not a multiple of 4 for NofM(2,4)"


def test_a_single_layer_and_a_list_are_wrapped_before_they_are_built() -> None:
    wrapped = prune_low_magnitude(layers.Dense(4, name="d"), HALF, name="mine")
    assert isinstance(wrapped, PruneLowMagnitude)
    assert wrapped.name == "mine"
    listed = prune_low_magnitude([layers.Dense(16), layers.ReLU(), layers.Dense(4)], HALF)
    assert [type(layer).__name__ for layer in listed] == [
        "PruneLowMagnitude",
        "ReLU",
        "PruneLowMagnitude",
    ]
    model = compiled(keras.Sequential([keras.Input((8,)), *listed]))
    fit(model, (8,), epochs=1)
    assert [mask.mean() for mask in masks(model)] == [0.5, 0.5]


def test_what_is_no_layer_is_refused() -> None:
    with pytest.raises(ModelError, match="expected a Keras layer"):
        prune_low_magnitude("model")
    with pytest.raises(InputError, match="'AVG' or 'MAX'"):
        prune_low_magnitude(dense_net(), HALF, block_pooling_type="MIN")  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_layer_of_ones_own_takes_part_by_get_prunable_weights() -> None:
    class Scale(keras.Layer):
        def build(self, shape: Any) -> None:
            self.first = self.add_weight(shape=(shape[-1], 4), initializer="glorot_uniform")
            self.second = self.add_weight(shape=(4, 4), initializer="glorot_uniform")

        def call(self, inputs: Any) -> Any:
            return inputs @ self.first @ self.second

        def get_prunable_weights(self) -> list[Any]:
            return [self.first, self.second]

    model = compiled(keras.Sequential([keras.Input((8,)), Scale()]))
    wrapped = prune_low_magnitude(model, HALF)
    fit(wrapped, (8,), epochs=1)
    assert [mask.mean() for mask in masks(wrapped)] == [0.5, 0.5]


def test_a_block_on_a_dense_kernel_is_height_by_width_of_in_by_out() -> None:
    dense = layers.Dense(2, use_bias=False)
    dense.build((None, 4))
    dense.kernel.assign([[1.0, 9.0], [1.0, 9.0], [5.0, 2.0], [5.0, 2.0]])
    wrapper = prune_low_magnitude(dense, HALF, block_size=(2, 1))
    wrapper.build((None, 4))
    wrapper.begin()
    assert np.asarray(wrapper.layer.kernel).tolist() == [[0, 9], [0, 9], [5, 0], [5, 0]]


def test_max_pooling_scores_a_tile_by_its_highest_weight() -> None:
    scores = np.array([[9.0, 0.0, 4.0, 4.0, 1.0]])
    assert tile_maximum(scores, Block(1, 2)).tolist() == [[9, 9, 4, 4, 1]]
    rule = PruningRule(Block(1, 2), ConstantSparsity(0.5, 0), "MAX")
    kernel = np.array([[5.0], [0.0], [4.0], [4.0]])
    assert rule.mask("Dense", kernel, 0).ravel().tolist() == [True, True, False, False]
    mean = PruningRule(Block(1, 2), ConstantSparsity(0.5, 0))
    assert mean.mask("Dense", kernel, 0).ravel().tolist() == [False, False, True, True]


PATTERNS = [Unstructured(), Block(2, 1), Block(1, 4), NofM(2, 4), Channels(2)]


def unit(pattern: Pattern, columns: int) -> int:
    """How many weights become zero together, in a matrix of so many columns; 0 if all is fixed."""
    match pattern:
        case Unstructured():
            return 1
        case Block(out, in_):
            return out * in_
        case NofM():
            return 0
        case Channels(multiple):
            return multiple * columns


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("schedule", [CUBIC, LinearDecay(0.1, 0.6, 1, 7), HALF], ids=repr)
def test_masks_obey_their_pattern_and_kernels_hold_the_zeros(
    pattern: Pattern, schedule: Schedule
) -> None:
    wrapped = compiled(prune_low_magnitude(dense_net(), schedule, pattern=pattern))
    fit(wrapped, (8,), epochs=3)
    for mask, kernel in zip(masks(wrapped), kernels(wrapped), strict=True):
        matrix = device_matrix.to_device("Dense", mask)
        rule = PruningRule(pattern, schedule)
        wanted = 0.5 if isinstance(pattern, NofM) else schedule.sparsity_at(12)
        zeros, allowed = int((~matrix).sum()), unit(pattern, matrix.shape[1])
        assert abs(zeros - wanted * matrix.size) <= allowed
        assert (kernel[~mask] == 0).all()
        # A mask made from the kernel's own zeros is the same one: the pattern holds.
        np.testing.assert_array_equal(rule.mask("Dense", kernel, 12), mask)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_momentum_does_not_bring_pruned_weights_back(optimizer: str) -> None:
    chosen = keras.optimizers.SGD(0.1, momentum=0.9) if optimizer == "sgd" else optimizer
    schedule = PolynomialDecay(0.0, 0.75, 0, 6, frequency=3)
    wrapped = compiled(prune_low_magnitude(dense_net(), schedule), chosen)
    fit(wrapped, (8,), epochs=3)
    for mask, kernel in zip(masks(wrapped), kernels(wrapped), strict=True):
        assert (kernel == 0).mean() == 0.75
        np.testing.assert_array_equal(kernel != 0, mask)


@pytest.mark.parametrize(
    ("end", "frequency"), [(12, 100), (12, 5), (7, 100), (11, 3), (12, 12), (1, 1)]
)
def test_the_last_sparsity_is_reached_whatever_the_frequency(end: int, frequency: int) -> None:
    schedule = PolynomialDecay(0.5, 0.8, 0, end, frequency=frequency)
    wrapped = prune_low_magnitude(dense_net(), schedule)
    step = UpdatePruningStep()
    step.set_model(wrapped)
    step.on_train_begin()
    for batch in range(12):
        step.on_train_batch_begin(batch)
        step.on_train_batch_end(batch)
    for kernel in kernels(wrapped):
        assert (kernel == 0).mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.slow
def test_several_steps_in_one_execution_are_all_counted() -> None:
    schedule = PolynomialDecay(0.5, 0.75, 0, 7, frequency=100)
    wrapped = compiled(prune_low_magnitude(dense_net(), schedule), steps_per_execution=3)
    fit(wrapped, (8,), epochs=3)
    assert [wrapper.steps_done for wrapper in wrappers(wrapped)] == [12, 12]
    assert all((kernel == 0).mean() == 0.75 for kernel in kernels(wrapped))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"jit_compile": True}, {"run_eagerly": True}], ids=str)
def test_it_trains_with_and_without_a_compiler(options: dict[str, bool]) -> None:
    wrapped = compiled(prune_low_magnitude(small_net(), CUBIC), **options)
    fit(wrapped, (8, 8, 4), epochs=2)
    assert all((kernel == 0).mean() == pytest.approx(0.8, abs=0.02) for kernel in kernels(wrapped))


@pytest.mark.slow
def test_mixed_precision_trains() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small_net()
    finally:
        keras.config.set_dtype_policy(before)
    wrapped = compiled(prune_low_magnitude(model, CUBIC))
    fit(wrapped, (8, 8, 4), epochs=2)
    assert wrapped.output.dtype == "float16"
    assert all((kernel == 0).mean() == pytest.approx(0.8, abs=0.02) for kernel in kernels(wrapped))


@pytest.mark.slow
def test_a_shared_layer_is_wrapped_once() -> None:
    shared = layers.Dense(8, name="shared")
    inputs = keras.Input((8,))
    nested = keras.Sequential([keras.Input((8,)), shared], name="nested")
    model = keras.Model(inputs, layers.Dense(4, name="head")(shared(nested(shared(inputs)))))
    wrapped = compiled(prune_low_magnitude(model, HALF))
    assert [wrapper.layer.name for wrapper in wrappers(wrapped)] == ["shared", "head"]
    assert len(wrapped.trainable_variables) == len(model.trainable_variables)
    x, _ = samples((8,))
    np.testing.assert_allclose(wrapped(x), model(x), atol=1e-6)
    fit(wrapped, (8,), epochs=1)


@pytest.mark.slow
def test_a_subclassed_model_keeps_its_state_going() -> None:
    model = branches()
    wrapped = compiled(prune_low_magnitude(model, HALF))
    inner = wrapped.wrapper.layer
    before = [np.asarray(inner.norm.moving_mean), np.asarray(inner.drop.seed_generator.state)]
    fit(wrapped, (8,), epochs=1)
    after = [np.asarray(inner.norm.moving_mean), np.asarray(inner.drop.seed_generator.state)]
    assert all((old != new).any() for old, new in zip(before, after, strict=True))
    assert [(kernel == 0).mean() for kernel in kernels(wrapped)] == [0.5, 0.5, 0.5]
    entries = wrapped.wrapper.masked_kernels
    assert [entry.path.split("/")[-1] for entry in entries] == ["hidden0", "hidden1", "head"]


@pytest.mark.slow
def test_a_subclassed_model_inside_another_is_wrapped_as_a_whole() -> None:
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(4, name="last")(branches()(inputs)))
    wrapped = compiled(prune_low_magnitude(model, HALF))
    assert [len(wrapper.masked_kernels) for wrapper in wrappers(wrapped)] == [3, 1]
    fit(wrapped, (8,), epochs=1)
    assert all((kernel == 0).mean() == 0.5 for kernel in kernels(wrapped))


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_what_cannot_be_copied_is_said_with_a_way_on() -> None:
    class NoConfig(keras.Layer):
        def __init__(self, table: Any) -> None:
            super().__init__(name="table")
            self.table = table

        def call(self, inputs: Any) -> Any:
            return inputs

    model = keras.Sequential([keras.Input((8,)), layers.Dense(4), NoConfig(iter([1]))])
    with pytest.raises(ModelError, match="table: this NoConfig cannot be copied"):
        prune_low_magnitude(model, HALF)
    model = dense_net()
    model.compile("adam", lambda y, predicted: keras.ops.mean(y - predicted))
    with pytest.raises(ModelError, match="give them as named functions, or compile it later"):
        prune_low_magnitude(model, HALF)


def test_a_model_with_its_own_training_step_is_refused() -> None:
    class Own(Branches):
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    model = Own(name="own")
    model.build((None, 8))
    with pytest.raises(ModelError, match="own: this Own trains by its own train_step"):
        prune_low_magnitude(model, HALF)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [dense_net, branches_without_dropout], ids=["sequential", "subclassed"]
)
def test_training_goes_on_after_saving_and_loading_as_if_uninterrupted(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    schedule = PolynomialDecay(0.0, 0.75, 0, 9, frequency=2)
    keras.utils.set_random_seed(3)
    first = compiled(prune_low_magnitude(make(), schedule))
    first.optimizer.build(first.trainable_variables)
    first.save(tmp_path / "start.keras")
    whole = keras.models.load_model(tmp_path / "start.keras")
    fit(whole, (8,), epochs=4)
    fit(first, (8,), epochs=2)
    first.save(tmp_path / "half.keras")
    resumed = keras.models.load_model(tmp_path / "half.keras")
    assert [wrapper.steps_done for wrapper in wrappers(resumed)] == [
        wrapper.steps_done for wrapper in wrappers(first)
    ]
    for mask, saved in zip(masks(resumed), masks(first), strict=True):
        np.testing.assert_array_equal(mask, saved)
    fit(resumed, (8,), epochs=2)
    for received, expected in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-7)
    assert all((kernel == 0).mean() == 0.75 for kernel in kernels(resumed))


def test_a_loop_of_ones_own_can_leave_out_the_end_of_batches() -> None:
    wrapped = compiled(prune_low_magnitude(dense_net(), PolynomialDecay(0.5, 0.75, 0, 5)))
    x, y = samples((8,))
    step = UpdatePruningStep()
    step.set_model(wrapped)
    step.on_train_begin()
    for _ in range(6):
        step.on_train_batch_begin(batch=-1)
        wrapped.train_on_batch(x, y)
    step.on_epoch_end(batch=-1)
    assert [wrapper.steps_done for wrapper in wrappers(wrapped)] == [6, 6]
    assert all((kernel == 0).mean() == 0.75 for kernel in kernels(wrapped))


def test_the_callback_on_a_plain_model_says_that_nothing_is_pruned() -> None:
    with pytest.warns(UserWarning, match="of which nothing is pruned"):
        fit(compiled(dense_net()), (8,), epochs=1)


def test_a_weight_that_is_not_finite_is_reported_with_its_layer() -> None:
    wrapped = prune_low_magnitude(dense_net(), HALF)
    wrapper = wrappers(wrapped)[0]
    wrapper.layer.kernel.assign(np.full((8, 16), np.nan))
    with pytest.raises(ModelError, match=r"one: at training step 0: .*finite"):
        wrapper.begin()


@pytest.mark.slow
def test_summaries_hold_sparsity_and_threshold_of_each_layer(tmp_path: Path) -> None:
    wrapped = compiled(prune_low_magnitude(dense_net(), HALF))
    x, y = samples((8,))
    wrapped.fit(x, y, verbose=0, callbacks=[UpdatePruningStep(), PruningSummaries(tmp_path)])
    (written,) = (tmp_path / "pruning").glob("events*")
    events = list(tf.compat.v1.train.summary_iterator(str(written)))
    found = {v.tag: float(tf.make_ndarray(v.tensor)) for e in events for v in e.summary.value}
    assert found["one/sparsity"] == found["two/sparsity"] == 0.5
    kept = np.abs(kernels(wrapped)[0][masks(wrapped)[0]])
    assert found["one/threshold"] == pytest.approx(kept.min())


def planned(model: Any, **rows: tuple[Pattern | None, float]) -> Plan:
    return Plan(
        device="edge-tpu",
        model="m",
        goal="latency",
        asked=0.5,
        numerics="float32",  # of the training alone: what int8 adds has tests of its own
        layers=tuple(
            LayerPlan(
                path=layer.path,
                kind=layer.kind,
                shape=layer.shape or (),
                pattern=rows[layer.path][0],
                sparsity=rows[layer.path][1],
                reason="as the test wants",
                prunable=True,
            )
            for layer in describe_layers(map_layers(model))
            if layer.path in rows
        ),
    )


@pytest.mark.slow
def test_a_plan_gives_each_layer_its_own_pattern_and_sparsity() -> None:
    model = small_net()
    made = planned(
        model,
        conv=(Block(2, 1), 0.25),
        depthwise=(Unstructured(), 0.5),
        separable=(NofM(2, 4), 0.5),
        dense=(None, 0.0),
    )
    wrapped = compiled(wrap(model, made, PolynomialDecay(0.0, 0.5, 0, 5)))
    fit(wrapped, (8, 8, 4), epochs=2)
    assert [w.layer.name for w in wrappers(wrapped)] == ["conv", "depthwise", "separable"]
    assert [1 - mask.mean() for mask in masks(wrapped)] == [0.25, 0.5, 0.5]
    kept = {layer.path: layer.reason for layer in kept_layers(wrapped)}
    assert kept["dense"] == "as the test wants"
    assert kept["relu"] == "the plan does not name it"
    with pytest.raises(PlanError, match="which this model does not have"):
        wrap(dense_net(), made, HALF)


def test_a_plan_for_a_device_wraps_nested_models() -> None:
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(16, name="deep")], name="inner")
    model = keras.Sequential([keras.Input((8,)), inner, layers.Dense(4, name="head")])
    wrapped = wrap(model, plan(model, "ethos-u55", sparsity=0.5), CUBIC)
    assert {wrapper.layer.name for wrapper in wrappers(wrapped)} == {"deep", "head"}
    assert isinstance(wrapped, keras.Sequential)


def test_wrapping_emits_no_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(compiled(prune_low_magnitude(dense_net(), CUBIC)), (8,), epochs=1)


def test_a_weight_that_may_come_back_gets_the_masked_kernels_gradient_and_its_decay() -> None:
    layer = layers.Dense(4, use_bias=False, name="dense")
    layer.build((None, 8))
    rule = PruningRule(NofM(2, 4), PolynomialDecay(0.5, 0.5, 0, 10), regrow=True)
    wrapped = PruneLowMagnitude(layer, (rule,))
    wrapped.build((None, 8))
    wrapped.begin()
    (entry,) = wrapped.masked_kernels
    mask, kernel = np.asarray(entry.mask), np.asarray(entry.kernel)
    assert mask.sum() == 16
    inputs = np.random.default_rng(0).standard_normal((3, 8)).astype("float32")

    def gradient() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(wrapped(inputs, training=True) * [1.0, 2.0, 3.0, 4.0])
        return tape.gradient(loss, wrapped.trainable_variables)[0]

    above = inputs.sum(0)[:, None] * np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(gradient(), above + 2e-4 * kernel * ~mask, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(wrapped(inputs, training=True), wrapped(inputs))
    wrapped.step.assign(10)
    np.testing.assert_allclose(gradient(), above * mask, rtol=1e-5, atol=1e-6)


def test_a_rule_is_read_from_a_file_of_a_version_without_regrowth() -> None:
    rule = PruningRule(Block(2, 1), ConstantSparsity(0.5, 0), regrow=True)
    config = rule.get_config()
    assert PruningRule.from_config(config) == rule
    del config["regrow"]
    assert not PruningRule.from_config(config).regrow
