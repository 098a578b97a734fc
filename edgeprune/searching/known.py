"""What finished tasks tell of one front: costs and accuracies, measured or estimated between them.

Pure. How much of a candidate is left is its *level*: the fraction of the dense cost asked for, or
of weights kept; a dense model has 1. Within a family, which is a route of a device, cost and
accuracy fall with it, and are interpolated over its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgeprune.searching.candidate import Candidate, Finished, HalfAccuracy, Outcome, Stage
from edgeprune.searching.space import RouteSpace, Space

FIXED_LEVEL = 0.5
"""The level of a pattern with a sparsity of its own, of which a family has one."""
DEFAULT_SCALE = 0.01
"""Accuracy that matters, as a fraction of the dense model's, where no drop is asked for."""


def level_of(candidate: Candidate) -> float:
    """How much is left of a candidate of a pruned route."""
    if candidate.cost is not None:
        return candidate.cost
    return FIXED_LEVEL if candidate.sparsity is None else 1 - candidate.sparsity


@dataclass(frozen=True)
class Tried:
    """A candidate with what its furthest stage found."""

    route: RouteSpace
    candidate: Candidate
    stage: Stage
    outcome: Outcome
    level: float
    accuracy: float | None
    """On the selecting half, the higher the better; None before the stage `PART`."""

    @property
    def cost(self) -> float:
        """In the unit of the front."""
        return self.outcome.cost

    @property
    def full(self) -> bool:
        """Whether it may stand on a front: evaluated in full, and no check failed."""
        return (
            self.stage >= Stage.ONE_SHOT
            and self.accuracy is not None
            and not self.outcome.failed_checks
        )


