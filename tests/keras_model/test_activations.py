"""Activations that are replaced before training: which ones, and what the model computes then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.errors import ModelError, QualityWarning
from edgeprune.core.plan import ActivationPlan
from edgeprune.core.terms import CheaperActivation
from edgeprune.keras_model.activations import find_activations, replace_activations
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.training.settings import Training

L = keras.layers

Curve = Callable[[Any], Any]


def relu6(x: Any) -> Any:
    return np.clip(x, 0, 6)


def hard_swish(x: Any) -> Any:
    return x * relu6(x + 3) / 6


CURVES: dict[CheaperActivation, Curve] = {"hard-swish": hard_swish, "relu6": relu6}


def as_layer(x: Any) -> Any:
    return L.Activation("swish", name="act")(x)


def as_argument(x: Any) -> Any:
    return L.Dense(3, activation="gelu", kernel_initializer="identity", name="act")(x)


def as_function(x: Any) -> Any:
    return keras.ops.silu(x)


def as_product(x: Any) -> Any:
    return L.Multiply(name="act")([x, L.Activation("sigmoid")(x)])


def as_swapped_product(x: Any) -> Any:
    return L.Multiply(name="act")([L.Activation("sigmoid")(x), x])


def as_product_of_operators(x: Any) -> Any:
    return x * keras.ops.sigmoid(x)


def in_a_nested_model(x: Any) -> Any:
    layers = [keras.Input((4, 4, 3)), L.Activation("mish", name="act")]
    return keras.Sequential(layers, name="inner")(x)


SWISHES = [
    as_layer,
    as_argument,
    as_function,
    as_product,
    as_swapped_product,
    as_product_of_operators,
    in_a_nested_model,
]


def relu6_layer(x: Any) -> Any:
    return L.ReLU(6.0)(x)


def sigmoid(x: Any) -> Any:
    return L.Activation("sigmoid")(x)


def gate_of_something_else(x: Any) -> Any:
    return L.Multiply()([x, L.Activation("sigmoid")(L.Activation("tanh")(x))])


def swish_on_one_pixel(x: Any) -> Any:
    return as_layer(L.GlobalAveragePooling2D(keepdims=True)(x))


def swish_on_a_vector(x: Any) -> Any:
    return as_layer(L.GlobalAveragePooling2D()(x))


def hard_swish_layer(x: Any) -> Any:
    return L.Activation("hard_silu", name="act")(x)


OTHERS = [
    relu6_layer,
    sigmoid,
    gate_of_something_else,
    swish_on_one_pixel,
    swish_on_a_vector,
    hard_swish_layer,
]


def around(make: Callable[[Any], Any]) -> Any:
    """A model that is one activation between layers that change nothing."""
    inputs = keras.Input((4, 4, 3), name="image")
    return keras.Model(inputs, L.Activation("linear", name="end")(make(inputs)))


def computed(model: Any, x: Any) -> Any:
    return np.asarray(model(x, training=False))


IMAGE = np.random.default_rng(0).normal(0, 4, (2, 4, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("make", SWISHES)
@pytest.mark.parametrize("cheaper", CURVES)
def test_every_form_of_swish_becomes_the_cheaper_function(
    make: Callable[[Any], Any], cheaper: CheaperActivation
) -> None:
    model = around(make)
    rows = find_activations(map_layers(model), cheaper)
    assert [row.after for row in rows] == [cheaper]
    changed = replace_activations(model, rows)
    np.testing.assert_allclose(computed(changed, IMAGE), CURVES[cheaper](IMAGE), atol=1e-5)
    assert find_activations(map_layers(changed), cheaper) == ()
    again = replace_activations(changed, rows)
    np.testing.assert_array_equal(computed(again, IMAGE), computed(changed, IMAGE))


@pytest.mark.parametrize("make", OTHERS)
def test_what_is_cheap_or_on_one_position_stays(make: Callable[[Any], Any]) -> None:
    assert find_activations(map_layers(around(make)), "hard-swish") == ()


def test_hard_swish_can_become_relu6() -> None:
    model = around(hard_swish_layer)
    rows = find_activations(map_layers(model), "relu6")
    assert rows == (ActivationPlan(path="act", before="hard_silu", after="relu6"),)


def mixed_model() -> Any:
    """Weights of several shapes around a product, so that none may end up in another's place."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    x = L.Conv2D(8, 3, 2, padding="same", activation="swish", name="stem")(inputs)
    y = L.Conv2D(8, 1, name="pw")(x)
    x = L.Add(name="sum")([x, L.Multiply(name="swish")([y, L.Activation("sigmoid")(y)])])
    x = L.Conv2D(8, 1, name="pw_2")(x)
    x = L.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, L.Dense(4, name="scores")(x))
    model.compile("adam", "mse")
    return model


def test_weights_names_and_compilation_are_carried_over() -> None:
    model = mixed_model()
    rows = find_activations(map_layers(model), "relu6")
    changed = replace_activations(model, rows)
    for name in ("stem", "pw", "pw_2", "scores"):
        for old, new in zip(
            model.get_layer(name).get_weights(), changed.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(old, new)
    assert changed.inputs[0].name == model.inputs[0].name
    assert changed.compiled
    assert [row.path for row in rows] == ["stem", "swish"]
    np.testing.assert_array_equal(model.get_layer("stem").activation(IMAGE), keras.ops.silu(IMAGE))


def test_a_row_that_does_not_fit_the_model_is_an_error() -> None:
    row = ActivationPlan(path="pw", before="silu", after="relu6")
    with pytest.raises(ModelError, match=r"pw: expected a layer with the activation silu"):
        replace_activations(mixed_model(), [row])


def test_a_plan_replaces_activations_and_pruning_in_one_shot_warns_of_it() -> None:
    model = mixed_model()
    made = plan(model, "ethos-u55", sparsity=0.5, activation="hard-swish")
    assert [row.path for row in made.activation] == ["stem", "swish"]
    assert made.to_json()["activation"][0] == {
        "path": "stem",
        "before": "silu",
        "after": "hard-swish",
    }
    assert "--activation hard-swish" in made.next_step
    with pytest.warns(QualityWarning, match="replaces 2 activations"):
        pruned = prune(model, made)
    assert find_activations(map_layers(pruned), "hard-swish") == ()
    assert find_activations(map_layers(model), "hard-swish") == made.activation


def test_plans_keep_activations_unless_asked() -> None:
    assert plan(mixed_model(), "xnnpack-x86", sparsity=0.5).activation == ()


@pytest.mark.slow
def test_training_learns_from_the_model_with_its_own_activations() -> None:
    """Outputs come nearer to the dense model's, though the function was changed."""
    model = mixed_model()
    made = plan(model, "ethos-u55", sparsity=0.5, activation="relu6")
    x = np.random.default_rng(0).normal(0, 3, (64, 8, 8, 3)).astype(np.float32)
    right = computed(model, x)
    with pytest.warns(QualityWarning, match="replaces 2 activations"):
        untrained = computed(prune(model, made), x)
    trained = prune(model, made, [x], Training(epochs=30, batch_size=16, learning_rate=0.01))
    assert find_activations(map_layers(trained), "relu6") == ()
    assert np.square(computed(trained, x) - right).mean() < np.square(untrained - right).mean()
