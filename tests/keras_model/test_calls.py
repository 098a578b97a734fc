"""The one walk over Keras' graph, and the map of a model's layers."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.keras_model.calls import Call, read_calls
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.interface import call_model, infer, input_specs
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import map_layers
from tests.support.architectures import ARCHITECTURES, build, samples

L = keras.layers


def computed(model: Any, x: Sequence[Any]) -> list[Any]:
    """What comes out of a model when its calls are run one by one."""
    return read_calls(model).apply(x, lambda call, values: call.run(values))


def paths(model: Any) -> list[str]:
    return [call.path for call in read_calls(model, 1).calls]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_running_the_calls_of_a_model_gives_what_the_model_gives(name: str) -> None:
    model = build(name)
    x = samples(model, 3)
    found, expected = computed(model, x), infer(model, x)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def two_inputs() -> Any:
    """Subtracts twice its second input from its first; their names are not in order."""
    first, second = keras.Input((3,), name="z"), keras.Input((3,), name="a")
    doubled = L.Rescaling(2.0, name="double")(second)
    return keras.Model([first, second], L.Subtract(name="minus")([first, doubled]), name="inner")


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_a_nested_model_that_takes_a_list_is_opened_and_a_dict_goes_to_it_by_names(
    structure: str,
) -> None:
    z, a = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    inner = two_inputs()
    made = inner([z, a]) if structure == "list" else inner({"a": a, "z": z})
    model = keras.Model([z, a], made)
    assert paths(model) == ["inner/double", "inner/minus"]
    x = [np.full((1, 3), 10.0, np.float32), np.ones((1, 3), np.float32)]
    assert np.asarray(computed(model, x)[0]).tolist() == [[8.0, 8.0, 8.0]]


def test_a_nested_model_that_is_called_with_more_than_its_inputs_stays_one_call() -> None:
    inputs = keras.Input((3,))
    inner = keras.Sequential([keras.Input((3,)), L.Dense(3, name="dense")], name="inner")
    assert paths(keras.Model(inputs, inner(inputs, training=True))) == ["inner"]
    assert paths(keras.Model(inputs, inner(inputs, training=False))) == ["inner/dense"]


def test_a_model_without_a_graph_is_one_call_whose_outputs_are_not_kept() -> None:
    class Plain(keras.Model):
        """Twice its input, in code of its own."""

        def call(self, x: Any) -> Any:
            return x * 2

    model = Plain(name="plain")
    model(np.ones((1, 2), np.float32))
    graph = read_calls(model, 1)
    (call,) = graph.calls
    assert (call.path, call.inputs, call.outputs, graph.outputs) == ("plain", (0,), (), ())
    assert call.run([np.ones((2, 2), np.float32)]) == []


def test_every_call_of_what_is_shared_has_a_key_of_its_own_that_a_copy_has_too() -> None:
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), L.Dense(4, name="dense")], name="inner")
    shared = L.Dense(4, name="shared")
    model = keras.Model(inputs, inner(shared(inner(shared(inputs)))))
    keys = [call.key for call in read_calls(model).calls]
    assert [path for path, _ in keys] == ["shared", "inner/dense", "shared", "inner/dense"]
    assert keys[0] != keys[2]
    assert [call.key for call in read_calls(copy_model(model)).calls] == keys
    listed = [path for path in map_layers(model).layers if "input" not in path]
    assert sorted(listed) == ["inner/dense", "shared"]


def test_values_are_let_go_of_after_their_last_use() -> None:
    model = keras.Sequential([keras.Input((2,)), *(L.ReLU(name=f"r{n}") for n in range(5))])

    class Value:
        """Something that can be watched."""

    made: list[Any] = []
    alive: list[int] = []

    def step(_: Call, __: list[Value]) -> list[Value]:
        gc.collect()
        alive.append(sum(reference() is not None for reference in made))
        value = Value()
        made.append(weakref.ref(value))
        return [value]

    read_calls(model).apply([Value()], step)
    assert alive == [0, 1, 1, 1, 1]


def test_takers_and_readers_are_those_behind_a_layer_nested_models_opened() -> None:
    inputs = keras.Input((8, 8, 3))
    conv = L.Conv2D(4, 1, name="conv")
    inner = keras.Sequential([keras.Input((8, 8, 4)), L.BatchNormalization(name="bn")], name="in")
    x = conv(inputs)
    model = keras.Model(inputs, L.Add(name="add")([inner(x), x]))
    graph = read_calls(model)
    assert [call.path for call in graph.readers_of(conv)] == ["in/bn", "add"]
    assert graph.readers_of(model.get_layer("add")) == ()


def test_a_layer_map_names_every_layer_once_and_knows_the_way_back() -> None:
    model = build("nested")
    mapped = map_layers(model)
    assert {mapped.path_of(layer) for layer in mapped.layers.values()} == set(mapped.layers)
    assert mapped.path_of(L.ReLU()) is None
    kernels = {path: tuple(kernel.shape) for path, kernel in mapped.kernels.items()}
    infos = {info.path: info.shape for info in describe_layers(mapped) if info.shape is not None}
    assert kernels == infos
    assert kernels


def test_a_model_of_named_inputs_is_called_with_its_own_structure() -> None:
    """Keras refuses a list where the names of a dict are not in alphabetical order."""
    first, second = keras.Input((2,), name="z"), keras.Input((3,), name="a")
    model = keras.Model({"z": first, "a": second}, L.Concatenate()([first, second]))
    assert [spec.name for spec in input_specs(model)] == ["a", "z"]
    x = [np.full((1, 3), 7.0, np.float32), np.zeros((1, 2), np.float32)]
    assert np.asarray(call_model(model, x, training=True)).tolist() == [[0, 0, 7, 7, 7]]
