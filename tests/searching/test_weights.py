"""A model that was pruned for one candidate serves others that want the same done to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.data import Data
from edgeprune.core.errors import InputError
from edgeprune.core.plan import Plan
from edgeprune.core.progress import no_progress
from edgeprune.keras_model.layers import Model
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.training.checkpoint import FILE
from edgeprune.pruning.training.settings import Training
from edgeprune.searching import weights
from edgeprune.searching.budget import Budget
from edgeprune.searching.cache import Cache
from edgeprune.searching.subject import Subject, open_subject
from edgeprune.searching.weights import in_one_shot, trained, training_of

DEVICE = "ethos-u85"
X = np.random.default_rng(0).normal(size=(40, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def subject() -> Subject:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((32,), name="x"), keras.layers.Dense(32), keras.layers.Dense(4)]
    return open_subject(keras.Sequential(layers), X, [DEVICE], budget=Budget(), seed=3)


@pytest.fixture(scope="module")
def made(subject: Subject) -> Plan:
    found = plan(subject.model, DEVICE, look_around=False)
    assert found.pruned
    return found


@pytest.fixture
def pruned(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> list[Training | None]:
    """How models were pruned; nothing is done to them."""
    calls: list[Training | None] = []

    def prune(_: Any, __: Any, ___: Any, training: Any = None, **____: Any) -> Model:
        calls.append(training)
        return subject.model

    monkeypatch.setattr(weights, "prune", prune)
    return calls


def shot(subject: Subject, made: Plan, folder: Path, samples: Data | None) -> Model:
    return in_one_shot(subject, made, samples, Cache(folder), no_progress)


def test_the_same_plan_on_the_same_samples_is_carried_out_once(
    subject: Subject, made: Plan, tmp_path: Path, pruned: list[Any]
) -> None:
    first = shot(subject, made, tmp_path, subject.samples)
    other_format = made.model_copy(update={"numerics": "float32", "route": "another"})
    second = shot(subject, other_format, tmp_path, subject.samples)
    assert len(pruned) == 1
    for before, after in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_another_plan_or_other_samples_are_carried_out_by_themselves(
    subject: Subject, made: Plan, tmp_path: Path, pruned: list[Any]
) -> None:
    shot(subject, made, tmp_path, subject.samples)
    shot(subject, made, tmp_path, subject.samples.some(20))
    rows = (made.layers[0].model_copy(update={"pattern": None, "sparsity": 0.0}), *made.layers[1:])
    shot(subject, made.model_copy(update={"layers": rows}), tmp_path, subject.samples)
    assert len(pruned) == 3


def test_what_is_pruned_by_magnitude_is_not_kept(
    subject: Subject, made: Plan, tmp_path: Path, pruned: list[Any]
) -> None:
    for _ in range(2):
        shot(subject, made, tmp_path, None)
    assert len(pruned) == 2
    assert not any(tmp_path.iterdir())


def test_a_kept_model_that_cannot_be_read_is_made_again(
    subject: Subject, made: Plan, tmp_path: Path, pruned: list[Any]
) -> None:
    shot(subject, made, tmp_path, subject.samples)
    (path,) = (tmp_path / "models").iterdir()
    path.write_bytes(b"damaged")
    shot(subject, made, tmp_path, subject.samples)
    assert len(pruned) == 2


def test_training_that_was_interrupted_goes_on(
    subject: Subject, made: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[bool] = []

    def prune(_: Any, __: Any, ___: Any, training: Training, **____: Any) -> Model:
        assert training.checkpoint is not None
        resumed.append(training.resume)
        if len(resumed) == 1:
            training.checkpoint.mkdir()
            (training.checkpoint / FILE).write_bytes(b"a state")
            raise KeyboardInterrupt
        return subject.model

    monkeypatch.setattr(weights, "prune", prune)
    profile = load_profile(DEVICE)
    arguments = (subject, made, 2, profile, Cache(tmp_path), no_progress)
    with pytest.raises(KeyboardInterrupt):
        trained(*arguments)
    trained(*arguments)
    assert resumed == [False, True]
    assert not list((tmp_path / "training").iterdir())


def test_a_state_that_does_not_load_is_removed_and_training_begins_again(
    subject: Subject, made: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[bool] = []

    def prune(_: Any, __: Any, ___: Any, training: Training, **____: Any) -> Model:
        assert training.checkpoint is not None
        resumed.append(training.resume)
        if len(resumed) == 1:
            training.checkpoint.mkdir()
            (training.checkpoint / FILE).write_bytes(b"a state")
            raise InputError("of another run")
        return subject.model

    monkeypatch.setattr(weights, "prune", prune)
    trained(subject, made, 2, load_profile(DEVICE), Cache(tmp_path), no_progress)
    assert resumed == [False, False]


def test_an_error_of_training_that_left_no_state_is_told(
    subject: Subject, made: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prune(*_: Any, **__: Any) -> Model:
        raise InputError("no such metric")

    monkeypatch.setattr(weights, "prune", prune)
    with pytest.raises(InputError, match="no such metric"):
        trained(subject, made, 2, load_profile(DEVICE), Cache(tmp_path), no_progress)


def test_training_is_that_of_the_user_with_the_epochs_of_the_candidate(subject: Subject) -> None:
    found = training_of(subject, 3)
    assert (found.epochs, found.augment, found.seed) == (3, "none", 3)
    own = open_subject(
        subject.model,
        X,
        [DEVICE],
        budget=Budget(),
        training=Training(epochs=1, augment="flip-shift", batch_size=7),
    )
    given = training_of(own, 5)
    assert (given.epochs, given.augment, given.batch_size) == (5, "flip-shift", 7)
