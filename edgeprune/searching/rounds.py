"""What a search does next: a round of tasks, which depends on finished rounds alone.

Pure: one worker and several make the same rounds, whatever the order in which tasks end. A round
holds, for each front, what its first stage wants that is not satisfied yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgeprune.searching.candidate import Candidate, Finished, Stage, Task
from edgeprune.searching.known import Known
from edgeprune.searching.refine import boundary, finalists, refinement
from edgeprune.searching.space import Space
from edgeprune.searching.stages import (
    Wanted,
    first_costs,
    in_full,
    needed_references,
    parts,
    references,
)

__all__ = ["Finished", "current_round", "next_tasks"]

_FIRST = (needed_references, parts, in_full)
_LAST = (boundary, refinement)
_WITHOUT_TRAINING = (*_FIRST, *_LAST)
_WITH_TRAINING = (*_FIRST, finalists, *_LAST)
"""Training comes before refinement: what is trained costs less than anything in one shot."""


def next_tasks(
    space: Space,
    expected: Mapping[str, float | None],
    finished: Sequence[Finished],
    dense_accuracy: float | None = None,
) -> tuple[Task, ...]:
    """The tasks of the first round that is not finished, those that are finished left out.

    Args:
      space: what is searched.
      expected: costs by the tables, by the key of the candidate.
      finished: tasks that are over.
      dense_accuracy: of the dense float model on the selecting half.

    Returns:
      The tasks, the most useful first; none if the search is over.
    """
    done = {each.task.key for each in finished}
    whole = current_round(space, expected, finished, dense_accuracy)
    return tuple(task for task in whole if task.key not in done)


def current_round(
    space: Space,
    expected: Mapping[str, float | None],
    finished: Sequence[Finished],
    dense_accuracy: float | None = None,
) -> tuple[Task, ...]:
    """All tasks of the first round that is not finished; none if the search is over."""
    done = {each.task.key: each for each in finished}
    before: list[Finished] = []
    for number in range(len(finished) + 1):
        tasks = _round(space, expected, before, dense_accuracy, number)
        if any(task.key not in done for task in tasks):
            return tasks
        before += [done[task.key] for task in tasks]
        if not tasks:
            break
    return ()


def _round(
    space: Space,
    expected: Mapping[str, float | None],
    before: Sequence[Finished],
    dense_accuracy: float | None,
    number: int,
) -> tuple[Task, ...]:
    """The tasks of a round by the finished ones before it."""
    wanted = dict.fromkeys(
        each
        for key in space.fronts
        for each in _of_front(Known(space.of_front(key), expected, before, dense_accuracy))
    )
    tasks = tuple(Task(number, candidate, stage) for candidate, stage in wanted)
    return _within_trials(space, before, tasks)


def _of_front(known: Known) -> tuple[Wanted, ...]:
    first = (*references(known), *first_costs(known))
    if first:
        return first
    steps: Sequence[Callable[[Known], tuple[Wanted, ...]]]
    steps = _WITH_TRAINING if known.space.epochs else _WITHOUT_TRAINING
    return next((wanted for wanted in (step(known) for step in steps) if wanted), ())


def _within_trials(
    space: Space, before: Sequence[Finished], tasks: Sequence[Task]
) -> tuple[Task, ...]:
    """The tasks without those that would be more full evaluations than are allowed."""
    if space.trials is None:
        return tuple(tasks)
    dense = {each for route in space.references for each in route.tried_first()}
    left = space.trials - sum(counts(each.task, dense) for each in before)
    kept = []
    for task in tasks:
        if counts(task, dense):
            left -= 1
            if left < 0:
                continue
        kept.append(task)
    return tuple(kept)


def counts(task: Task, dense: set[Candidate]) -> bool:
    """Whether a task is one of those that `--trials` counts."""
    return task.stage >= Stage.ONE_SHOT and task.candidate not in dense
