"""Boards measure at the same time, each one file after the other."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.errors import CheckError
from edgeprune.core.lock import held
from edgeprune.profiles.profile import load_profile
from edgeprune.searching import boards
from edgeprune.searching.boards import Job, lock_of, measure_jobs
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.measuring import Outcome

PHONE = load_profile("raspberry-pi-5")
BOARDS = ("ssh:one", "ssh:two")
WAIT_S = 60.0


def jobs(target: str, count: int) -> list[Job]:
    return [Job(Path(f"{number}.tflite"), PHONE, target) for number in range(count)]


def measurement(path: Path, target: str) -> Measurement:
    return Measurement(str(path), PHONE.name, target, "a runtime", False, 1, 1)


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_boards_work_at_the_same_time_and_none_on_two_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = threading.Barrier(2, timeout=WAIT_S)
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def measured(paths: Sequence[Path], _: Any, targets: list[str], __: Settings) -> Any:
        (target,) = targets
        running[target] += 1
        most[target] = max(most[target], running[target])
        together.wait()  # which fails unless the other board measures now
        running[target] -= 1
        return (Outcome(target, (measurement(paths[0], target),)),)

    monkeypatch.setattr(boards, "measure_each", measured)
    asked = [job for target in BOARDS for job in jobs(target, 3)]
    found = measure_jobs(asked, Settings())
    assert set(found) == set(asked)
    assert most == dict.fromkeys(BOARDS, 1)
    for job, said in found.items():
        assert isinstance(said, Measurement)
        assert (said.model, said.target) == (str(job.path), job.target)


def test_a_file_is_measured_in_turn_with_the_one_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(paths: Sequence[Path], _: Any, targets: list[str], __: Settings) -> Any:
        return (Outcome(targets[0], tuple(measurement(path, targets[0]) for path in paths)),)

    monkeypatch.setattr(boards, "measure_each", measured)
    job = Job(Path("pruned.tflite"), PHONE, "ssh:one", beside=Path("dense.tflite"))
    said = measure_jobs([job], Settings())[job]
    assert isinstance(said, Measurement)
    assert said.model == "pruned.tflite"


def test_a_board_that_another_process_holds_is_waited_for_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    done: list[str] = []
    waits, finished = threading.Event(), threading.Event()

    def measured(paths: Sequence[Path], _: Any, targets: list[str], __: Settings) -> Any:
        done.append(targets[0])
        finished.set()
        return (Outcome(targets[0], (measurement(paths[0], targets[0]),)),)

    def tell(what: str, *_: int) -> None:
        told.append(what)
        waits.set()

    monkeypatch.setattr(boards, "measure_each", measured)
    asked = [*jobs("ssh:one", 1), *jobs("ssh:two", 1)]
    settings = replace(Settings(), tell=tell)
    with held(lock_of("ssh:one"), lambda: None):
        thread = threading.Thread(target=measure_jobs, args=(asked, settings))
        thread.start()
        assert waits.wait(WAIT_S)
        assert finished.wait(WAIT_S)
        assert done == ["ssh:two"]
    thread.join(WAIT_S)
    assert done == ["ssh:two", "ssh:one"]
    assert told == ["waiting for ssh:one, which another process measures on"]


def test_a_file_that_a_board_refuses_does_not_stop_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(paths: Sequence[Path], _: Any, targets: list[str], __: Settings) -> Any:
        if paths[0].name == "1.tflite":
            return (Outcome(targets[0], error=CheckError("crashed")),)
        return (Outcome(targets[0], (measurement(paths[0], targets[0]),)),)

    monkeypatch.setattr(boards, "measure_each", measured)
    found = [type(each) for each in measure_jobs(jobs("ssh:one", 3), Settings()).values()]
    assert found == [Measurement, CheckError, Measurement]
