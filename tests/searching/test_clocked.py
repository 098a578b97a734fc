"""What a clock says of files is told by how they compare in the same rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.files import describe_file
from edgeprune.profiles.profile import load_profile
from edgeprune.searching import clocked
from edgeprune.searching.boards import Job
from edgeprune.searching.budget import Budget
from edgeprune.searching.cache import Cache
from edgeprune.searching.clocked import Reference, reference_for
from edgeprune.searching.subject import open_subject
from edgeprune.targets.latency import Latency, Speedup
from edgeprune.targets.measurement import Measurement, Settings
from tests.support.tiny_tflite import fully_connected

DESK = load_profile("xnnpack-x86")
WEIGHTS = np.eye(4, dtype=np.float32)
X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)


def timed(ms: float, faster: float | None = None, *, by: float = 0.0) -> Measurement:
    compared = None if faster is None else Speedup(faster, (faster - by, faster + by))
    took = Latency(ms, ms, (ms, ms), 1)
    return Measurement(
        "a.tflite", DESK.name, "host", "a runtime", False, 1, 1, latency_ms=took, speedup=compared
    )


def test_a_file_costs_the_same_while_the_clock_runs_slowly() -> None:
    dense = Reference(Path("dense.tflite"), 2.0)
    assert dense.cost(timed(1.0, faster=2.0)) == dense.cost(timed(9.0, faster=2.0)) == 1.0


def test_what_the_rounds_leave_open_of_a_ratio_they_leave_open_of_the_cost() -> None:
    dense = Reference(Path("dense.tflite"), 2.0)
    assert dense.interval(timed(1.0, faster=1.5, by=0.5)) == (1.0, 2.0)
    assert dense.interval(timed(1.0)) is None


def test_a_clock_that_compares_nothing_is_taken_at_its_word() -> None:
    assert Reference(Path("dense.tflite"), 2.0).cost(timed(9.0)) == 9.0


def test_the_dense_file_is_timed_once_and_all_workers_take_the_first_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(4, use_bias=False)])
    subject = open_subject(model, X, [DESK], budget=Budget())
    asked: list[Job] = []

    def measured(jobs: list[Job], _: Settings) -> dict[Job, Measurement]:
        asked.extend(jobs)
        return {job: timed(2.0 + len(asked)) for job in jobs}

    def exported(_: Any, __: Any, path: Path, **___: Any) -> Any:
        fully_connected(path, WEIGHTS)
        return type("Exported", (), {"artifact": describe_file(path)})

    monkeypatch.setattr(clocked, "measure_jobs", measured)
    monkeypatch.setattr(clocked, "export", exported)
    said: dict[str, Any] = {}

    def found(cache: str) -> Reference:
        place = Cache(tmp_path / cache)
        return reference_for(
            subject, DESK, "host", place, {"model": "1"}, said.setdefault, Settings()
        )

    first = found("one")
    assert (first.ms, found("one"), len(asked)) == (3.0, first, 1)
    assert found("two").ms == 3.0
    assert len(asked) == 2
    assert first.path.is_file()
