"""A worker's loop: it takes tasks of the round, evaluates them, and waits for the other workers.

Every worker computes the round by itself from what is finished, so none of them leads, and any may
leave or die at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from edgeprune.core.errors import EdgepruneError, OutputError, TargetError
from edgeprune.core.progress import Progress, no_progress
from edgeprune.searching.candidate import Candidate, Finished, Outcome, Stage, Task
from edgeprune.searching.known import Known
from edgeprune.searching.refine import front_of
from edgeprune.searching.rounds import next_tasks
from edgeprune.searching.space import Space, candidates
from edgeprune.searching.study import Study, Trial

POLL_S = 1.0
"""Seconds between two looks at what other workers do."""


class Evaluator(Protocol):
    """What finds out costs and accuracies."""

    def expected(self, candidates: Sequence[Candidate]) -> Mapping[str, float | None]:
        """The stage `TABLE`: costs by the tables, by the candidates' keys.

        They are in one unit within a front, if possible that of the front; None where nothing
        tells. A pruned candidate and the dense one of its number format come from one table.
        """

    def evaluate(self, task: Task, progress: Progress) -> Outcome:
        """What is found of a candidate at a stage.

        Raises:
          OutputError: this machine cannot write, whatever the candidate.
          TargetError: this machine lacks an instrument, whatever the candidate.
          EdgepruneError: anything else of this kind is the candidate's, which fails for good.
        """


@dataclass(frozen=True)
class Ended:
    """How a worker's part came to an end."""

    reason: Literal["over", "time", "stopped"]
    """Nothing is left to try, the deadline has passed, or the worker was asked to stop."""
    finished: tuple[Finished, ...]
    """Tasks that all workers finished."""


@dataclass(frozen=True)
class Watcher:
    """Who is told what happens.

    Args:
      progress: of the evaluation that runs.
      seen: told what is finished and what is left of the round, whenever that has changed.
      content: the content of a file by its digest, for other machines; None where all workers see
        the same files.
    """

    progress: Progress = no_progress
    seen: Callable[[Sequence[Finished], Sequence[Task]], None] = lambda *_: None
    content: Callable[[str], bytes] | None = None


def work(
    study: Study,
    space: Space,
    evaluator: Evaluator,
    *,
    deadline: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    watcher: Watcher | None = None,
    dense_accuracy: float | None = None,
) -> Ended:
    """Evaluates tasks until nothing is left to try.

    Args:
      study: the storage that workers share.
      space: what is searched.
      evaluator: finds out costs and accuracies.
      deadline: by `time.monotonic`; no task is taken after it.
      stop: asked before a task is taken.
      watcher: told what happens.
      dense_accuracy: of the dense float model on the selecting half; that of the first worker
        counts.

    Returns:
      Why it ended, and what all workers have finished.

    Raises:
      InputError: the storage is lost.
      EdgepruneError: this machine cannot evaluate; its task goes to another worker.
    """
    watcher = watcher or Watcher()
    expected = study.agree("expected", dict(evaluator.expected(candidates(space))))
    dense_accuracy = study.agree("dense_accuracy", dense_accuracy)
    finished: tuple[Finished, ...] | None = None
    tasks: tuple[Task, ...] = ()
    while True:
        now = study.finished()
        if now != finished:
            finished = now
            tasks = next_tasks(space, expected, finished, dense_accuracy)
            watcher.seen(finished, tasks)
        if not tasks:
            return Ended("over", now)
        if stop():
            return Ended("stopped", now)
        if deadline is not None and time.monotonic() >= deadline:
            return Ended("time", now)
        study.enqueue(tasks)
        trial = study.take(tasks[0].round)
        if trial is None:
            time.sleep(POLL_S)
        else:
            _evaluate(study, space, evaluator, trial, watcher)


def _evaluate(
    study: Study, space: Space, evaluator: Evaluator, trial: Trial, watcher: Watcher
) -> None:
    """Evaluates a task and tells what was found; if it cannot, another worker takes it at once."""
    try:
        with study.beating(trial):
            found = _found(evaluator, trial.task, watcher.progress)
            if isinstance(found, Outcome):
                _share(study, space, trial.task, found, watcher)
            study.tell(trial, found)
    except EdgepruneError:
        study.give_back(trial)
        raise
    except Exception as error:
        study.give_back(trial, died=type(error).__name__)
        raise
    except BaseException:
        study.give_back(trial)
        raise


def _found(evaluator: Evaluator, task: Task, progress: Progress) -> Outcome | str:
    """The outcome, or why this candidate has none on any machine.

    Raises:
      OutputError: this machine cannot write.
      TargetError: this machine lacks an instrument.
    """
    try:
        return evaluator.evaluate(task, progress)
    except (OutputError, TargetError):
        raise
    except EdgepruneError as error:
        return str(error)


def _share(study: Study, space: Space, task: Task, outcome: Outcome, watcher: Watcher) -> None:
    """Stores a file for other machines if it is on the front as that is now.

    Before its trial is finished, so that whoever sees the trial finds the file.
    """
    if watcher.content is None or outcome.sha256 is None or task.stage < Stage.ONE_SHOT:
        return
    if on_front(space, study.finished(), Finished(task, outcome)):
        study.put_file(outcome.sha256, watcher.content(outcome.sha256))


def on_front(space: Space, finished: Sequence[Finished], new: Finished) -> bool:
    """Whether a finished task is on the front of what was evaluated in full."""
    together = (*finished, new)
    return any(
        each.candidate == new.task.candidate and each.stage == new.task.stage
        for key in space.fronts
        for each in front_of(Known(space.of_front(key), {}, together).full)
    )
