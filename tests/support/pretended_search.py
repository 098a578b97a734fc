"""A search whose evaluations are a formula, so that it ends in milliseconds and is known in full.

The formula is roughly that of a CIFAR-10 network of 350 thousand weights on a phone: accuracy falls
with what is removed, slowly at first, and most of it comes back by training.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.terms import Numerics
from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import Candidate, Finished, HalfAccuracy, Outcome, Stage, Task
from edgeprune.searching.known import level_of
from edgeprune.searching.rounds import next_tasks
from edgeprune.searching.space import CHANNEL_COSTS, ZEROS_COSTS, FrontKey, RouteSpace, Space

FRONT = FrontKey("counter", "cortex-a76", "instructions")
DENSE_COST: Mapping[str, float] = {"float32": 7.6e6, "float16-arithmetic": 4.0e6, "int8": 2.56e6}
DENSE_ACCURACY: Mapping[str, float] = {"float32": 0.8, "float16-arithmetic": 0.8, "int8": 0.7984}
LOSS: Mapping[str, float] = {"int8-channels": 0.02, "float16-channels": 0.022, "sparse": 0.03}
"""Accuracy lost where half of the cost is left, by route."""


def route_space(
    route: str,
    numerics: Numerics,
    values: tuple[float, ...] = (),
    *,
    device: str = "phone",
    epochs: int = 0,
    front: FrontKey = FRONT,
) -> RouteSpace:
    """A route whose costs are asked for; a dense one without values."""
    return RouteSpace(
        device=device,
        route=route,
        numerics=numerics,
        dense=not values,
        fixed=False,
        knob="cost" if values else None,
        values=values,
        paddings=("keep",),
        activations=("keep", "hard-swish") if epochs and values else ("keep",),
        allocations=(None,),
        front=front,
        kind=("channels" if "channels" in route else "zeros") if values else "",
        emulated=numerics == "float16-arithmetic",
    )


def phone_space(budget: Budget | None = None, epochs: int = 0, trials: int | None = None) -> Space:
    """Three dense and three pruned routes of a phone."""
    return Space(
        routes=(
            route_space("float32", "float32"),
            route_space("float16-arithmetic", "float16-arithmetic"),
            route_space("int8", "int8"),
            route_space("int8-channels", "int8", CHANNEL_COSTS, epochs=epochs),
            route_space("float16-channels", "float16-arithmetic", CHANNEL_COSTS, epochs=epochs),
            route_space("sparse", "float32", ZEROS_COSTS, epochs=epochs),
        ),
        epochs=epochs,
        budget=budget or Budget(max_drop=0.01),
        seed=0,
        trials=trials,
    )


def numerics_of(candidate: Candidate, space: Space) -> str:
    return next(
        route.numerics
        for route in space.routes
        if (route.device, route.route) == (candidate.device, candidate.route)
    )


@dataclass(frozen=True)
class Formula:
    """Costs and accuracies by formula.

    Args:
      space: of which the candidates are.
      loss: accuracy lost where half of the cost is left, by route.
      error: what the tables are off by, by route.
      fails: candidates that fail for good.
      dense: accuracy of the dense models, by number format.
      prices: costs of the dense models, by number format.
      labels: whether accuracy is known.
      sign: of what stands for accuracy; -1 where less is better.
    """

    space: Space
    loss: Mapping[str, float] = field(default_factory=lambda: LOSS)
    error: Mapping[str, float] = field(default_factory=dict)
    fails: Callable[[Candidate], bool] = lambda _: False
    dense: Mapping[str, float] = field(default_factory=lambda: DENSE_ACCURACY)
    prices: Mapping[str, float] = field(default_factory=lambda: DENSE_COST)
    labels: bool = True
    sign: float = 1.0

    def cost(self, candidate: Candidate) -> float:
        level = level_of(candidate) if candidate.cost is not None else 1.0
        return self.prices[numerics_of(candidate, self.space)] * level

    def accuracy(self, candidate: Candidate) -> float:
        level = level_of(candidate) if candidate.cost is not None else 1.0
        dense = self.dense[numerics_of(candidate, self.space)]
        lost = self.loss.get(candidate.route, 0.0) * (1 / level - 1)
        return dense - (0.2 * lost if candidate.epochs else lost)

    def expected(self, candidates: Sequence[Candidate]) -> Mapping[str, float | None]:
        return {each.key: self.cost(each) * self.error.get(each.route, 1.0) for each in candidates}

    def evaluate(self, task: Task, progress: Progress = no_progress) -> Outcome:
        progress(task.key, 0, 1)
        if task.stage is Stage.INSTRUMENT:
            return Outcome(cost=self.cost(task.candidate))
        if not self.labels:
            return Outcome(cost=self.cost(task.candidate), sha256=task.candidate.key)
        accuracy = self.accuracy(task.candidate) - (0.003 if task.stage is Stage.PART else 0.0)
        accuracy *= self.sign
        both = HalfAccuracy(accuracy, accuracy, None, (100, 100), "formula")
        return Outcome(cost=self.cost(task.candidate), accuracy=both, sha256=task.candidate.key)

    def finish(self, task: Task) -> Finished:
        """The task with its outcome."""
        if self.fails(task.candidate):
            return Finished(task, None, "fails")
        return Finished(task, self.evaluate(task))


def alone(space: Space, formula: Formula, expected: Mapping[str, float | None]) -> list[Finished]:
    """What one worker finishes, in its order."""
    finished: list[Finished] = []
    while tasks := next_tasks(space, expected, finished):
        finished += map(formula.finish, tasks)
    return finished


def together(
    space: Space, formula: Formula, expected: Mapping[str, float | None], seed: int, workers: int
) -> list[Finished]:
    """What several workers finish, each task at a time of its own."""
    chance = random.Random(seed)  # noqa: S311
    finished: list[Finished] = []
    running: list[Task] = []
    while tasks := next_tasks(space, expected, finished):
        free = [task for task in tasks if task not in running]
        if free and len(running) < workers and chance.random() < 0.7:
            running.append(free[chance.randrange(len(free))])
        elif running:
            finished.append(formula.finish(running.pop(chance.randrange(len(running)))))
    return finished
