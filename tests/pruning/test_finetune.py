from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeprune.core.errors import QualityWarning
from edgeprune.core.pattern import Block, Channels, NofM, Pattern
from edgeprune.core.plan import LayerPlan, Plan
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.interface import predict
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import map_layers
from edgeprune.pruning import finetune
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.pruning.finetune import (
    MAX_BATCH_SIZE,
    MAX_EPOCHS,
    MIN_SAMPLES,
    FineTuning,
    _augmented,
    _feature_distance,
    affordable_epochs,
    answers_mirrored_alike,
    batch_size,
    distill_outputs,
    peak_rate,
)
from tests.support.architectures import ARCHITECTURES, build, samples

L = keras.layers
SOME = 160


def images(count: int, seed: int = 0) -> Any:
    """Smooth ones, so that moving them by a few pixels leaves them alike."""
    coarse = np.random.default_rng(seed).normal(size=(count, 4, 4, 3))
    return np.repeat(np.repeat(coarse, 4, 1), 4, 2).astype(np.float32)


def small_net(activation: str | None = None) -> Any:
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((16, 16, 3))
    for width, stride in ((16, 2), (24, 1), (32, 2)):
        x = L.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization()(x))
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, L.Dense(5, activation=activation)(x))


def plan_of(model: Any, pattern: Pattern, sparsity: float) -> Plan:
    rows = tuple(
        LayerPlan(
            path=layer.path,
            kind=layer.kind,
            shape=layer.shape,
            pattern=pattern,
            sparsity=sparsity,
            reason="test",
        )
        for layer in describe_layers(map_layers(model))
        if layer.shape is not None and layer.kind == "Conv2D"
    )
    return Plan(device="any", model="m", goal="latency", asked=sparsity, layers=rows)


def error(model: Any, dense: Any, x: Any) -> float:
    wanted, given = (predict(each, [x])[0] for each in (dense, model))
    return float(np.mean((wanted - given) ** 2))


def damaged(dense: Any) -> Any:
    """A copy in which every weight of a kernel is off by up to a tenth."""
    copy = copy_model(dense)
    generator = np.random.default_rng(0)
    copy.set_weights(
        [
            weight * generator.uniform(0.9, 1.1, weight.shape) if weight.ndim > 1 else weight
            for weight in dense.get_weights()
        ]
    )
    return copy


def assert_left(model: Any, dense: Any, x: Any) -> None:
    weights = model.get_weights()
    distill_outputs(map_layers(model), map_layers(dense), [x])
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class OneWay(keras.layers.Layer):
    """Fails as TensorFlow does where an operation has no gradient."""

    def call(self, x: Any) -> Any:
        def forward(x: Any) -> Any:
            return tf.identity(x), backward

        def backward(_: Any) -> Any:
            raise LookupError("gradient registry has no entry for: OneWay")

        return tf.custom_gradient(forward)(x)


def halves(pattern: Pattern, sparsity: float, seed: int = 0) -> tuple[Any, Any, Plan, Any]:
    """A dense model, what one shot makes of it without fine-tuning, the plan and the samples."""
    dense, x = small_net(), images(SOME, seed)
    made = plan_of(dense, pattern, sparsity)
    return dense, prune_one_shot(dense, made, [x], finetune=False), made, x


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "sparsity"), [(Block(2, 1), 0.7), (NofM(1, 4), 0.75), (Channels(8), 0.5)]
)
def test_unseen_samples_are_answered_better_and_zeros_stay(
    pattern: Pattern, sparsity: float
) -> None:
    """With NofM the channels inside change their order, which the comparison must know."""
    dense, before, made, x = halves(pattern, sparsity)
    after = prune_one_shot(dense, made, [x])
    unseen = images(400, seed=1)
    assert error(after, dense, unseen) < 0.98 * error(before, dense, unseen)
    for old, new in zip(before.get_weights(), after.get_weights(), strict=True):
        if old.ndim > 1:
            np.testing.assert_array_equal(new == 0, old == 0)
            assert not np.signbit(new[new == 0]).any()


@pytest.mark.slow
def test_the_same_samples_give_the_same_weights_and_leave_the_statistics() -> None:
    dense, before, _, x = halves(Block(2, 1), 0.7)
    found = []
    for _ in range(2):
        copy = copy_model(before)
        distill_outputs(map_layers(copy), map_layers(dense), [x])
        found.append(copy)
    for first, second in zip(*(model.get_weights() for model in found), strict=True):
        np.testing.assert_array_equal(first, second)
    for name in ("moving_mean", "moving_variance"):
        for old, new in zip(before.layers, found[0].layers, strict=True):
            if hasattr(old, name):
                np.testing.assert_array_equal(getattr(old, name), getattr(new, name))


