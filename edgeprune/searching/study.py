"""The storage of a search: tasks are trials of an Optuna study, which workers share.

A task becomes a waiting trial; a worker makes it a running one, beats while it evaluates, and tells
what it found. Candidates that were evaluated in full are complete trials with cost and accuracy, so
that dashboards show the front; those of cheaper stages, which have no accuracy on all samples, are
pruned ones, with their outcome among the attributes. A candidate that fails for good is a failed
trial with an error. A failed one without is a worker's that died or was interrupted, and its task
waits again in a new trial.

Several workers may write the same task. Numbers are given out in the order in which trials become
visible, so the trial with the lowest number is the one that counts, and whoever takes another one
drops it at once.
"""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from edgeprune.core import digest
from edgeprune.core.errors import InputError
from edgeprune.core.lock import held
from edgeprune.core.terms import Activation, Allocation
from edgeprune.searching import shared_tables
from edgeprune.searching.candidate import Candidate, Finished, Outcome, Stage, Task
from edgeprune.searching.space import SPACE_SCHEMA, Space
from edgeprune.searching.storage_url import StorageUrl

NAME = "edgeprune search"
"""Of the study; a database holds one search."""
MOST_DEATHS = 3
"""Workers that may die on a task before it counts as failed for good."""
_TRIES = 4
_PAUSE_S = 0.5
_CONNECT_S = 10
_BUSY_S = 60
"""Seconds for which a locked SQLite file is waited for."""

T = TypeVar("T")


@dataclass(frozen=True)
class Heart:
    """How workers show that they live; whole seconds."""

    interval_s: int = 15
    grace_s: int = 180
    """After which a silent worker is dead: conversion may keep every thread waiting for minutes."""


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
        with _told(url):
            _require_reached(url)
            storage = _storage(url, heart or Heart())
            found = _Opening(url, storage, space)
            found.require_same({**identity, **_identity_of(space)})
            return cls(url, storage, found.study(), space)

    def enqueue(self, tasks: Sequence[Task]) -> None:
        """Writes those of the tasks that are neither finished nor waiting nor running."""

        def add() -> None:
            fail_stale(self._study)
            there = _by_key(self._trials())
            for task in tasks:
                if all(_was_lost(trial) for trial in there.get(task.key, ())):
                    self._study.add_trial(_waiting(task, self._space))

        self._do(add)

    def take(self, number: int) -> Trial | None:
        """Takes the first waiting task of a round; None if none is left.

        Trials whose task another trial of a lower number has are dropped on the way.
        """
        return self._do(lambda: self._take(number))

    def _take(self, number: int) -> Trial | None:
        for waiting in self._trials(TrialState.WAITING):
            task = _task_of(waiting)
            # It beats before it runs: one without a heart would never be missed.
            self._storage.record_heartbeat(waiting._trial_id)
            if task.round > number or not self._run(waiting):
                continue
            first = self._before(waiting, task)
            if first is None and task.round == number:
                return Trial(waiting.number, waiting._trial_id, task)
            self._end(waiting._trial_id, TrialState.PRUNED, duplicate_of=first)
        return None

    def _run(self, waiting: FrozenTrial) -> bool:
        """Makes a waiting trial this worker's; False if another one was faster."""
        try:
            return self._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def _before(self, trial: FrozenTrial, task: Task) -> int | None:
        """The number of the trial that has this task already, if one has."""
        same = _by_key(self._trials()).get(task.key, ())
        lower = (each.number for each in same if each.number < trial.number and not _was_lost(each))
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
        if trial.task.stage >= Stage.ONE_SHOT and accuracy is not None:
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
            thread.join(_CONNECT_S)

    def finished(self) -> tuple[Finished, ...]:
        """The tasks that are over, each once, in the order of their trials."""
        groups = _by_key(self._do(self._trials)).values()
        return tuple(each for each in map(_finished, groups) if each is not None)

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
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _do(self, work: Callable[[], T]) -> T:
        """Does something in the storage; several times if it is away for a moment.

        Raises:
          InputError: it stays away.
        """
        with _told(self._place):
            return _persistently(work)


