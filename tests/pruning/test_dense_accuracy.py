"""A classifier that does not know its own samples is called out, and nothing else is."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.data import Data
from edgeprune.core.errors import QualityWarning
from edgeprune.pruning.dense_accuracy import warn_at_chance

X = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
Y = X.argmax(1)


def largest(**layer: Any) -> Any:
    """Names the largest of three numbers correctly, always."""
    dense = keras.layers.Dense(3, **layer)
    model = keras.Sequential([keras.Input((3,)), dense])
    dense.set_weights([np.eye(3), np.zeros(3)])
    return model


def said(model: Any, data: Data) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_at_chance(model, data, "m.tflite")
    assert all(found.category is QualityWarning for found in caught)
    assert all(str(found.message).startswith("m.tflite: ") for found in caught)
    return [str(found.message) for found in caught]


@pytest.mark.parametrize("x", [np.ones_like(X), X[::-1] - 50], ids=["constant", "shuffled"])
@pytest.mark.parametrize("y", [Y, Y[:, None], np.eye(3)[Y]], ids=["classes", "column", "one-hot"])
def test_accuracy_at_chance_level_is_called_out(x: Any, y: Any) -> None:
    (message,) = said(largest(activation="softmax"), Data((x,), y))
    assert "check --scale" in message


@pytest.mark.parametrize(
    "data",
    [
        Data((X,), Y),
        Data((X,), np.eye(3)[Y]),
        Data((np.ones_like(X),), np.zeros(300)),
        Data((np.ones_like(X)[:20],), Y[:20]),
        Data((np.ones_like(X),)),
        Data((np.ones_like(X),), Y + 0.5),
        Data((np.ones_like(X),), np.array(["a", "b", "c"])[Y]),
    ],
    ids=["right", "right, one-hot", "one class", "few", "none", "no classes", "words"],
)
def test_right_answers_and_labels_that_tell_nothing_are_not_called_out(data: Data) -> None:
    assert said(largest(), data) == []


def test_a_regression_is_not_judged_as_a_classifier() -> None:
    model = largest()
    model.compile(loss="mse")
    assert said(model, Data((np.ones_like(X),), Y)) == []