@pytest.mark.slow
def test_without_a_better_answer_to_samples_held_out_nothing_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dense = small_net()
    monkeypatch.setattr(finetune, "PEAK_LEARNING_RATE", 1e6)
    assert_left(damaged(dense), dense, images(SOME))


def test_few_samples_change_nothing() -> None:
    dense = small_net()
    assert_left(damaged(dense), dense, images(MIN_SAMPLES - 1))


def test_a_model_with_nothing_to_train_is_left() -> None:
    dense = small_net()
    model = damaged(dense)
    model.trainable = False
    assert_left(model, dense, images(SOME))


def test_a_model_that_cannot_be_trained_is_left_with_a_warning() -> None:
    net = small_net()
    dense = keras.Model(net.input, OneWay()(net.output))
    with pytest.warns(QualityWarning, match="Not fine-tuned: .*OneWay"):
        assert_left(damaged(dense), dense, images(SOME))


def test_a_large_network_gets_fewer_epochs_and_a_very_large_one_none() -> None:
    inputs = keras.Input((64, 64, 3))
    one_by_one = keras.Model(inputs, L.Conv2D(1000, 1, use_bias=False)(inputs))
    cost = 64 * 64 * 3000 * (finetune.TEACHER_PASSES + finetune.STUDENT_PASSES)

    def asked(model: Any, count: int) -> int:
        mapped = map_layers(model)
        shape = (count, 64, 64, 3)
        return affordable_epochs(mapped, mapped, [np.broadcast_to(np.float32(0), shape)])

    assert asked(one_by_one, 10) == MAX_EPOCHS
    three = int(finetune.MAX_MULTIPLICATIONS / (3 * cost))
    assert asked(one_by_one, three) == 3
    assert asked(one_by_one, 3 * three + 3) == 0
    open_size = keras.Input((None, None, 3))
    any_size = keras.Model(open_size, L.Conv2D(1000, 1, use_bias=False)(open_size))
    assert asked(any_size, three) == 3


def test_short_epochs_may_be_more_in_all() -> None:
    inputs = keras.Input((64, 64, 3))
    mapped = map_layers(keras.Model(inputs, L.Conv2D(1000, 1, use_bias=False)(inputs)))
    cost = 64 * 64 * 3000 * (finetune.TEACHER_PASSES + finetune.STUDENT_PASSES)

    def asked(count: int) -> int:
        x = [np.broadcast_to(np.float32(0), (count, 64, 64, 3))]
        return affordable_epochs(mapped, mapped, x)

    longest = int(finetune.SHORT_EPOCH / cost)
    assert asked(longest) == int(finetune.MAX_OF_SHORT / (cost * longest))
    assert asked(longest + 1) == int(finetune.MAX_MULTIPLICATIONS / (cost * (longest + 1)))


def test_a_smaller_student_costs_less_but_its_teacher_does_not() -> None:
    def net(width: int) -> Any:
        inputs = keras.Input((64, 64, 3))
        return map_layers(keras.Model(inputs, L.Conv2D(width, 1, use_bias=False)(inputs)))

    x = [np.broadcast_to(np.float32(0), (15_000, 64, 64, 3))]
    of_dense = 64 * 64 * 3000 * 15_000
    assert affordable_epochs(net(1000), net(1000), x) == 1
    assert affordable_epochs(net(100), net(1000), x) == 4
    assert int(finetune.MAX_MULTIPLICATIONS / (4 * of_dense)) == 1
    assert int(finetune.MAX_MULTIPLICATIONS / ((1 + 3 * 0.1) * of_dense)) == 4


@pytest.mark.parametrize(("side", "size"), [(32, MAX_BATCH_SIZE), (300, 8), (2000, 1)])
def test_large_images_make_small_batches(side: int, size: int) -> None:
    assert batch_size([np.broadcast_to(np.float32(0), (200, side, side, 3))]) == size


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_architecture_learns_to_answer_as_before_it_was_damaged(name: str) -> None:
    dense = build(name)
    copy, x = damaged(dense), samples(dense, SOME)

    def distance() -> float:
        pairs = zip(predict(dense, x), predict(copy, x), strict=True)
        return sum(float(np.mean((wanted - given) ** 2)) for wanted, given in pairs)

    before = distance()
    distill_outputs(map_layers(copy), map_layers(dense), x)
    assert distance() < 0.9 * before