@dataclass(frozen=True)
class Known:
    """What is known of one front.

    Args:
      space: the part of the space that competes in it.
      expected: costs by the tables, by the key of the candidate.
      finished: tasks of finished rounds; those of other fronts are not looked at.
      dense_accuracy: of the dense float model on the selecting half; that of the best reference if
        None.
    """

    space: Space
    expected: Mapping[str, float | None]
    finished: Sequence[Finished]
    dense_accuracy: float | None = None

    @cached_property
    def asked(self) -> frozenset[tuple[Candidate, Stage]]:
        """What was evaluated, whatever came of it."""
        return frozenset((each.task.candidate, each.task.stage) for each in self.finished)

    @cached_property
    def _failed(self) -> frozenset[Candidate]:
        return frozenset(each.task.candidate for each in self.finished if each.outcome is None)

    def was_asked(self, candidate: Candidate, stage: Stage) -> bool:
        """Whether a candidate was evaluated to a stage or further, or failed for good before."""
        asked = any((candidate, each) in self.asked for each in Stage if each >= stage)
        return asked or candidate in self._failed

    def failed_below(self, route: RouteSpace, level: float) -> float | None:
        """The highest level of a route below another at which a candidate failed for good."""
        found = (level_of(each) for each in self._failed if belongs(each, route))
        return max((each for each in found if each < level), default=None)

    @cached_property
    def tried(self) -> tuple[Tried, ...]:
        """Every candidate of the front that has an outcome, in the order of the routes."""
        furthest: dict[Candidate, tuple[Stage, Outcome]] = {}
        for each in sorted(self.finished, key=lambda each: each.task.stage):
            if each.outcome is not None:
                furthest[each.task.candidate] = (each.task.stage, each.outcome)
        return tuple(
            self._tried(route, candidate, stage, outcome)
            for route in self.space.routes
            for candidate, (stage, outcome) in furthest.items()
            if belongs(candidate, route)
        )

    def _tried(
        self, route: RouteSpace, candidate: Candidate, stage: Stage, outcome: Outcome
    ) -> Tried:
        accuracy = self._comparable(outcome.accuracy) if outcome.accuracy else None
        if accuracy is not None and self.space.minimize:
            accuracy = -accuracy
        level = 1.0 if route.dense else level_of(candidate)
        return Tried(route, candidate, stage, outcome, level, accuracy)

    def _comparable(self, found: HalfAccuracy) -> float:
        """Accuracy on all of the selecting half, also of a file that ran on some samples of it.

        It is then taken to lose there what it loses on those samples.
        """
        if self.dense_accuracy is None or found.dense is None:
            return found.selected_on
        return self.dense_accuracy + found.selected_on - found.dense[0]

    @cached_property
    def references(self) -> tuple[Tried, ...]:
        """The dense models that were evaluated."""
        return tuple(each for each in self.tried if each.route.dense)

    @cached_property
    def full(self) -> tuple[Tried, ...]:
        """Everything that may stand on the front."""
        return tuple(each for each in self.tried if each.full)

    @cached_property
    def top(self) -> float | None:
        """The dense float model's accuracy, as far as it is known."""
        if self.dense_accuracy is not None:
            return -self.dense_accuracy if self.space.minimize else self.dense_accuracy
        known = [each for each in self.references if each.accuracy is not None]
        floats = [each for each in known if each.route.numerics == "float32"]
        found = [each.accuracy for each in floats or known if each.accuracy is not None]
        return max(found, default=None)

    @cached_property
    def floor(self) -> float | None:
        """The lowest accuracy within the budget; None where none is asked for, or not known yet."""
        budget = self.space.budget
        limits = []
        if budget.max_drop is not None and self.top is not None:
            limits.append(self.top - budget.max_drop)
        if budget.min_accuracy is not None:
            limits.append(-budget.min_accuracy if self.space.minimize else budget.min_accuracy)
        return max(limits, default=None)

    @cached_property
    def scale(self) -> float:
        """The difference in accuracy that matters here."""
        if self.floor is not None and self.top is not None and self.top > self.floor:
            return self.top - self.floor
        return DEFAULT_SCALE * abs(self.top or 1.0)

    def accurate(self, each: Tried) -> bool:
        """Whether it was evaluated in full and keeps the accuracy."""
        return each.full and (
            self.floor is None or (each.accuracy is not None and each.accuracy >= self.floor)
        )

    @cached_property
    def cheapest(self) -> Tried | None:
        """What costs least of that which keeps the accuracy."""
        found = (each for each in self.full if self.accurate(each))
        return min(found, key=lambda each: each.cost, default=None)

    def family(self, route: RouteSpace) -> tuple[Tried, ...]:
        """The untrained candidates of a route and the dense models in its number format.

        What is left falls from one to the next.
        """
        return self._families[route.family]

    @cached_property
    def _families(self) -> Mapping[str, tuple[Tried, ...]]:
        return {
            route.family: tuple(
                sorted(
                    (
                        each
                        for each in self.tried
                        if (each.route == route and not each.candidate.epochs)
                        or _is_dense_of(each.route, route)
                    ),
                    key=lambda each: -each.level,
                )
            )
            for route in self.space.pruned
        }

    @cached_property
    def _by_candidate(self) -> Mapping[Candidate, Tried]:
        return {each.candidate: each for each in self.tried}

    def cost_of(self, route: RouteSpace, candidate: Candidate) -> float | None:
        """What a candidate costs: as it was found, else estimated; None if nothing tells."""
        own = self._by_candidate.get(candidate)
        if own is not None or route.dense:
            return own.cost if own else self.expected.get(candidate.key)
        level = level_of(candidate)
        table = self.expected.get(candidate.key)
        near = [each for each in self.family(route) if self.expected.get(each.candidate.key)]
        if table is not None and near:
            # What the table is off by is alike for files that are alike.
            nearest = min(near, key=lambda each: abs(math.log(each.level / level)))
            return table * nearest.cost / (self.expected[nearest.candidate.key] or 1.0)
        if table is not None:
            return table
        points = [(each.level, math.log(each.cost)) for each in self.family(route) if each.cost > 0]
        found = interpolate(points, level)
        if found is None and points:
            found = points[0][1] + math.log(level / points[0][0])
        return None if found is None else math.exp(found)

    def accuracy_of(self, route: RouteSpace, candidate: Candidate) -> float | None:
        """The accuracy of a candidate in one shot, estimated if it was not found yet."""
        own = self._by_candidate.get(candidate)
        if (own is not None and own.accuracy is not None) or route.dense:
            return own.accuracy if own else None
        level = level_of(candidate)
        points = self._accuracies(route)
        if points and points[-1][0] <= level:
            return interpolate(points, level)
        found = self._by_others(route, points, level)
        return interpolate(points, level) if found is None else found

    def _accuracies(self, route: RouteSpace) -> list[tuple[float, float]]:
        """Levels and accuracies of a family; a dense model that was not judged has the best one."""
        known = ((each, each.accuracy) for each in self.family(route))
        found = ((e, self.top if a is None and e.route.dense else a) for e, a in known)
        return [(each.level, accuracy) for each, accuracy in found if accuracy is not None]

    def _by_others(
        self, route: RouteSpace, points: Sequence[tuple[float, float]], level: float
    ) -> float | None:
        """The accuracy at a level below all points, if as much is lost as on a like route."""
        if not points:
            return None
        last, accuracy = points[-1]
        for other in self.space.pruned:
            if other == route or (other.device, other.kind) != (route.device, route.kind):
                continue
            known = self._accuracies(other)
            above, below = interpolate(known, last), interpolate(known, level)
            if known[-1:] and known[-1][0] < last and above is not None and below is not None:
                return accuracy - (above - below)
        return None

    def new(self, route: RouteSpace, level: float, epochs: int = 0) -> Candidate | None:
        """The candidate of a level; None on a route where nothing is to choose."""
        match route.knob:
            case None:
                return None
            case "cost":
                return route.at(level, epochs)
            case "sparsity":
                return route.at(1 - level, epochs)


def belongs(candidate: Candidate, route: RouteSpace) -> bool:
    """Whether a candidate is of a route; a dense model may have a pruned route's name."""
    dense = candidate.sparsity == 0 or (route.dense and not route.values)
    named = (candidate.device, candidate.route) == (route.device, route.route)
    return named and dense == route.dense


def _is_dense_of(dense: RouteSpace, route: RouteSpace) -> bool:
    return dense.dense and (dense.device, dense.numerics) == (route.device, route.numerics)


def interpolate(points: Sequence[tuple[float, float]], level: float) -> float | None:
    """A value at a level by those at others, linear in the logarithm of the level.

    Beyond the last point it goes on as between the last two.

    Args:
      points: levels and values, levels falling.
      level: where the value is wanted.

    Returns:
      The value; None with fewer than two points.
    """
    found = list(_falling(points))
    if len(found) < 2:
        return None
    below = next((n for n, (at, _) in enumerate(found) if at <= level), len(found) - 1)
    (high, first), (low, second) = found[max(below, 1) - 1], found[max(below, 1)]
    part = math.log(high / level) / math.log(high / low)
    return first + part * (second - first)


def _falling(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The points without those whose level is there already."""
    before = math.inf
    for level, value in points:
        if level < before:
            yield level, value
            before = level
