"""A worker's loop: when it takes a task, when it ends, and what becomes of tasks that go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edgeprune.core.errors import PlanError, TargetError
from edgeprune.core.progress import Progress
from edgeprune.searching.candidate import Candidate, Finished, Outcome, Task
from edgeprune.searching.opening import Heart
from edgeprune.searching.space import Space, candidates
from edgeprune.searching.storage_url import file_url
from edgeprune.searching.study import Study
from edgeprune.searching.trials import MOST_DEATHS
from edgeprune.searching.work import Watcher, work
from tests.support.pretended_search import Formula, alone, phone_space, route_space

SPACE = replace(
    phone_space(trials=0),
    routes=(
        route_space("float32", "float32"),
        route_space("int8", "int8"),
        route_space("sparse", "float32", (0.35, 0.28)),
    ),
)
"""Two references and two costs, so that a search has few tasks."""
BAD = "sparse"


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    found = Study.open(file_url(tmp_path / "search.db"), {}, SPACE, Heart(60, 600))
    yield found
    found.close()


def nothing(_: Task) -> None:
    """Lets a task be evaluated."""


@dataclass
class Scripted:
    """The formula, with something done before each task."""

    before: Callable[[Task], None] = nothing
    formula: Formula = field(default_factory=lambda: Formula(SPACE))
    tasks: list[Task] = field(default_factory=list)

    def expected(self, candidates: Sequence[Candidate]) -> Mapping[str, float | None]:
        return self.formula.expected(candidates)

    def evaluate(self, task: Task, progress: Progress) -> Outcome:
        self.tasks.append(task)
        self.before(task)
        return self.formula.evaluate(task, progress)


def on_bad_route(error: BaseException) -> Callable[[Task], None]:
    """Raises on every task of one route."""

    def before(task: Task) -> None:
        if task.candidate.route == BAD:
            raise error

    return before


def by_one_worker(space: Space = SPACE) -> list[Finished]:
    formula = Formula(space)
    return alone(space, formula, formula.expected(candidates(space)))


def test_a_worker_alone_evaluates_every_task_in_order_and_ends(study: Study) -> None:
    scripted = Scripted()
    ended = work(study, SPACE, scripted)
    assert ended.reason == "over"
    assert list(ended.finished) == by_one_worker()
    assert scripted.tasks == [each.task for each in by_one_worker()]


def test_a_search_that_is_over_is_not_evaluated_again(study: Study) -> None:
    first = work(study, SPACE, Scripted())
    again = Scripted()
    assert work(study, SPACE, again) == first
    assert again.tasks == []


def test_no_task_is_taken_after_the_deadline(study: Study) -> None:
    scripted = Scripted()
    ended = work(study, SPACE, scripted, deadline=time.monotonic())
    assert (ended.reason, ended.finished, scripted.tasks) == ("time", (), [])


def test_a_worker_that_is_asked_to_stop_finishes_its_task(study: Study) -> None:
    scripted = Scripted()
    ended = work(study, SPACE, scripted, stop=lambda: len(scripted.tasks) == 2)
    assert ended.reason == "stopped"
    assert [each.task for each in ended.finished] == scripted.tasks


def test_what_a_candidate_lacks_fails_for_good_and_the_search_goes_on(study: Study) -> None:
    scripted = Scripted(on_bad_route(PlanError("layer 'a': nothing to remove")))
    ended = work(study, SPACE, scripted)
    failed = [each for each in ended.finished if each.outcome is None]
    assert {each.task.candidate.route for each in failed} == {BAD}
    assert {each.error for each in failed} == {"layer 'a': nothing to remove"}
    assert len({task.key for task in scripted.tasks}) == len(scripted.tasks)


@pytest.mark.parametrize(
    "error",
    [
        TargetError("Target 'vela' is not ready"),
        SystemExit(143),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_this_machine_lacks_ends_the_worker_and_leaves_its_task_to_others(
    study: Study, error: BaseException
) -> None:
    for _ in range(MOST_DEATHS + 1):
        with pytest.raises(type(error)):
            work(study, SPACE, Scripted(on_bad_route(error)))
    assert list(work(study, SPACE, Scripted()).finished) == by_one_worker()


def test_a_task_on_which_workers_crash_is_tried_three_times_and_then_left(study: Study) -> None:
    crashes = 0
    scripted = Scripted(on_bad_route(RuntimeError("lost")))
    while True:
        try:
            ended = work(study, SPACE, scripted)
            break
        except RuntimeError:
            crashes += 1
    failed = [each for each in ended.finished if each.outcome is None]
    assert crashes == MOST_DEATHS * len(failed) > 0
    assert {each.error for each in failed} == {f"{MOST_DEATHS} workers died on it: RuntimeError."}


def test_files_on_the_front_are_stored_for_other_machines_and_no_others(tmp_path: Path) -> None:
    space = replace(SPACE, routes=SPACE.references[::-1])  # dense int8 comes first
    study = Study.open(file_url(tmp_path / "search.db"), {}, space, Heart(60, 600))
    formula = Formula(space, dense={"int8": 0.8, "float32": 0.7})
    ended = work(study, space, Scripted(formula=formula), watcher=Watcher(content=str.encode))
    stored = {
        each.task.candidate.route: study.file(each.outcome.sha256)
        for each in ended.finished
        if each.outcome and each.outcome.sha256
    }
    study.close()
    assert stored == {"int8": Candidate("phone", "int8").key.encode(), "float32": None}


def test_the_watcher_sees_what_is_finished_and_what_is_left_whenever_that_changes(
    study: Study,
) -> None:
    seen: list[tuple[int, int]] = []
    work(
        study,
        SPACE,
        Scripted(),
        watcher=Watcher(seen=lambda done, left: seen.append((len(done), len(left)))),
    )
    assert seen[0] == (0, 4)
    assert seen[1] == (1, 3)
    assert seen[-1] == (len(by_one_worker()), 0)
