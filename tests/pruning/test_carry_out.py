"""`edgeprune.prune` carries out all that a plan says, whichever way it is called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import edgeprune
from edgeprune.cli import cli
from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, InputError, PlanError, QualityWarning
from edgeprune.keras_model import layers as keras_layers
from edgeprune.keras_model.files import load_model
from edgeprune.keras_model.layers import map_layers
from edgeprune.keras_model.padding import find_asymmetric, make_symmetric
from edgeprune.keras_model.sparsity import layer_sparsities
from tests.support.architectures import build, samples

L = keras.layers


def weights(model: Any) -> dict[str, Any]:
    return {weight.path: np.asarray(weight) for weight in model.weights}


def assert_same_model(first: Any, second: Any) -> None:
    """Names, padding and every weight, bit for bit."""
    assert list(map_layers(first).layers) == list(map_layers(second).layers)
    assert json.dumps(first.get_config()) == json.dumps(second.get_config())
    one, other = weights(first), weights(second)
    assert list(one) == list(other)
    for path, values in one.items():
        np.testing.assert_array_equal(values, other[path])


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [0, 1])
def test_a_plan_with_symmetric_padding_is_carried_out_from_python_as_by_the_command(
    epochs: int, tmp_path: Path
) -> None:
    model = build("mobilenet_v1")
    x = samples(model, 40)
    y = np.arange(40) % 10
    made = edgeprune.plan(model, "xnnpack-arm64", sparsity=0.7, padding="symmetric")
    assert [row.path for row in made.padding] == ["stem", "block_2_dw"]
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x=x[0], y=y)
    (tmp_path / "p.json").write_text(made.model_dump_json())
    command = ["prune", "m.keras", "--device", "xnnpack-arm64", "--plan", "p.json"]
    command += ["--data", "d.npz", "--epochs", str(epochs), "-o", "out.keras"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    training = edgeprune.Training(epochs=epochs) if epochs else None
    pruned = edgeprune.prune(load_model(tmp_path / "m.keras"), made, Data((x[0],), y), training)
    assert find_asymmetric(map_layers(pruned)) == ()
    assert_same_model(pruned, load_model(tmp_path / "out.keras"))


def padded_net() -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3), name="image")
    x = L.Conv2D(16, 3, 2, padding="same", activation="relu", name="stem")(inputs)
    x = L.Conv2D(16, 1, activation="relu", name="point")(x)
    x = L.Conv2D(16, 1, name="point_2")(x)
    return keras.Model(inputs, L.Dense(4, name="out")(L.GlobalAveragePooling2D()(x)), name="net")


def plan_of(model: Any, device: str = "xnnpack-arm64", **options: Any) -> Any:
    return edgeprune.plan(model, device, sparsity=0.7, **options)


@pytest.mark.slow
def test_the_older_names_carry_out_padding_too() -> None:
    model = padded_net()
    made = plan_of(model, padding="symmetric")
    assert made.padding
    x = samples(model, 40)
    first = edgeprune.prune_one_shot(model, made, x)
    assert_same_model(first, edgeprune.prune(model, made, x))
    data = Data(tuple(x), np.arange(40) % 4)
    trained = edgeprune.train_pruned(model, made, data, epochs=1, batch_size=20)
    training = edgeprune.Training(epochs=1, batch_size=20)
    assert_same_model(trained, edgeprune.prune(model, made, data, training))
    for pruned in (first, trained):
        assert find_asymmetric(map_layers(pruned)) == ()
        assert "stem_symmetric_pad" in map_layers(pruned).layers


def test_padding_that_is_symmetric_already_is_left_as_it_is() -> None:
    """So a script that pads by itself before it prunes goes on working."""
    model = padded_net()
    made = plan_of(model, padding="symmetric")
    x = samples(model, 40)
    assert_same_model(
        edgeprune.prune(make_symmetric(model, made.padding), made, x),
        edgeprune.prune(model, made, x),
    )


def test_a_plan_without_padding_keeps_the_function_of_an_unpruned_model() -> None:
    model = padded_net()
    made = plan_of(model)
    dense = made.model_copy(
        update={"layers": tuple(r.model_copy(update={"pattern": None}) for r in made.layers)}
    )
    x = samples(model, 3)
    pruned = edgeprune.prune(model, dense, x)
    np.testing.assert_array_equal(pruned.predict(x[0], verbose=0), model.predict(x[0], verbose=0))


def test_training_a_plan_that_prunes_nothing_changes_nothing() -> None:
    model = padded_net()
    made = edgeprune.plan(model, "ethos-u55", sparsity=0.0)
    data = Data(tuple(samples(model, 8)), np.arange(8) % 4)
    assert_same_model(edgeprune.prune(model, made, data, edgeprune.Training(epochs=1)), model)


def test_a_model_may_be_given_by_its_path(tmp_path: Path) -> None:
    model = padded_net()
    model.save(tmp_path / "m.keras")
    made = plan_of(model)
    assert_same_model(edgeprune.prune(tmp_path / "m.keras", made), edgeprune.prune(model, made))


def test_what_does_not_go_together_is_refused() -> None:
    model = padded_net()
    made = plan_of(model)
    with pytest.raises(DataError, match="Training needs samples. Received: none"):
        edgeprune.prune(model, made, None, edgeprune.Training(epochs=1))
    with pytest.raises(DataError, match="data: expected samples. Received: none"):
        edgeprune.prune(model, made, iter([]))
    other = keras.Sequential([keras.Input((4,)), L.Dense(4, name="other")])
    with pytest.raises(PlanError, match="names layer 'image'|which this model does not have"):
        edgeprune.prune(other, made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`epochs` is a number of at least 1. Received: 0"),
        ({"epochs": 1, "batch_size": 0}, "`batch_size` is a number of at least 1"),
        ({"epochs": 1, "patience": 0}, "`patience` is a number of at least 1"),
        ({"epochs": 1, "learning_rate": float("nan")}, "`learning_rate` must be positive"),
        ({"epochs": 1, "start": "middle"}, "`start` is 'auto', 'one-shot' or 'gradual'"),
    ],
)
def test_training_refuses_values_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        edgeprune.Training(**options)


@pytest.mark.parametrize(
    "device",
    [
        "xnnpack-x86",
        pytest.param("ethos-u85", marks=pytest.mark.slow),
        pytest.param("ethos-u55", marks=pytest.mark.slow),
    ],
)
def test_the_layers_of_each_model_are_listed_once(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Any] = []
    walk = keras_layers._walk

    def counted(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
        if not prefix:
            listed.append(model)
        return walk(model, prefix)

    model = build("mobilenet_v2")
    made = edgeprune.plan(model, device, sparsity=0.5)
    monkeypatch.setattr(keras_layers, "_walk", counted)
    pruned = edgeprune.prune(model, made, samples(model, 40))
    assert len({id(found) for found in listed}) == len(listed)
    assert 2 <= len(listed) <= 5
    assert sum(row.zeros for row in layer_sparsities(pruned, made)) > 0


def test_channels_are_removed_from_a_model_whose_named_inputs_are_not_in_order() -> None:
    image, meta = keras.Input((8, 8, 4), name="zimage"), keras.Input((6,), name="ameta")
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(32, 1, name="first")(image)))
    x = L.GlobalAveragePooling2D()(L.Conv2D(32, 1, name="second")(x))
    outputs = L.Dense(4, name="out")(L.Dense(64, name="mixed")(L.Concatenate()([x, meta])))
    model = keras.Model({"zimage": image, "ameta": meta}, outputs)
    made = edgeprune.plan(model, "xnnpack-x86", sparsity=0.3)
    assert made.pruned
    pruned = edgeprune.prune(model, made, samples(model, 40))
    assert pruned.count_params() < model.count_params()
    assert [tensor.name for tensor in pruned.inputs] == [tensor.name for tensor in model.inputs]


@pytest.mark.slow
def test_a_model_whose_named_inputs_are_not_in_order_trains() -> None:
    first, second = keras.Input((8,), name="z"), keras.Input((6,), name="a")
    x = L.Dense(16, activation="relu", name="mixed")(L.Concatenate()([first, second]))
    model = keras.Model({"z": first, "a": second}, L.Dense(4, name="out")(x))
    made = edgeprune.plan(model, "ethos-u55", sparsity=0.5)
    data = Data(tuple(samples(model, 40)), np.arange(40) % 4)
    training = edgeprune.Training(epochs=1, batch_size=20, validation=0.2)
    pruned = edgeprune.prune(model, made, data, training)
    assert {row.path: row.sparsity for row in layer_sparsities(pruned)} == {
        "mixed": 0.5,
        "out": 0.5,
    }


@pytest.mark.slow
def test_arrays_without_labels_train_towards_the_dense_model() -> None:
    model = padded_net()
    made = plan_of(model)
    x = samples(model, 40)
    training = edgeprune.Training(epochs=1, batch_size=20)
    with pytest.warns(QualityWarning, match="There are no labels"):
        first = edgeprune.prune(model, made, x, training)
    assert_same_model(first, edgeprune.prune(model, made, Data(tuple(x)), training))
