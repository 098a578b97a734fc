"""What a pruned model learns from a dense one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.core.errors import InputError
from edgeprune.pruning.training.distill import (
    Distillation,
    Distilled,
    output_distance,
    output_kinds,
)
from tests.pruning.training.test_train import X, Y, net

layers = keras.layers


def divergence(teacher: Any, student: Any, temperature: float) -> float:
    """Written out in plain loops."""
    total = 0.0
    for one, other in zip(teacher, student, strict=True):
        p, q = np.exp(one / temperature), np.exp(other / temperature)
        p, q = p / p.sum(), q / q.sum()
        total += sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(teacher)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_the_distance_of_logits_is_the_softened_divergence(seed: int, temperature: float) -> None:
    random = np.random.default_rng(seed)
    teacher, student = random.standard_normal((2, 5, 4)) * 3
    found = float(output_distance(teacher, student, "logits", temperature))
    assert found == pytest.approx(divergence(teacher, student, temperature), rel=1e-4, abs=1e-6)
    assert float(output_distance(teacher, teacher, "logits", temperature)) == pytest.approx(0)


def test_probabilities_are_compared_like_the_logits_they_come_from() -> None:
    random = np.random.default_rng(0)
    teacher, student = random.standard_normal((2, 6, 3)).astype("float32")
    by_logits = output_distance(teacher, student, "logits", 3.0)
    wanted, found = (keras.ops.softmax(part) for part in (teacher, student))
    by_probabilities = output_distance(wanted, found, "probabilities", 3.0)
    assert float(by_probabilities) == pytest.approx(float(by_logits), rel=1e-4)


def test_values_are_compared_relative_to_their_spread() -> None:
    teacher = np.array([[0.0], [2.0]], "float32")
    assert float(output_distance(teacher, teacher + 1, "values", 2.0)) == pytest.approx(1)
    scaled = output_distance(10 * teacher, 10 * teacher + 10, "values", 2.0)
    assert float(scaled) == pytest.approx(1)


def test_how_outputs_are_read_follows_the_end_of_the_model_and_its_losses() -> None:
    inputs = keras.Input((4,))
    one, two = layers.Dense(3, name="one")(inputs), layers.Dense(1, name="two")(inputs)
    soft = layers.Softmax()(one)
    assert output_kinds(net()) == ("logits",)
    assert output_kinds(net("softmax")) == ("probabilities",)
    several = keras.Model(inputs, [one, two, soft])
    assert output_kinds(several) == ("values", "values", "probabilities")
    model = keras.Model(inputs, [one, two])
    model.compile("sgd", {"one": "sparse_categorical_crossentropy", "two": "mse"})
    assert output_kinds(model) == ("logits", "values")
    model.compile("sgd", ["mse", keras.losses.CategoricalCrossentropy(from_logits=True)])
    assert output_kinds(model) == ("values", "logits")
    single = keras.Model(inputs, one)
    single.compile("sgd", "mse")
    assert output_kinds(single) == ("values",)


@pytest.mark.parametrize("options", [{"weight": -0.1}, {"weight": 1.1}, {"temperature": 0.0}])
def test_numbers_that_make_no_loss_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="`distillation`"):
        Distillation(**options)


def test_the_loss_mixes_labels_and_teacher_and_does_without_labels() -> None:
    student, teacher = net(), net()
    for layer in teacher.layers:
        layer.set_weights([weight + 0.5 for weight in layer.get_weights()])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distilled = Distilled(student, teacher, ("logits",), Distillation(0.25, 1.0))
    distilled.compile("sgd", loss, metrics=["accuracy"], jit_compile=False)
    own = float(loss(Y, student(X)))
    distance = float(output_distance(teacher(X), student(X), "logits", 1.0))
    both = distilled.evaluate(X, Y, batch_size=64, verbose=0, return_dict=True)
    assert float(both["loss"]) == pytest.approx(0.75 * own + 0.25 * distance, rel=1e-5)
    assert 0 <= both["accuracy"] <= 1
    alone = float(distilled.compute_loss(X, None, student(X)))
    assert alone == pytest.approx(distance, rel=1e-5)
    assert len(distilled.trainable_variables) == len(student.trainable_variables)
    assert {id(v) for v in teacher.variables}.isdisjoint(id(v) for v in distilled.variables)
