"""Tasks as trials of an Optuna study: how they are written, and what came of each by its trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from edgeprune.core.terms import Activation, Allocation
from edgeprune.searching.candidate import Candidate, Finished, Outcome, Stage, Task
from edgeprune.searching.space import Space

MOST_DEATHS = 3
"""Workers that may die on a task before it counts as failed for good."""


def waiting(task: Task, space: Space) -> FrozenTrial:
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
    return {
        "device": _one_of(each.device for each in space.routes),
        "route": _one_of(each.route for each in space.routes),
        "sparsity": FloatDistribution(0, 1),
        "cost": FloatDistribution(0, 1),
        "allocation": CategoricalDistribution(get_args(Allocation)),
        "padding": CategoricalDistribution(("keep", "symmetric")),
        "activation": CategoricalDistribution(get_args(Activation)),
        "epochs": IntDistribution(0, max(space.epochs, 1)),
        "stage": CategoricalDistribution(tuple(stage.name.lower() for stage in Stage)),
    }


def _one_of(values: Iterable[str]) -> BaseDistribution:
    return CategoricalDistribution(tuple(sorted(set(values))))


def is_task(trial: FrozenTrial) -> bool:
    """Whether a trial was written for a task."""
    return "task" in trial.user_attrs


def task_of(trial: FrozenTrial) -> Task:
    """The task that a trial was written for."""
    content = trial.user_attrs["task"]
    candidate = Candidate(**content["candidate"])
    return Task(content["round"], candidate, Stage(content["stage"]))


def by_key(trials: Sequence[FrozenTrial]) -> Mapping[str, list[FrozenTrial]]:
    """The trials of each task, the lowest number first."""
    found: dict[str, list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        found.setdefault(task_of(trial).key, []).append(trial)
    return found


def was_lost(trial: FrozenTrial) -> bool:
    """Whether its worker died or gave it back, so that its task has to be taken up again."""
    failed = trial.state is TrialState.FAIL and "error" not in trial.user_attrs
    return failed or "duplicate_of" in trial.user_attrs


def finished(trials: Sequence[FrozenTrial]) -> Finished | None:
    """What came of the trials of one task; None if it is not over."""
    task = task_of(trials[0])
    for trial in trials:
        if trial.state.is_finished() and not was_lost(trial):
            outcome = trial.user_attrs.get("outcome")
            if outcome is not None:
                return Finished(task, Outcome.from_json(outcome))
            return Finished(task, None, str(trial.user_attrs.get("error", "")))
    deaths = sum(map(_died, trials))
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
