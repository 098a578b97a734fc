"""Real files of candidates: made, validated, run on labelled samples, and kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.keras_model.interface import predict
from edgeprune.searching.budget import Budget
from edgeprune.searching.cache import Cache
from edgeprune.searching.candidate import Candidate, Stage, Task
from edgeprune.searching.evaluate import Evaluation
from edgeprune.searching.subject import open_subject
from edgeprune.targets.host import HOST
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import manifest_path
from tests.support.islands import two_parts

PHONE = "android-phone"


@dataclass(frozen=True)
class Yardstick:
    target: str | None
    unit: str


def network() -> Any:
    keras.utils.set_random_seed(0)
    layers: list[Any] = [keras.Input((8, 8, 3), name="x")]
    layers += [keras.layers.Conv2D(64, 3, padding="same", activation="relu") for _ in range(2)]
    layers += [keras.layers.Flatten(), keras.layers.Dense(4)]
    return keras.Sequential(layers)


@pytest.mark.slow
def test_dense_and_pruned_files_are_judged_beside_the_dense_model(tmp_path: Path) -> None:
    model = network()
    x = np.random.default_rng(0).normal(size=(240, 8, 8, 3)).astype(np.float32)
    labels = predict(model, [x])[0].argmax(1)
    data = {"x": x[:40], "x_test": x[40:], "y_test": labels[40:]}
    subject = open_subject(model, data, [PHONE], budget=Budget(max_drop=0.1))
    cache = Cache(tmp_path / "cache")
    evaluation = Evaluation(subject, cache, {PHONE: Yardstick(None, "instructions")})

    dense = evaluation.evaluate(Task(1, Candidate(PHONE, "float32"), Stage.ONE_SHOT))
    assert dense.accuracy is not None
    assert dense.accuracy.selected_on == dense.accuracy.reported_on == 1.0
    assert sum(dense.accuracy.samples) == 200
    assert dense.failed_checks == ()

    half = Candidate(PHONE, "float32-channels", cost=0.5)
    sketch = evaluation.evaluate(Task(1, half, Stage.INSTRUMENT))
    assert sketch.accuracy is None
    pruned = evaluation.evaluate(Task(1, half, Stage.ONE_SHOT))
    for found in (sketch, pruned):
        assert found.expected
        assert found.cost <= 0.5001 * dense.cost
    assert pruned.accuracy is not None
    assert pruned.accuracy.dense == (1.0, 1.0)
    assert 0.25 < pruned.accuracy.selected_on <= 1.0
    assert pruned.reached is not None
    assert 0.2 < pruned.reached < 0.9
    assert pruned.failed_checks == ()
    assert set(pruned.seconds) == {"prune", "export", "validate", "measure", "accuracy"}

    assert pruned.sha256 is not None
    manifest = json.loads(manifest_path(cache.file(pruned.sha256)).read_text())
    assert manifest["route"] == "float32-channels"
    assert manifest["measuring_only"] is False
    assert cache.has_file(pruned.sha256)


@pytest.mark.slow
def test_what_is_pruned_of_a_tflite_file_is_judged_as_the_file_that_ships(tmp_path: Path) -> None:
    model = network()
    x = np.random.default_rng(0).normal(size=(120, 8, 8, 3)).astype(np.float32)
    data = {"x": x[:40], "x_test": x[40:], "y_test": predict(model, [x])[0].argmax(1)[40:]}
    path = tmp_path / "m.tflite"
    export(model, PHONE, path, route="float32")
    subject = open_subject(path, data, [PHONE], budget=Budget(max_drop=0.1))
    cache = Cache(tmp_path / "cache")
    evaluation = Evaluation(subject, cache, {PHONE: Yardstick(None, "instructions")})
    for route in ("float32-channels", "int8-channels"):
        found = evaluation.evaluate(Task(1, Candidate(PHONE, route, cost=0.5), Stage.ONE_SHOT))
        assert found.failed_checks == ()
        assert found.reached is not None
        assert 0.2 < found.reached < 0.9
        assert found.accuracy is not None
        assert found.accuracy.dense == (1.0, 1.0)
        assert found.sha256 is not None
        assert cache.has_file(found.sha256)


@pytest.mark.slow
def test_what_is_pruned_around_an_island_is_validated_and_judged_with_the_island(
    tmp_path: Path,
) -> None:
    path = two_parts(tmp_path / "two.tflite", channels=64)
    x = np.random.default_rng(0).normal(size=(160, 4, 4, 3)).astype(np.float32)
    data = {"x": x[:80], "x_test": x[80:], "y_test": _scores(path, x[80:]).argmax(1)}
    subject = open_subject(str(path), data, [PHONE], budget=Budget(max_drop=0.1))
    cache = Cache(tmp_path / "cache")
    evaluation = Evaluation(subject, cache, {PHONE: Yardstick(None, "instructions")})
    asked = Candidate(PHONE, "float32-channels", cost=0.6)
    found = evaluation.evaluate(Task(1, asked, Stage.ONE_SHOT))
    assert found.failed_checks == ()
    assert found.reached is not None
    assert 0.2 < found.reached < 0.9
    assert found.accuracy is not None
    assert found.accuracy.dense == (1.0, 1.0)
    assert found.accuracy.selected_on > 0.5
    assert found.sha256 is not None
    ops = [operator.op for operator in read(cache.file(found.sha256)).operators]
    assert ops.count("REVERSE_SEQUENCE") == 1


def _scores(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return HOST.run(read(path), [x], "LiteRT").outputs[0]
