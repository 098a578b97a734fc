"""What a search is made from is looked at before any work, and known by its content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.errors import DataError, InputError, ProfileError, QualityWarning
from edgeprune.searching.budget import Budget
from edgeprune.searching.subject import Subject, open_subject

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(60, 6)).astype(np.float32)
X_TEST = GENERATOR.normal(size=(80, 6)).astype(np.float32)
Y_TEST = np.arange(80) % 3
TESTED = {"x": X, "x_test": X_TEST, "y_test": Y_TEST}
DROP = Budget(max_drop=0.01)


@pytest.fixture(scope="module")
def model() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6,), name="x"), keras.layers.Dense(3, name="dense")])


def opened(model: Any, data: Any, budget: Budget = DROP, **options: Any) -> Subject:
    return open_subject(model, data, ["android-phone"], budget=budget, **options)


def size(half: Any) -> int:
    assert half is not None
    return len(half)


def test_a_test_set_is_split_and_the_rest_prunes(model: Any) -> None:
    found = opened(model, TESTED)
    assert size(found.selecting) + size(found.reporting) == 80
    assert len(found.samples) == 60
    assert found.samples.y is None


def test_validation_data_is_the_test_set(model: Any) -> None:
    found = opened(model, X, validation_data=(X_TEST, Y_TEST))
    assert size(found.selecting) + size(found.reporting) == 80
    assert len(found.samples) == 60


def test_a_fifth_of_labelled_data_judges_and_is_not_pruned_by(model: Any) -> None:
    found = opened(model, (X_TEST, Y_TEST))
    assert size(found.selecting) + size(found.reporting) == 16
    assert len(found.samples) == 64
    assert found.held_out
    assert not opened(model, TESTED).held_out


@pytest.mark.parametrize("y", [Y_TEST[:, None], np.eye(3)[Y_TEST]], ids=["column", "one-hot"])
def test_labels_are_taken_as_losses_of_keras_take_them(model: Any, y: Any) -> None:
    found = opened(model, {**TESTED, "y_test": y})
    assert size(found.selecting) + size(found.reporting) == 80


@pytest.mark.parametrize(
    ("y", "received"),
    [
        (np.array(["cat", "dog"] * 40), "[80] <U3"),
        (Y_TEST + 0.5, "[80] float64 that are not all whole numbers"),
        (np.where(Y_TEST == 1, np.nan, Y_TEST), "[80] float64 that are not all whole numbers"),
        (np.ones((80, 4)), "[80, 4] float64"),
    ],
    ids=["words", "halves", "NaN", "other"],
)
def test_labels_that_are_no_classes_are_refused(model: Any, y: Any, received: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"[n, classes]. Received: {received}.")):
        opened(model, {**TESTED, "y_test": y})


def test_a_dense_model_that_is_at_chance_is_warned_of(model: Any) -> None:
    with pytest.warns(QualityWarning, match="check --scale"):
        opened(model, TESTED)


def test_files_are_calibrated_as_export_does_it_however_few_samples_prune(model: Any) -> None:
    found = opened(model, TESTED, samples=10)
    assert len(found.samples) == 10
    assert np.array_equal(found.calibration.x[0], X)


def test_data_without_labels_prunes_whole_where_no_accuracy_is_asked_for(model: Any) -> None:
    found = opened(model, X, Budget(max_cost=1e6))
    assert found.selecting is None
    assert found.reporting is None
    assert len(found.samples) == 60


@pytest.mark.parametrize("budget", [DROP, Budget(min_accuracy=0.7)])
@pytest.mark.parametrize("data", [X, {"x": X, "x_test": X_TEST}])
def test_a_budget_of_accuracy_without_labels_is_refused(
    model: Any, data: Any, budget: Budget
) -> None:
    with pytest.raises(DataError, match="x_test and y_test.*--validation-data.*--max-drop"):
        opened(model, data, budget)


def test_a_file_without_labels_is_named(model: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", x=X)
    with pytest.raises(DataError, match=r"images\.npz"):
        opened(model, tmp_path / "images.npz")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.linspace(0, 1, 80), "--metric"),
        (np.arange(80) % 4, "from 0 to 2.*0 to 3.*--metric"),
        (np.arange(80) % 3 - 1, "-1 to 1"),
    ],
)
def test_labels_that_are_no_classes_of_the_model_are_refused(
    model: Any, labels: Any, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        opened(model, {**TESTED, "y_test": labels})


def test_a_metric_takes_labels_that_are_no_classes(model: Any) -> None:
    labels = GENERATOR.normal(size=(80, 3))
    found = opened(model, {**TESTED, "y_test": labels}, metric=lambda *_: 0.0, minimize=True)
    assert found.metric is not None
    assert found.metric.minimize


def test_an_unknown_device_and_a_wrong_number_of_samples_are_refused(model: Any) -> None:
    with pytest.raises(ProfileError):
        open_subject(model, TESTED, ["android-fone"], budget=DROP)
    with pytest.raises(InputError, match="samples"):
        opened(model, TESTED, samples=0)
    with pytest.raises(ProfileError, match="android-phone.*edge-tpu"):
        opened(model, TESTED).profile("edge-tpu")


def test_the_same_data_in_a_file_elsewhere_has_the_same_hash(model: Any, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / f"{name}.npz", **TESTED)
        found.append(opened(model, tmp_path / name / f"{name}.npz"))
    assert found[0].data_sha256 == found[1].data_sha256
    assert found[0].model_sha256 == found[1].model_sha256


@pytest.mark.parametrize("name", ["x", "x_test", "y_test"])
def test_every_array_counts_for_the_hash(model: Any, name: str) -> None:
    changed = {**TESTED, name: np.array(TESTED[name])}
    changed[name][7] = changed[name][8]
    assert opened(model, changed).data_sha256 != opened(model, TESTED).data_sha256


class Shuffled:
    """Batches of samples in another order each time."""

    def __init__(self) -> None:
        self.seed = 0

    def __iter__(self) -> Iterator[Any]:
        self.seed += 1
        order = np.random.default_rng(self.seed).permutation(60)
        for start in range(0, 60, 20):
            yield X[order[start : start + 20]]


def test_a_stream_that_is_shuffled_has_the_same_hash(model: Any) -> None:
    tests = (X_TEST, Y_TEST)
    first, second = (opened(model, Shuffled(), validation_data=tests) for _ in range(2))
    assert first.data_sha256 == second.data_sha256


def test_images_are_known_by_their_bytes_wherever_their_files_are(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((8, 8, 3), name="x"), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    from PIL import Image

    for place in ("here", "there"):
        for name in ("cat", "dog"):
            (tmp_path / place / name).mkdir(parents=True)
            for number in range(20):
                seed = [number, len(name), ord(name[0])]
                pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / place / name / f"{number}.png")
    first, second = (opened(model, tmp_path / place) for place in ("here", "there"))
    assert first.data_sha256 == second.data_sha256
    path = tmp_path / "there" / "cat" / "3.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    assert opened(model, tmp_path / "there").data_sha256 != first.data_sha256
