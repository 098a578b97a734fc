"""What comes of a candidate: its cost, what is wrong with its file, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.errors import CheckError, InputError, TargetError
from edgeprune.core.files import describe_file
from edgeprune.profiles.profile import load_profile
from edgeprune.searching import evaluate
from edgeprune.searching.budget import Budget
from edgeprune.searching.cache import Cache
from edgeprune.searching.candidate import Candidate, HalfAccuracy, Outcome, Stage, Task
from edgeprune.searching.evaluate import Evaluation
from edgeprune.searching.judging import EMULATED_OF_HALF, Judge
from edgeprune.searching.making import Made
from edgeprune.searching.subject import Subject, open_subject
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.targets.checks import Check, Verdict
from edgeprune.targets.child import Reply
from edgeprune.targets.host import HOST
from edgeprune.targets.measurement import Measurement
from tests.support.gate_networks import ask_for_halves
from tests.support.tiny_tflite import fully_connected

PHONE = "android-phone"
WEIGHTS = np.eye(4, dtype=np.float32)
X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
Y = np.argmax(X, axis=1)
HALF = Candidate(PHONE, "int8-channels", cost=0.5)
ONE_SHOT = Task(1, HALF, Stage.ONE_SHOT)


@dataclass(frozen=True)
class Yardstick:
    target: str | None = None
    unit: str = "bytes"


def passed(ok: bool, kind: Any = "finite", message: str = "fine") -> Check:
    return Check("a check", ok, 1, 1, message, kind=kind)


@pytest.fixture(scope="module")
def model() -> Any:
    found = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(4, use_bias=False)])
    found.layers[0].kernel.assign(WEIGHTS)
    return found


@pytest.fixture(scope="module")
def subject(model: Any) -> Subject:
    data = {"x": X[:64], "x_test": X, "y_test": Y}
    return open_subject(model, data, [PHONE], budget=Budget(max_drop=0.01))


class Bench:
    """An evaluation whose files are made, checked and run by what a test says."""

    def __init__(self, subject: Subject, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.subject, self.folder, self.patch = subject, folder, monkeypatch
        self.made: list[Stage] = []
        self.ran: list[int] = []
        self.said(passed(True, "runs"))
        monkeypatch.setattr(evaluate, "make", self._make)
        monkeypatch.setattr(type(HOST), "run", self._run)

    def evaluation(self, yardstick: Yardstick = Yardstick()) -> Evaluation:
        return Evaluation(self.subject, Cache(self.folder / "cache"), {PHONE: yardstick})

    def said(self, *checks: Check) -> None:
        """What every verdict says from now on."""
        self.patch.setattr(evaluate, "validate", lambda *_, **__: Verdict("m", PHONE, checks))

    def measured(self, found: Callable[[Any], Any]) -> None:
        """What an instrument says of every job from now on."""
        self.patch.setattr(
            evaluate, "measure_jobs", lambda jobs, _: {job: found(job) for job in jobs}
        )

    def _make(self, subject: Subject, _: Candidate, stage: Stage, path: Path, *__: Any) -> Made:
        self.made.append(stage)
        fully_connected(path, WEIGHTS)
        profile = load_profile(PHONE).on("int8-channels")
        return Made(describe_file(path), subject.model, profile, None, 0.25)

    def _run(self, _: Any, inputs: list[Any], __: str) -> Reply:
        """Answers with the place of the largest number, but for every tenth sample."""
        self.ran.append(len(inputs[0]))
        outputs = np.array(inputs[0])
        outputs[::10] *= -1
        return Reply({"runtime": "a runtime"}, (outputs,))


@pytest.fixture
def bench(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(subject, tmp_path, monkeypatch)


def test_a_file_is_judged_on_both_halves_beside_the_dense_model(bench: Bench) -> None:
    found = bench.evaluation().evaluate(ONE_SHOT)
    halves = [len(half) for half in (bench.subject.selecting, bench.subject.reporting) if half]
    assert found.accuracy is not None
    assert found.accuracy.samples == tuple(halves)
    right = [1 - -(-size // 10) / size for size in halves]
    assert [found.accuracy.selected_on, found.accuracy.reported_on] == pytest.approx(right)
    assert found.accuracy.dense == (1.0, 1.0)
    low, high = found.accuracy.ci95 or (1.0, 0.0)
    assert low < right[1] < high
    assert found.accuracy.runtime == "a runtime"


def test_a_part_of_the_samples_selects_and_does_not_report(bench: Bench) -> None:
    found = bench.evaluation().evaluate(Task(1, HALF, Stage.PART))
    assert found.accuracy is not None
    assert found.accuracy.reported_on is None
    assert found.accuracy.ci95 is None
    assert len(bench.ran) == 1
    assert found.sha256 is None


def test_an_instrument_is_asked_for_cost_alone(bench: Bench) -> None:
    found = bench.evaluation().evaluate(Task(1, HALF, Stage.INSTRUMENT))
    assert found.accuracy is None
    assert bench.ran == []
    assert found.cost == found.size_bytes


def test_the_file_of_a_full_evaluation_is_kept_by_its_hash(bench: Bench) -> None:
    evaluation = bench.evaluation()
    found = evaluation.evaluate(ONE_SHOT)
    assert found.sha256 is not None
    assert evaluation.cache.file(found.sha256).stat().st_size == found.size_bytes
    assert found.reached == 0.25


def test_what_was_found_is_not_found_out_again_and_took_no_time(bench: Bench) -> None:
    first = bench.evaluation().evaluate(ONE_SHOT)
    again = bench.evaluation().evaluate(replace(ONE_SHOT, round=7))
    assert bench.made == [Stage.ONE_SHOT]
    assert first.seconds
    assert again == replace(first, seconds={})


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        replace(HALF, cost=0.4),
        replace(HALF, padding="symmetric"),
        replace(HALF, epochs=2),
    ],
)
def test_another_candidate_is_evaluated_by_itself(bench: Bench, other: Candidate) -> None:
    bench.evaluation().evaluate(ONE_SHOT)
    bench.evaluation().evaluate(replace(ONE_SHOT, candidate=other))
    assert len(bench.made) == 2


def test_other_units_and_a_lost_file_are_evaluated_again(bench: Bench) -> None:
    evaluation = bench.evaluation()
    found = evaluation.evaluate(ONE_SHOT)
    assert found.sha256 is not None
    evaluation.cache.file(found.sha256).write_bytes(b"")
    evaluation.evaluate(ONE_SHOT)
    assert len(bench.made) == 2
    bench.measured(lambda job: measurement(job, instructions=5))
    bench.evaluation(Yardstick("arm64-emulated", "instructions")).evaluate(ONE_SHOT)
    assert len(bench.made) == 3


def measurement(job: Any, **values: Any) -> Measurement:
    return Measurement(str(job.path), PHONE, job.target, "a runtime", True, 1, 1, **values)


def test_the_cost_is_that_of_the_instrument_in_the_unit_of_the_front(bench: Bench) -> None:
    bench.measured(lambda job: measurement(job, instructions=500, cycles=40))
    found = bench.evaluation(Yardstick("arm64-emulated", "instructions")).evaluate(ONE_SHOT)
    assert (found.cost, found.expected) == (500, False)
    found = bench.evaluation(Yardstick("arm64-emulated", "cycles")).evaluate(ONE_SHOT)
    assert found.cost == 40


def test_without_an_instrument_the_table_tells_and_that_is_said(bench: Bench) -> None:
    found = bench.evaluation(Yardstick(None, "instructions")).evaluate(ONE_SHOT)
    assert found.expected
    assert 0 < found.cost < 1e6


def test_an_instrument_that_says_nothing_in_the_unit_is_named(bench: Bench) -> None:
    bench.measured(measurement)
    with pytest.raises(TargetError, match="arm64-emulated.*instructions"):
        bench.evaluation(Yardstick("arm64-emulated", "instructions")).evaluate(ONE_SHOT)


@pytest.mark.parametrize("error", [CheckError("crashed"), TargetError("unplugged")])
def test_what_an_instrument_refuses_is_raised_as_it_is(bench: Bench, error: Exception) -> None:
    bench.measured(lambda _: error)
    with pytest.raises(type(error), match=str(error)):
        bench.evaluation(Yardstick("arm64-emulated", "instructions")).evaluate(ONE_SHOT)


def test_failed_checks_are_told_by_their_messages(bench: Bench) -> None:
    bench.said(passed(True, "runs"), passed(False, message="too large"), passed(True))
    assert bench.evaluation().evaluate(ONE_SHOT).failed_checks == ("too large",)


def test_a_file_that_does_not_run_is_no_outcome(bench: Bench) -> None:
    bench.said(passed(False, "runs", "crashed at once"))
    with pytest.raises(CheckError, match="crashed at once"):
        bench.evaluation().evaluate(ONE_SHOT)


def test_work_that_cannot_be_judged_fails_the_candidate_and_not_the_instrument(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any) -> Any:
        raise TargetError("no core with half precision")

    monkeypatch.setattr(type(HOST), "run", run)
    with pytest.raises(InputError, match="no core with half precision"):
        bench.evaluation().evaluate(ONE_SHOT)


def test_seconds_are_told_by_the_kind_of_work(bench: Bench) -> None:
    found = bench.evaluation().evaluate(ONE_SHOT)
    assert set(found.seconds) == {"validate", "measure", "accuracy"}


def test_a_metric_has_no_interval_and_the_dense_model_is_judged_by_it(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def largest(y: Any, outputs: Any) -> float:
        return float(np.max(np.abs(outputs[np.arange(len(y)), y])))

    data = {"x": X[:64], "x_test": X, "y_test": Y}
    measured = open_subject(subject.model, data, [PHONE], budget=Budget(), metric=largest)
    bench = Bench(measured, tmp_path, monkeypatch)
    found = bench.evaluation().evaluate(ONE_SHOT).accuracy
    assert found is not None
    assert found.ci95 is None
    assert found.dense == pytest.approx((found.selected_on, found.reported_on))
    assert found.selected_on > 1


def test_the_dense_model_is_judged_on_all_samples(bench: Bench) -> None:
    found = bench.evaluation().dense()
    assert found is not None
    assert (found.selected_on, found.reported_on, found.runtime) == (1.0, 1.0, "Keras")
    assert sum(found.samples) == 200


def test_an_outcome_is_the_same_after_json() -> None:
    accuracy = HalfAccuracy(0.8, 0.7, (0.6, 0.8), (10, 12), "a runtime", (0.9, None))
    outcome = Outcome(3.0, True, accuracy, 12, "abc", 0.5, ("too large",), {"prune": 1.5})
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_a_file_in_half_precision_runs_on_some_samples_of_each_half_as_does_the_dense_model(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(1).normal(size=(600, 4)).astype(np.float32)
    data = {"x": X[:64], "x_test": x, "y_test": (np.argmax(x, axis=1) + (x[:, 0] > 0)) % 4}
    subject = open_subject(model, data, [PHONE], budget=Budget())
    ran: list[Any] = []

    def run(_: Any, inputs: list[Any], __: Any) -> Reply:
        ran.append(inputs[0])
        return Reply({"runtime": "a runtime on an emulated core"}, (inputs[0],))

    monkeypatch.setattr(type(ARM64_EMULATED), "run_on_core", lambda _, *rest: run(*rest))
    path = ask_for_halves(
        fully_connected(tmp_path / "whole.tflite", WEIGHTS), tmp_path / "m.tflite"
    )
    profile = load_profile(PHONE).on("float16-channels")
    found = Judge(subject).of_file(path, profile, both=True)
    assert found is not None
    assert found.samples == (EMULATED_OF_HALF, EMULATED_OF_HALF)
    assert sum(map(len, ran)) == 2 * EMULATED_OF_HALF
    # It answers as the dense model does, so that both are right as often on the same samples.
    assert found.dense == (found.selected_on, found.reported_on)
    assert found.selected_on not in (0.0, 1.0)
