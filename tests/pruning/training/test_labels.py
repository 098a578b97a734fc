"""A loss that is not there, and labels that do not fit, are refused before anything is computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, InputError, ModelError, QualityWarning
from edgeprune.core.pattern import Unstructured
from edgeprune.core.sources import read_data
from edgeprune.keras_model.files import load_model, lost_compilation
from edgeprune.keras_model.interface import input_specs, output_names, output_packer, predict
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.training.distill import Distillation
from edgeprune.pruning.training.labels import check_training
from edgeprune.pruning.training.learning_rate import compile_for_training
from edgeprune.pruning.training.losses import loss_name, replacing_loss
from edgeprune.pruning.training.settings import Training
from tests.pruning.training.test_wrapper import planned

L = keras.layers
COUNT = 40
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(COUNT, 6)).astype(np.float32)
Y = RANDOM.integers(0, 3, COUNT)
ALONE = Distillation(0.0)
ONE_HOT = np.eye(3, dtype=np.float32)[Y]


def net(outputs: int = 3, activation: str | None = "softmax", loss: Any = None) -> Any:
    model = keras.Sequential([keras.Input((6,)), L.Dense(outputs, activation=activation)])
    if loss is not None:
        model.compile("adam", loss)
    return model


def huberish(y: Any, predicted: Any) -> Any:
    return keras.ops.mean(keras.ops.log(1 + keras.ops.square(y - predicted)), -1)


def check(model: Any, y: Any, **training: Any) -> None:
    check_training(model, Data((X,), y), Training(epochs=1, **training))


def saved(tmp_path: Path, model: Any) -> Any:
    model.save(tmp_path / "m.keras")
    return load_model(tmp_path / "m.keras")


def test_a_loss_that_cannot_be_loaded_is_refused_with_keras_own_error(tmp_path: Path) -> None:
    model = saved(tmp_path, net(loss=huberish))
    assert "huberish" in (lost_compilation(model) or "")
    with pytest.raises(ModelError, match=r"huberish.*--loss"):
        check(model, Y)
    check(model, Y, loss="sparse_categorical_crossentropy")
    check(model, None)


def test_without_its_metrics_a_model_is_compiled_with_its_own_loss(tmp_path: Path) -> None:
    model = net()
    model.compile("adam", "mse", metrics=[huberish])
    model.save(tmp_path / "m.keras")
    with pytest.warns(QualityWarning, match="huberish"):
        loaded = load_model(tmp_path / "m.keras")
    assert (loaded.loss, lost_compilation(loaded)) == ("mse", None)


def test_a_model_that_was_never_compiled_has_lost_nothing(tmp_path: Path) -> None:
    assert lost_compilation(saved(tmp_path, net())) is None


@pytest.mark.parametrize(
    ("model", "y", "expected"),
    [
        (net(1, "sigmoid"), Y % 2, "binarycrossentropy"),
        (net(1, "sigmoid"), (Y % 2)[:, None].astype(np.float32), "binarycrossentropy"),
        (net(1, "sigmoid"), Y, "sparsecategoricalcrossentropy"),
        (net(1, None), Y % 2, "sparsecategoricalcrossentropy"),
        (net(3), Y, "sparsecategoricalcrossentropy"),
        (net(1, None, "mse"), Y, None),
    ],
)
def test_the_default_loss_goes_by_the_output_and_the_labels(
    model: Any, y: Any, expected: str | None
) -> None:
    loss = replacing_loss(model, Data((X,), y), None)
    assert (loss if loss is None else loss_name(loss)) == expected


@pytest.mark.parametrize("name", ["categorical_crossentropy", "CategoricalCrossentropy"])
@pytest.mark.parametrize(("activation", "logits"), [("softmax", False), (None, True)])
def test_a_named_crossentropy_takes_what_the_model_gives(
    name: str, activation: str | None, logits: bool
) -> None:
    loss = replacing_loss(net(3, activation), Data((X,), ONE_HOT), name)
    assert isinstance(loss, keras.losses.CategoricalCrossentropy)
    assert loss.get_config()["from_logits"] is logits


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(InputError, match="name of a Keras loss"):
        check(net(), Y, loss="huberish")


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (net(), Y),
        (net(), Y[:, None].astype(np.float64)),
        (net(loss="categorical_crossentropy"), ONE_HOT),
        (net(1, None, "mse"), Y + 0.5),
        (net(1, None, "mse"), (Y + 0.5)[:, None]),
        (net(loss=huberish), ONE_HOT),
        (net(1, "sigmoid"), Y % 2 == 1),
    ],
)
def test_labels_that_fit_are_accepted(model: Any, y: Any) -> None:
    check(model, y)


@pytest.mark.parametrize(
    ("model", "y", "said"),
    [
        (net(), Y + 1, "from 0 to 2"),
        (net(), Y - 1, "from 0 to 2"),
        (net(), Y + 0.5, "whole number"),
        (net(), ONE_HOT, "whole number"),
        (net(), np.array(["a", "b", "c"])[Y], "numbers. Received: type <U1"),
        (net(), np.where(Y == 0, np.nan, Y), "finite labels"),
        (net(1, None), Y * 0.5, "--loss"),
        (net(1, "sigmoid", "binary_crossentropy"), Y, "from 0 to 1"),
        (net(loss="categorical_crossentropy"), Y, "[n, 3]"),
        (net(loss="categorical_crossentropy"), np.eye(5)[Y], "Received: shape [40, 5]"),
        (net(loss=keras.losses.MeanSquaredError()), Y[:, None], "meansquarederror"),
        (net(loss="sparse_categorical_crossentropy"), Y + 1, "from 0 to 2"),
        (net(loss=huberish), np.eye(5, dtype=np.float32)[Y], "compiled loss takes"),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_training(model: Any, y: Any, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        check(model, y)


def two_outputs(loss: Any = ("sparse_categorical_crossentropy", "mse")) -> Any:
    x = keras.Input((6,), name="x")
    kind = L.Dense(3, activation="softmax", name="kind")(x)
    model = keras.Model(x, [kind, L.Dense(1, name="size")(x)])
    if loss is not None:
        model.compile("adam", list(loss))
    return model


def test_every_output_has_labels_of_its_own(tmp_path: Path) -> None:
    model = two_outputs()
    np.savez(tmp_path / "d.npz", x=X, y_kind=Y, y_size=X[:, 0])
    data = read_data(
        tmp_path / "d.npz", input_specs(model), outputs=output_names(model), labels=True
    )
    assert [array.tolist() for array in data.labels] == [Y.tolist(), X[:, 0].tolist()]
    assert [len(array) for array in data.take(slice(3)).labels] == [3, 3]
    check(model, data.y)
    with pytest.raises(DataError, match=r"`y_kind`: expected one whole number from 0 to 2"):
        check(model, (Y + 1, X[:, 0]))
    with pytest.raises(DataError, match=r"y_kind, y_size"):
        check(model, Y)
    with pytest.raises(ModelError, match="no default loss"):
        check(two_outputs(None), (Y, X[:, 0]))


def test_labels_of_some_outputs_are_not_enough(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, y_kind=Y)
    with pytest.raises(DataError, match=r"y_kind, y_size. Received: y_kind"):
        read_data(tmp_path / "d.npz", input_specs(two_outputs()), outputs=("kind", "size"))


def test_the_model_is_not_touched_by_the_look() -> None:
    model = net(loss=huberish)
    before = [array.copy() for array in model.get_weights()]
    check(model, ONE_HOT)
    assert not model._compile_loss.built
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["list", "dict"])
def test_training_goes_by_the_labels_of_every_output(structure: str) -> None:
    model = two_outputs(None)
    y = (X[:, :3].argmax(1), 2 * X[:, 5])
    if structure == "dict":
        size, kind = model.outputs[1], model.outputs[0]
        model = keras.Model(model.input, {"size": size, "kind": kind})
        y = (y[1], y[0]) if output_names(model)[0] == "size" else y
    losses = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    model.compile("adam", losses if structure == "dict" else list(losses.values()))
    rows = planned(model, kind=(Unstructured(), 0.3))
    training = Training(epochs=60, batch_size=8, learning_rate=0.05, distillation=ALONE)
    trained = prune(model, rows, Data((X,), y), training)
    kind, size = (trained.get_layer(name) for name in losses)
    told = keras.Model(trained.inputs, [kind.output, size.output]).predict(X, verbose=0)
    assert np.mean(told[0].argmax(1) == X[:, :3].argmax(1)) > 0.8
    assert np.mean((told[1][:, 0] - 2 * X[:, 5]) ** 2) < 0.2


@pytest.mark.slow
def test_a_named_loss_is_trained_with_and_the_models_own_stays() -> None:
    model = net(1, None)
    rows = planned(model, **{model.layers[0].name: (Unstructured(), 0.3)})
    training = Training(
        epochs=60, batch_size=8, learning_rate=0.05, distillation=ALONE, loss="mean_squared_error"
    )
    trained = prune(model, rows, Data((X,), 2 * X[:, 5]), training)
    assert np.mean((trained.predict(X, verbose=0)[:, 0] - 2 * X[:, 5]) ** 2) < 0.2
    assert not trained.compiled


EACH = {"kind": "sparse_categorical_crossentropy", "size": "mean_squared_error"}
"""A loss by the name of each output."""


def test_a_loss_is_named_for_each_output_and_takes_what_that_gives() -> None:
    found = replacing_loss(two_outputs(None), None, EACH)
    assert isinstance(found, tuple)
    assert [loss_name(loss) for loss in found] == [
        "sparsecategoricalcrossentropy",
        "meansquarederror",
    ]
    assert found[0].get_config()["from_logits"] is False
    inputs = keras.Input((6,))
    ends = [L.Dense(2, name="bare")(inputs), L.Dense(2, "softmax", name="soft")(inputs)]
    alike = replacing_loss(keras.Model(inputs, ends), None, "categorical_crossentropy")
    assert isinstance(alike, tuple)
    assert [loss.get_config()["from_logits"] for loss in alike] == [True, False]
    check(two_outputs(None), (Y, X[:, 0]), loss=EACH)
    with pytest.raises(DataError, match=r"`y_kind`: expected one whole number from 0 to 2"):
        check(two_outputs(None), (Y + 1, X[:, 0]), loss=EACH)


def test_an_output_that_no_loss_is_named_for_keeps_the_compiled_one() -> None:
    found = replacing_loss(two_outputs(), None, {"kind": "kl_divergence"})
    assert isinstance(found, tuple)
    assert [loss_name(loss) for loss in found] == ["kldivergence", "meansquarederror"]


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            {"kind": "mse"},
            "each of the outputs kind, size. Received: none for size. Add --loss size=",
        ),
        ({**EACH, "kin": "mse"}, "kind, size. Received: one for 'kin'. Did you mean 'kind'?"),
    ],
)
def test_losses_that_do_not_fit_the_outputs_are_refused_by_their_names(
    loss: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        check(two_outputs(None), (Y, X[:, 0]), loss=loss)


def test_outputs_without_a_loss_are_told_how_to_name_one() -> None:
    with pytest.raises(ModelError, match=r"--loss kind=NAME --loss size=NAME, or one for all"):
        check(two_outputs(None), (Y, X[:, 0]))


@pytest.mark.parametrize("structure", ["list", "dict"])
@pytest.mark.parametrize("loss", [EACH, "binary_crossentropy"])
def test_a_model_is_compiled_with_the_loss_of_each_output(structure: str, loss: Any) -> None:
    model = two_outputs(None)
    if structure == "dict":
        kind, size = model.outputs
        model = keras.Model(model.input, {"size": size, "kind": kind})
    chosen = replacing_loss(model, None, loss)
    compile_for_training(model, model, model, 0.1, 10, 1.0, chosen)
    labels = {"kind": ONE_HOT if isinstance(loss, str) else Y, "size": np.tanh(X[:, :1]) ** 2}
    told = [labels[name] for name in output_names(model)]
    found = model.evaluate(
        X, output_packer(model)(told), batch_size=COUNT, verbose=0, return_dict=True
    )
    assert {"kind_loss", "size_loss", "kind_accuracy"} <= found.keys()
    predicted = dict(zip(output_names(model), predict(model, [X]), strict=True))
    if loss is EACH:
        wrong = float(np.mean((predicted["size"] - labels["size"]) ** 2))
        assert found["size_loss"] == pytest.approx(wrong, rel=1e-4)
        right = np.mean(predicted["kind"].argmax(1) == Y)
        assert found["kind_accuracy"] == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_a_named_loss_counts_as_much_as_the_compiled_one_did(structure: str) -> None:
    model = two_outputs(None)
    losses, weights = dict(EACH), {"kind": 0.0, "size": 3.0}
    if structure == "dict":
        kind, size = model.outputs
        model = keras.Model(model.input, {"size": size, "kind": kind})
        model.compile("adam", losses, loss_weights=weights)
    else:
        model.compile("adam", list(losses.values()), loss_weights=list(weights.values()))
    chosen = replacing_loss(model, None, {"size": "mean_absolute_error"})
    compile_for_training(model, model, model, 0.1, 10, 1.0, chosen)
    labels = {"kind": Y, "size": np.tanh(X[:, :1])}
    told = output_packer(model)([labels[name] for name in output_names(model)])
    found = model.evaluate(X, told, batch_size=COUNT, verbose=0, return_dict=True)
    predicted = dict(zip(output_names(model), predict(model, [X]), strict=True))
    wrong = float(np.mean(np.abs(predicted["size"] - labels["size"])))
    assert found["loss"] == pytest.approx(3 * wrong, rel=1e-4)