def _persistently(work: Callable[[], T]) -> T:
    for number in range(1, _TRIES):
        try:
            return work()
        except (SQLAlchemyError, StorageInternalError):
            time.sleep(_PAUSE_S * 2**number)
    return work()


@contextmanager
def _told(url: StorageUrl) -> Iterator[None]:
    """Says without passwords what is wrong with a storage."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = getattr(cause, "orig", None) or cause or error
        words = " ".join(url.hide(str(reason)).split())
        raise InputError(
            f"{url.place}: expected a storage that can be reached and written to. "
            f"Received: {words}. Start the database, or name another one with --storage."
        ) from None


def _require_reached(url: StorageUrl) -> None:
    """Connects once, so that a wrong address is told at once."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    if url.local and not Path(url.url.database or "").parent.is_dir():
        raise InputError(f"{url.place}: expected a file in a folder that exists. Make it first.")
    try:
        engine = create_engine(url.url, poolclass=NullPool, connect_args=_connect_args(url))
    except ImportError:
        raise InputError(
            f"{url.place}: PostgreSQL needs its client. Install it with: "
            "pip install 'edgeprune[postgresql]'"
        ) from None
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def _connect_args(url: StorageUrl) -> dict[str, Any]:
    return {"timeout": _BUSY_S} if url.local else {"connect_timeout": _CONNECT_S}


def _storage(url: StorageUrl, heart: Heart) -> RDBStorage:
    """Optuna's storage with our tables; two workers may make them at the same time."""

    def make() -> RDBStorage:
        with quietly():
            storage = RDBStorage(
                url.text,
                engine_kwargs={"connect_args": _connect_args(url), "pool_pre_ping": True},
                heartbeat_interval=heart.interval_s,
                grace_period=heart.grace_s,
                skip_compatibility_check=True,
            )
        if storage.get_current_version() not in storage.get_all_versions():
            raise InputError(
                f"{url.place}: was made by a newer Optuna than {optuna.__version__}, which is "
                "installed here. Install that: pip install --upgrade optuna"
            )
        if url.local:
            _write_alone(storage.engine)
        shared_tables.make_tables(storage.engine)
        return storage

    if not url.local:
        return _persistently(make)
    path = Path(url.url.database or "")
    with held(path.with_name(f".{path.name}.lock"), lambda: None):
        return make()


def _write_alone(engine: Engine) -> None:
    """Lets a SQLite transaction lock the file before it reads: else two may take one trial."""

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # of connections that were made before


@dataclass(frozen=True)
class _Opening:
    url: StorageUrl
    storage: RDBStorage
    space: Space

    def require_same(self, identity: Mapping[str, str]) -> None:
        """Checks that the storage holds this search, or none yet.

        Raises:
          InputError: it holds another one; names what differs.
        """
        text = json.dumps(dict(identity), sort_keys=True)
        there = json.loads(shared_tables.agree(self.storage.engine, "identity", text))
        differs = [
            f"{name} (there {_short(there.get(name))}, here {_short(identity.get(name))})"
            for name in dict.fromkeys((*identity, *there))
            if there.get(name) != identity.get(name)
        ]
        if differs:
            raise InputError(
                f"{self.url.place}: holds another search. Expected the same "
                f"{' and the same '.join(differs)}. Repeat the command that began it, or name "
                "another output folder or storage."
            )

    def study(self) -> optuna.Study:
        """Optuna's study, with the names that its dashboard shows."""
        better = StudyDirection.MINIMIZE if self.space.minimize else StudyDirection.MAXIMIZE
        with quietly():
            study = optuna.create_study(
                storage=self.storage,
                study_name=NAME,
                directions=[StudyDirection.MINIMIZE, better],
                sampler=optuna.samplers.RandomSampler(self.space.seed),
                load_if_exists=True,
            )
            study.set_metric_names(["cost", "accuracy"])
        return study


