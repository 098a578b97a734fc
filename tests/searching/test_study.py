"""A search in its storage: tasks that several workers share, and what becomes of each."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from edgeprune.core.errors import InputError
from edgeprune.searching.candidate import Candidate, Outcome, Stage, Task
from edgeprune.searching.opening import NAME, Heart
from edgeprune.searching.space import Space
from edgeprune.searching.storage_url import StorageUrl, file_url, read_url
from edgeprune.searching.study import Study
from edgeprune.searching.trials import MOST_DEATHS
from tests.support.pretended_search import Formula, phone_space

IDENTITY = {"model": "a" * 64, "data": "b" * 64, "seed": "0"}
FIRST = Task(0, Candidate("phone", "int8-channels", cost=0.5), Stage.ONE_SHOT)
SECOND = Task(0, Candidate("phone", "sparse", cost=0.5), Stage.PART)
LATER = Task(1, Candidate("phone", "sparse", cost=0.4), Stage.PART)


def join(
    url: StorageUrl, identity: Mapping[str, str] = IDENTITY, space: Space | None = None
) -> Study:
    return Study.open(url, identity, space or phone_space(), Heart(1, 2))


@pytest.fixture
def url(tmp_path: Path) -> StorageUrl:
    return file_url(tmp_path / "search.db")


@pytest.fixture
def study(url: StorageUrl) -> Study:
    return join(url)


def outcome(task: Task) -> Outcome:
    return Formula(phone_space()).evaluate(task)


def states(url: StorageUrl) -> list[str]:
    found = optuna.load_study(study_name=NAME, storage=url.text)
    return [trial.state.name for trial in found.trials]


def test_a_task_is_taken_once_told_once_and_then_finished(study: Study, url: StorageUrl) -> None:
    study.enqueue([FIRST, SECOND])
    study.enqueue([FIRST, SECOND])
    first, second = study.take(0), study.take(0)
    assert first is not None
    assert second is not None
    assert (first.task, second.task) == (FIRST, SECOND)
    assert study.take(0) is None
    assert study.finished() == ()
    assert study.tell(first, outcome(FIRST))
    assert study.tell(second, outcome(SECOND))
    assert [(each.task, each.outcome) for each in join(url).finished()] == [
        (FIRST, outcome(FIRST)),
        (SECOND, outcome(SECOND)),
    ]
    assert states(url) == ["COMPLETE", "PRUNED"]


def test_a_task_that_two_workers_wrote_is_evaluated_once(url: StorageUrl) -> None:
    one, two = join(url), join(url)
    one.enqueue([FIRST])
    again = optuna.load_study(study_name=NAME, storage=url.text)
    again.add_trial(again.trials[0])  # what a worker writes that looked a moment before
    first = one.take(0)
    assert first is not None
    assert two.take(0) is None
    one.tell(first, outcome(FIRST))
    assert states(url) == ["COMPLETE", "PRUNED"]
    assert len(two.finished()) == 1


def test_a_task_of_another_round_waits_for_its_turn(study: Study) -> None:
    study.enqueue([LATER])
    assert study.take(0) is None
    taken = study.take(1)
    assert taken is not None
    assert taken.task == LATER


def test_a_candidate_that_fails_for_good_is_not_evaluated_again(study: Study) -> None:
    study.enqueue([FIRST])
    taken = study.take(0)
    assert taken is not None
    study.tell(taken, "layer 'a': cannot be pruned")
    study.enqueue([FIRST])
    assert study.take(0) is None
    (finished,) = study.finished()
    assert (finished.outcome, finished.error) == (None, "layer 'a': cannot be pruned")


def test_an_interrupted_task_is_taken_up_again_however_often(study: Study) -> None:
    for _ in range(MOST_DEATHS + 1):
        study.enqueue([FIRST])
        taken = study.take(0)
        assert taken is not None
        study.give_back(taken)
    assert study.finished() == ()


def test_a_task_on_which_workers_die_again_and_again_counts_as_failed(study: Study) -> None:
    for _ in range(MOST_DEATHS):
        study.enqueue([FIRST])
        taken = study.take(0)
        assert taken is not None
        study.give_back(taken, died="MemoryError")
    (finished,) = study.finished()
    assert finished.error == f"{MOST_DEATHS} workers died on it: MemoryError."


def test_a_silent_worker_loses_its_task_and_is_not_believed_any_more(url: StorageUrl) -> None:
    one, two = join(url), join(url)
    one.enqueue([FIRST])
    silent = one.take(0)
    assert silent is not None
    with sqlite3.connect(url.url.database or "") as connection:
        connection.execute("UPDATE trial_heartbeats SET heartbeat = '2026-01-01 00:00:00'")
    connection.close()
    two.enqueue([FIRST])
    taken = two.take(0)
    assert taken is not None
    assert not one.tell(silent, replace(outcome(FIRST), cost=1.0))
    assert two.tell(taken, outcome(FIRST))
    assert [each.outcome for each in one.finished()] == [outcome(FIRST)]


@pytest.mark.slow
def test_a_worker_that_beats_keeps_its_task(url: StorageUrl) -> None:
    one, two = join(url), join(url)
    one.enqueue([FIRST])
    taken = one.take(0)
    assert taken is not None
    with one.beating(taken):
        time.sleep(3.1)  # longer than the grace period
        two.enqueue([FIRST])
        assert two.take(0) is None
    assert one.tell(taken, outcome(FIRST))


def test_dashboards_see_cost_and_accuracy_and_what_was_tried(study: Study, url: StorageUrl) -> None:
    study.enqueue([FIRST])
    taken = study.take(0)
    assert taken is not None
    study.tell(taken, outcome(FIRST))
    found = optuna.load_study(study_name=NAME, storage=url.text)
    assert [direction.name for direction in found.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert found.metric_names == ["cost", "accuracy"]
    assert found.user_attrs["model"] == IDENTITY["model"]
    (best,) = found.best_trials
    assert best.values == [1.28e6, pytest.approx(0.7784)]
    assert best.params == {
        "device": "phone",
        "route": "int8-channels",
        "cost": 0.5,
        "padding": "keep",
        "activation": "keep",
        "epochs": 0,
        "stage": "one_shot",
    }


def test_a_trial_that_a_person_added_on_a_dashboard_is_left_alone(
    study: Study, url: StorageUrl
) -> None:
    optuna.load_study(study_name=NAME, storage=url.text).enqueue_trial({"device": "phone"})
    study.enqueue([FIRST])
    taken = study.take(0)
    assert taken is not None
    assert taken.task == FIRST
    assert states(url) == ["WAITING", "RUNNING"]


def test_another_search_in_the_storage_is_refused_with_what_differs(url: StorageUrl) -> None:
    join(url)
    with pytest.raises(InputError, match="holds another search") as error:
        join(url, {**IDENTITY, "data": "c" * 64})
    assert "data (there bbbbbbbbbbbb..., here cccccccccccc...)" in str(error.value)
    assert "model" not in str(error.value)
    with pytest.raises(InputError, match="space"):
        join(url, space=phone_space(epochs=4))


def test_the_first_worker_decides_what_all_take_for_a_value(url: StorageUrl) -> None:
    one, two = join(url), join(url)
    assert one.agree("expected", {"a": 1.5, "b": None}) == {"a": 1.5, "b": None}
    assert two.agree("expected", {"a": 2.0}) == {"a": 1.5, "b": None}


def test_a_file_that_one_worker_stored_is_there_for_the_others(url: StorageUrl) -> None:
    one, two = join(url), join(url)
    assert two.file("00") is None
    one.put_file("00", b"\x00model")
    two.put_file("00", b"\x00model")
    assert two.file("00") == b"\x00model"


def test_a_storage_that_cannot_be_reached_is_named_without_its_password() -> None:
    url = read_url("postgresql://ann:s3cret@127.0.0.1:1/search")
    with pytest.raises(InputError) as error:
        join(url)
    assert "database 'search' on 127.0.0.1:1" in str(error.value)
    assert "s3cret" not in str(error.value)
    assert error.value.__suppress_context__


@pytest.mark.parametrize("name", ["missing/search.db", "."])
def test_a_file_that_cannot_be_made_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        join(file_url(tmp_path / name))


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "search.db"
    path.write_text("not a database" * 100)
    with pytest.raises(InputError, match="not a database"):
        join(file_url(path))
    assert path.read_text() == "not a database" * 100
