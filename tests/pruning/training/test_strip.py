"""Taking wrappers out again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.errors import CheckError, ModelError
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import map_layers
from edgeprune.keras_model.sparsity import layer_sparsities, reached_sparsity
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.training.schedule import ConstantSparsity, PolynomialDecay
from edgeprune.pruning.training.strip import check_same_outputs, relative_difference, strip_pruning
from edgeprune.pruning.training.wrap import prune_low_magnitude, wrap
from edgeprune.pruning.training.wrapper import PrunedModel, wrappers
from tests.pruning.training.test_wrapper import (
    Branches,
    branches,
    compiled,
    dense_net,
    fit,
    small_net,
)
from tests.support.architectures import ARCHITECTURES, build

layers = keras.layers
HALF = ConstantSparsity(0.5, 0)


def nested() -> Any:
    """A Functional model with a nested Functional and a nested Sequential one in it."""
    inner_input = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 1, name="inner_conv")(inner_input)
    inner = keras.Model(inner_input, layers.Add(name="add")([x, inner_input]), name="inner")
    tail = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Flatten(), layers.Dense(4)], name="tail"
    )
    inputs = keras.Input((8, 8, 4))
    return keras.Model(inputs, tail(inner(inputs)), name="outer")


def shared() -> Any:
    layer = layers.Dense(8, name="shared")
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(4, name="head")(layer(layer(inputs))))


def two_inputs() -> Any:
    """Named inputs, one of them of whole numbers; two outputs; an open size; an operation."""
    image = keras.Input((None, None, 4), name="image")
    token = keras.Input((3,), dtype="int32", name="token")
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(8, 3, name="conv")(image))
    y = layers.Flatten()(layers.Embedding(5, 4)(token))
    joined = layers.Concatenate()([x * 2.0, keras.ops.relu(y)])
    outputs = {"a": layers.Dense(4, name="a")(joined), "b": layers.Dense(2, name="b")(joined)}
    return keras.Model({"image": image, "token": token}, outputs)


def mixed() -> Any:
    """A subclassed model inside a Functional one."""
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(4, name="last")(branches()(inputs)))


def prune_now(model: Any) -> Any:
    """Makes the masks without training."""
    for wrapper in wrappers(model):
        wrapper.begin()
        wrapper.advance(1)
    return model


@pytest.mark.parametrize(
    "make",
    [dense_net, small_net, nested, shared, two_inputs, mixed, branches],
    ids=lambda f: f.__name__,
)
def test_the_plain_architecture_comes_back_with_its_zeros(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    model = make()
    stripped = strip_pruning(prune_now(prune_low_magnitude(model, HALF)))
    assert type(stripped) is type(model)
    assert stripped.name == model.name
    assert [(path, type(layer)) for path, layer in map_layers(stripped).layers.items()] == [
        (path, type(layer)) for path, layer in map_layers(model).layers.items()
    ]
    assert not wrappers(stripped)
    before = {row.path: row for row in layer_sparsities(model)}
    for row in layer_sparsities(stripped):
        pruned = "depthwise" not in row.path
        assert row.sparsity == (0.5 if pruned else before[row.path].sparsity)
    stripped.save(tmp_path / "stripped.keras")
    loaded = keras.models.load_model(tmp_path / "stripped.keras")
    for received, expected in zip(loaded.get_weights(), stripped.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["xnnpack-arm64", "ethos-u85", "ethos-u55"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_goes_by_a_plan_and_comes_back(name: str, device: str) -> None:
    model = build(name)
    made = plan(model, device)
    wrapped = wrap(model, made, HALF)
    assert {entry.path for w in wrappers(wrapped) for entry in w.masked_kernels} == {
        row.path.split("/")[-1] for row in made.pruned
    }
    stripped = strip_pruning(prune_now(wrapped))
    assert describe_layers(map_layers(stripped)) == describe_layers(map_layers(model))
    assert reached_sparsity(stripped, made) == pytest.approx(made.expected_sparsity, abs=0.01)


@pytest.mark.parametrize("make", [dense_net, nested, branches], ids=lambda f: f.__name__)
def test_a_plain_model_gives_an_equal_one(make: Callable[[], Any]) -> None:
    model = make()
    once = strip_pruning(model)
    twice = strip_pruning(once)
    assert type(twice) is type(model)
    assert not {id(v) for v in twice.variables} & {id(v) for v in model.variables}
    for received, expected in zip(twice.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_stripping_leaves_the_wrapped_model_and_its_compilation_alone() -> None:
    wrapped = prune_now(compiled(prune_low_magnitude(dense_net(), HALF), metrics=["accuracy"]))
    before = wrapped.get_weights()
    stripped = strip_pruning(wrapped)
    assert stripped.compiled
    assert type(stripped.optimizer) is type(wrapped.optimizer)
    for received, expected in zip(wrapped.get_weights(), before, strict=True):
        np.testing.assert_array_equal(received, expected)


def test_a_layer_comes_out_of_its_wrapper() -> None:
    wrapper = prune_low_magnitude(layers.Dense(4, name="plain"), HALF)
    wrapper.build((None, 8))
    wrapper.begin()
    stripped = strip_pruning(wrapper)
    assert (type(stripped), stripped.name) == (layers.Dense, "plain")
    assert (np.asarray(stripped.kernel) == 0).mean() == 0.5
    assert isinstance(strip_pruning(layers.ReLU()), layers.ReLU)


def test_a_schedule_that_is_not_over_is_said() -> None:
    wrapped = prune_now(prune_low_magnitude(dense_net(), PolynomialDecay(0.5, 0.8, 0, 1000)))
    with pytest.warns(UserWarning, match=r"step 1000. Received: .* 1 steps, .* of 0.500"):
        stripped = strip_pruning(wrapped)
    assert {row.sparsity for row in layer_sparsities(stripped)} == {0.5}
    with pytest.warns(UserWarning, match="UpdatePruningStep is among the callbacks"):
        strip_pruning(prune_low_magnitude(dense_net(), HALF))


@pytest.mark.slow
def test_a_model_that_is_built_by_its_data_goes_there_and_back() -> None:
    model = keras.Sequential([layers.Dense(8, name="a"), layers.ReLU(), layers.Dense(4, name="b")])
    wrapped = compiled(prune_low_magnitude(model, HALF))
    assert not strip_pruning(model).built
    fit(wrapped, (8,), epochs=1)
    stripped = strip_pruning(wrapped)
    assert {row.path: row.sparsity for row in layer_sparsities(stripped)} == {"a": 0.5, "b": 0.5}


def test_wrappers_that_a_layer_makes_itself_train_but_cannot_be_stripped_as_a_whole() -> None:
    class Own(keras.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.dense = prune_low_magnitude(layers.Dense(4, name="deep"), HALF)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

    model = prune_now(keras.Sequential([keras.Input((8,)), Own()], name="mine"))
    (wrapper,) = wrappers(model)
    assert wrapper.masked_kernels[0].sparsity == 0.5
    with pytest.raises(ModelError, match="mine: 'deep' is wrapped inside of a subclassed"):
        strip_pruning(model)
    assert (np.asarray(strip_pruning(wrapper).kernel) == 0).mean() == 0.5


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match="expected a Keras model or layer"):
        strip_pruning("model.keras")


def test_outputs_that_differ_are_an_error() -> None:
    model = dense_net()
    other = strip_pruning(model)
    check_same_outputs(model, other)
    other.layers[0].kernel.assign(np.asarray(other.layers[0].kernel) * 1.01)
    with pytest.raises(CheckError, match="output 0 of the stripped model must equal"):
        check_same_outputs(model, other)


@pytest.mark.parametrize(
    ("expected", "received", "difference"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0),
        ([1.0, -4.0], [2.0, -4.0], 0.25),
        ([np.nan, np.inf], [np.nan, np.inf], 0.0),
        ([0.0, 0.0], [0.5, 0.0], 0.5),
    ],
)
def test_differences_are_relative_to_the_largest_output(
    expected: list[float], received: list[float], difference: float
) -> None:
    assert relative_difference(np.array(expected), np.array(received)) == difference


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_output_that_is_not_finite_on_one_side_only_differs(bad: float) -> None:
    assert not relative_difference(np.array([1.0, 1.0]), np.array([bad, 1.0])) <= 1e-6


def test_a_wrapped_subclassed_model_is_a_model() -> None:
    wrapped = prune_low_magnitude(branches(), HALF)
    assert isinstance(wrapped, PrunedModel)
    assert isinstance(strip_pruning(prune_now(wrapped)), Branches)