def test_the_rate_is_lower_where_pruning_changed_less() -> None:
    wanted = [np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)]
    spread = float(np.std(wanted[0]))

    def rate(error: float) -> float:
        return peak_rate(wanted, [wanted[0] + np.float32(spread * np.sqrt(error))])

    highest = finetune.PEAK_LEARNING_RATE
    assert rate(1.0) == pytest.approx(highest)
    assert rate(finetune.DAMAGE_OF_PEAK / 2) == pytest.approx(highest / 2, rel=1e-3)
    assert rate(0.0) == finetune.LEAST_PEAK


def test_images_are_mirrored_only_where_the_dense_model_answers_alike() -> None:
    """The mean of an image is that of its mirror image; its left edge is not its right one."""
    inputs = keras.Input((16, 16, 3))
    blind = keras.Model(inputs, L.GlobalAveragePooling2D()(inputs))
    sided = keras.Model(inputs, L.Flatten()(inputs[:, :, :4]))
    x = [images(40)]
    assert answers_mirrored_alike(blind, x, predict(blind, x))
    assert not answers_mirrored_alike(sided, x, predict(sided, x))


def test_what_is_no_image_is_never_mirrored() -> None:
    inputs = keras.Input((8, 3))
    model = keras.Model(inputs, L.GlobalAveragePooling1D()(inputs))
    x = [np.ones((40, 8, 3), np.float32)]
    assert not answers_mirrored_alike(model, x, predict(model, x))


def augmented(x: Any, parts: FineTuning) -> Any:
    return np.asarray(_augmented([x], np.random.default_rng(0), parts)[0])


def test_what_is_no_image_is_shown_as_it_is() -> None:
    x = np.random.default_rng(0).normal(size=(16, 20, 3)).astype(np.float32)
    np.testing.assert_array_equal(augmented(x, FineTuning()), x)


def test_mixtures_are_of_two_images_in_the_dtype_of_the_samples() -> None:
    """Each image is of one value, so that a mixture lies between the values of two."""
    values = np.arange(0, 160, 10)
    for dtype in (np.uint8, np.float32):
        x = np.broadcast_to(values[:, None, None, None], (16, 16, 16, 3)).astype(dtype)
        shown = augmented(x, FineTuning(mirrored=False))
        assert shown.dtype == dtype
        assert (shown == shown[:, :1, :1, :1]).all()
        changed = shown[:, 0, 0, 0] != values
        assert 3 <= changed.sum() <= 13
        assert shown.min() >= 0
        assert shown.max() <= 150


def test_a_part_left_out_leaves_images_alone() -> None:
    """Images that are the same wherever they are moved, of two kinds: left half, right half."""
    x = np.zeros((16, 16, 16, 1), np.float32)
    x[:, :, :8] = np.arange(1, 17)[:, None, None, None]
    plain = augmented(x, FineTuning(mirrored=False, mixed=False))
    np.testing.assert_array_equal(plain[:, 0, 0, 0], np.arange(1, 17))
    turned = augmented(x, FineTuning(mirrored=True, mixed=False))[:, 0, 0, 0] == 0
    assert 3 <= turned.sum() <= 13


def test_a_weight_without_influence_on_the_outputs_stays() -> None:
    """A kernel behind an operation that passes no gradient, as rounding does."""
    inputs = keras.Input((6,))
    hidden = keras.ops.round(4 * L.Dense(8, name="cut_off")(inputs)) / 4
    dense = keras.Model(inputs, L.Dense(3, name="learns")(hidden))
    model = damaged(dense)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    x = np.random.default_rng(0).normal(size=(SOME, 6)).astype(np.float32)
    distill_outputs(map_layers(model), map_layers(dense), [x])
    np.testing.assert_array_equal(model.get_layer("cut_off").get_weights()[0], before["cut_off"][0])
    assert (model.get_layer("learns").get_weights()[0] != before["learns"][0]).any()


def test_layers_are_compared_in_the_channels_that_are_left() -> None:
    """The dense model's second and fourth channel are the smaller one's two."""
    wanted = {("layer", 0): tf.constant([[9.0, 1.0, 9.0, 2.0]]), ("other", 0): tf.zeros((1, 3))}
    given = {("layer", 0): tf.constant([[1.0, 2.0]]), ("other", 0): tf.zeros((1, 2))}
    left = {("layer", 0): (1, np.array([1, 3]))}
    assert float(_feature_distance(wanted, given, left)) == 0
    moved = {**given, ("layer", 0): tf.constant([[1.0, 3.0]])}
    assert float(_feature_distance(wanted, moved, left)) > 0
    assert float(_feature_distance(wanted, moved, {})) == 0, "other shapes are not compared"
