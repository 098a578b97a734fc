"""The storage of a search: tasks are trials of an Optuna study, which workers share.

A task becomes a waiting trial; a worker makes it a running one, beats while it evaluates, and tells
what it found. Candidates that were evaluated in full are complete trials with cost and accuracy, so
that dashboards show the front; those of cheaper stages, which have no accuracy on all samples, and
those of which a check failed are pruned ones, with their outcome among the attributes. A candidate
that fails for good is a failed trial with an error. A failed one without is a worker's that died or
was interrupted, and its task waits again in a new trial.

Several workers may write the same task. Numbers are given out in the order in which trials become
visible, so the trial with the lowest number is the one that counts, and whoever takes another one
drops it at once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from edgeprune.searching import shared_tables
from edgeprune.searching.candidate import Finished, Outcome, Stage, Task
from edgeprune.searching.opening import (
    CONNECT_S,
    Heart,
    make_storage,
    open_study,
    persistently,
    quietly,
    require_reached,
    require_same,
    told,
)
from edgeprune.searching.space import Space
from edgeprune.searching.storage_url import StorageUrl
from edgeprune.searching.trials import by_key, finished, is_task, task_of, waiting, was_lost

T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """A task that this worker has taken."""

    number: int
    identity: int
    """By which the database knows it."""
    task: Task


class Study:
    """A search in its storage.

    Args:
      place: the storage, for messages.
      storage: Optuna's.
      study: Optuna's.
      space: what is searched.
    """

    def __init__(
        self, place: StorageUrl, storage: RDBStorage, study: optuna.Study, space: Space
    ) -> None:
        self._place, self._storage, self._study, self._space = place, storage, study, space

    @classmethod
    def open(
        cls, url: StorageUrl, identity: Mapping[str, str], space: Space, heart: Heart | None = None
    ) -> Study:
        """Starts a search, or joins the one that is there.

        Args:
          url: the storage.
          identity: what has to be the same for all workers, by names that people understand, such
            as the digests of model and data; the space itself is added.
          space: what is searched.
          heart: how workers show that they live.

        Raises:
          InputError: the storage cannot be reached or used, or holds another search.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with told(url):
            require_reached(url)
            storage = make_storage(url, heart or Heart())
            whole = require_same(url, storage, identity, space)
            return cls(url, storage, open_study(storage, space, whole), space)

    def enqueue(self, tasks: Sequence[Task]) -> None:
        """Writes those of the tasks that are neither finished nor waiting nor running."""

        def add() -> None:
            fail_stale(self._study)
            there = by_key(self._trials())
            for task in tasks:
                if all(was_lost(trial) for trial in there.get(task.key, ())):
                    self._study.add_trial(waiting(task, self._space))

        self._do(add)

    def take(self, number: int) -> Trial | None:
        """Takes the first waiting task of a round; None if none is left.

        Trials whose task another trial of a lower number has are dropped on the way.
        """
        return self._do(lambda: self._take(number))

    def _take(self, number: int) -> Trial | None:
        for each in self._trials(TrialState.WAITING):
            task = task_of(each)
            # It beats before it runs: one without a heart would never be missed.
            self._storage.record_heartbeat(each._trial_id)
            if task.round > number or not self._run(each):
                continue
            first = self._before(each, task)
            if first is None and task.round == number:
                return Trial(each.number, each._trial_id, task)
            self._end(each._trial_id, TrialState.PRUNED, duplicate_of=first)
        return None

    def _run(self, waiting: FrozenTrial) -> bool:
        """Makes a waiting trial this worker's; False if another one was faster."""
        try:
            return self._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def _before(self, trial: FrozenTrial, task: Task) -> int | None:
        """The number of the trial that has this task already, if one has."""
        same = by_key(self._trials()).get(task.key, ())
        lower = (each.number for each in same if each.number < trial.number and not was_lost(each))
        return next(lower, None)

    def tell(self, trial: Trial, found: Outcome | str) -> bool:
        """Writes what an evaluation found.

        Args:
          trial: one that `take` gave.
          found: the outcome, or why there is none and never will be.

        Returns:
          Whether it counts: False if this worker was taken for dead meanwhile.
        """
        if isinstance(found, str):
            return self._do(lambda: self._end(trial.identity, TrialState.FAIL, error=found))
        accuracy = found.accuracy
        values = None
        full = trial.task.stage >= Stage.ONE_SHOT and not found.failed_checks
        if full and accuracy is not None:
            values = [found.cost, accuracy.selected_on]
        state = TrialState.COMPLETE if values else TrialState.PRUNED
        content = found.to_json()
        return self._do(lambda: self._end(trial.identity, state, values, outcome=content))

    def give_back(self, trial: Trial, died: str = "") -> None:
        """Ends a trial that this worker does not finish, so that its task is taken up again.

        Args:
          trial: one that `take` gave.
          died: what the evaluation died of; empty if it was interrupted, which is not counted.
        """
        words = {"died": died} if died else {"returned": True}
        self._do(lambda: self._end(trial.identity, TrialState.FAIL, **words))

    def lost(self, key: str, died: str) -> None:
        """Ends the running trials of a task on which a worker of this machine died.

        Args:
          key: of the task.
          died: what the worker died of.
        """

        def end() -> None:
            for trial in self._trials(TrialState.RUNNING):
                if task_of(trial).key == key:
                    self._end(trial._trial_id, TrialState.FAIL, died=died)

        self._do(end)

    def _end(
        self, identity: int, state: TrialState, values: list[float] | None = None, **words: Any
    ) -> bool:
        try:
            for key, value in words.items():
                self._storage.set_trial_user_attr(identity, key, value)
            self._storage.set_trial_state_values(identity, state, values)
        except UpdateFinishedTrialError:
            there = self._storage.get_trial(identity)
            return there.state is state and words.keys() <= there.user_attrs.keys()
        return True

    @contextmanager
    def beating(self, trial: Trial) -> Iterator[None]:
        """Shows in another thread that this worker lives, while a block runs."""
        over = threading.Event()
        interval = self._storage.get_heartbeat_interval()

        def beat() -> None:
            while not over.wait(interval):
                try:
                    self._storage.record_heartbeat(trial.identity)
                except (SQLAlchemyError, StorageInternalError):
                    continue  # the next one may be heard
            self._storage.remove_session()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(CONNECT_S)

    def finished(self) -> tuple[Finished, ...]:
        """The tasks that are over, each once, in the order of their trials."""
        groups = by_key(self._do(self._trials)).values()
        return tuple(each for each in map(finished, groups) if each is not None)

    def agree(self, name: str, value: Any) -> Any:
        """What all workers take for a value: that of the first one. It has to be JSON."""
        text = json.dumps(value, sort_keys=True)
        return json.loads(self._do(lambda: shared_tables.agree(self._engine, name, text)))

    def put_file(self, sha256: str, content: bytes) -> None:
        """Stores a file for the other workers."""
        self._do(lambda: shared_tables.put_file(self._engine, sha256, content))

    def file(self, sha256: str) -> bytes | None:
        """A file that a worker stored; None if none did."""
        return self._do(lambda: shared_tables.get_file(self._engine, sha256))

    def close(self) -> None:
        """Closes all connections; the search stays as it is."""
        self._storage.remove_session()
        self._engine.dispose()

    @property
    def _engine(self) -> Engine:
        return self._storage.engine

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials of tasks; people may add others on a dashboard, which are left alone."""
        found = self._study.get_trials(deepcopy=False, states=states or None)
        return [trial for trial in found if is_task(trial)]

    def _do(self, work: Callable[[], T]) -> T:
        """Does something in the storage; several times if it is away for a moment.

        Raises:
          InputError: it stays away.
        """
        with told(self._place):
            return persistently(work)


def fail_stale(study: optuna.Study) -> None:
    """Fails the trials of workers that no longer beat."""
    with quietly():
        optuna.storages.fail_stale_trials(study)