def _identity_of(space: Space) -> dict[str, str]:
    fronts = (f"{f.target or 'cost table'}, {f.core or 'this one'}, {f.unit}" for f in space.fronts)
    return {
        "instruments": "; ".join(fronts),
        "space": digest.of_json([SPACE_SCHEMA, asdict(space)]),
    }


def _short(value: str | None) -> str:
    return "nothing" if value is None else value if len(value) <= 60 else f"{value[:12]}..."


@contextmanager
def quietly() -> Iterator[None]:
    """Without Optuna's warnings that heartbeats and names of metrics are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def fail_stale(study: optuna.Study) -> None:
    """Fails the trials of workers that no longer beat."""
    with quietly():
        optuna.storages.fail_stale_trials(study)


def _waiting(task: Task, space: Space) -> FrozenTrial:
    """A waiting trial; its parameters are for people, its task is among the attributes."""
    candidate = task.candidate
    params = {
        "device": candidate.device,
        "route": candidate.route,
        "sparsity": candidate.sparsity,
        "cost": candidate.cost,
        "allocation": candidate.allocation,
        "padding": candidate.padding,
        "activation": candidate.activation,
        "epochs": candidate.epochs,
        "stage": task.stage.name.lower(),
    }
    known = {name: value for name, value in params.items() if value is not None}
    distributions = _distributions(space)
    content = {"round": task.round, "stage": int(task.stage), "candidate": candidate.to_json()}
    return optuna.create_trial(
        state=TrialState.WAITING,
        params=known,
        distributions={name: distributions[name] for name in known},
        user_attrs={"task": content},
    )


def _distributions(space: Space) -> Mapping[str, BaseDistribution]:
    """What each parameter may be, alike in all trials of a study."""

    def one_of(values: Iterator[str]) -> BaseDistribution:
        return CategoricalDistribution(tuple(sorted(set(values))))

    return {
        "device": one_of(each.device for each in space.routes),
        "route": one_of(each.route for each in space.routes),
        "sparsity": FloatDistribution(0, 1),
        "cost": FloatDistribution(0, 1),
        "allocation": CategoricalDistribution(get_args(Allocation)),
        "padding": CategoricalDistribution(("keep", "symmetric")),
        "activation": CategoricalDistribution(get_args(Activation)),
        "epochs": IntDistribution(0, max(space.epochs, 1)),
        "stage": CategoricalDistribution(tuple(stage.name.lower() for stage in Stage)),
    }


def _task_of(trial: FrozenTrial) -> Task:
    content = trial.user_attrs["task"]
    candidate = Candidate(**content["candidate"])
    return Task(content["round"], candidate, Stage(content["stage"]))


def _by_key(trials: Sequence[FrozenTrial]) -> Mapping[str, list[FrozenTrial]]:
    """The trials of each task, the lowest number first."""
    found: dict[str, list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if "task" in trial.user_attrs:
            found.setdefault(_task_of(trial).key, []).append(trial)
    return found


def _was_lost(trial: FrozenTrial) -> bool:
    """Whether its worker died or gave it back, so that its task has to be taken up again."""
    failed = trial.state is TrialState.FAIL and "error" not in trial.user_attrs
    return failed or "duplicate_of" in trial.user_attrs


def _finished(trials: Sequence[FrozenTrial]) -> Finished | None:
    """What came of the trials of one task; None if it is not over."""
    task = _task_of(trials[0])
    for trial in trials:
        if trial.state.is_finished() and not _was_lost(trial):
            outcome = trial.user_attrs.get("outcome")
            if outcome is not None:
                return Finished(task, Outcome.from_json(outcome))
            return Finished(task, None, str(trial.user_attrs.get("error", "")))
    deaths = Counter(_died(trial) for trial in trials)[True]
    if deaths < MOST_DEATHS:
        return None
    reasons = {str(trial.user_attrs.get("died", "the process ended")) for trial in trials}
    return Finished(task, None, f"{deaths} workers died on it: {', '.join(sorted(reasons))}.")


def _died(trial: FrozenTrial) -> bool:
    return (
        trial.state is TrialState.FAIL
        and "error" not in trial.user_attrs
        and "returned" not in trial.user_attrs
    )
