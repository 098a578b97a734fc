"""Puts what all workers finished together: fronts, what to ship of each, and what became of all.

Pure: the same finished tasks give the same fronts on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeprune.searching.attempts import attempts_of
from edgeprune.searching.candidate import Candidate, Finished, HalfAccuracy, Stage
from edgeprune.searching.front import how, name_of, nearest, pareto, to_ship
from edgeprune.searching.known import Known, Tried, belongs
from edgeprune.searching.limits import Limits
from edgeprune.searching.reasons import why_none, why_shipped
from edgeprune.searching.result import Front, Point, Trials
from edgeprune.searching.space import FrontKey, RouteSpace, Space

FRONT_FOLDER = "front"
"""Where the files of fronts lie, below the search's own folder."""
Command = Callable[[Candidate, RouteSpace], str]
"""What makes the file of a candidate again."""


@dataclass(frozen=True)
class Facts:
    """What holds for all fronts of a search."""

    space: Space
    dense: HalfAccuracy | None
    """Accuracy of the dense float model; None without labels."""
    fraction: bool
    """Whether accuracy is a fraction of samples, not the value of a metric."""
    command: Command

    def limits(self, key: FrontKey) -> Limits:
        """What a file of a front has to keep."""
        space = self.space
        return Limits(space.budget, key.unit, self.dense, space.minimize, self.fraction)


def fronts_of(facts: Facts, finished: Sequence[Finished]) -> tuple[Front, ...]:
    """A front for every yardstick, in the order of the devices."""
    return tuple(_front(facts, key, finished) for key in facts.space.fronts)


def _front(facts: Facts, key: FrontKey, finished: Sequence[Finished]) -> Front:
    space = facts.space.of_front(key)
    limits = facts.limits(key)
    dense = facts.dense.selected_on if facts.dense else None
    tried = Known(space, {}, finished, dense).tried
    full = [each for each in tried if each.stage >= Stage.ONE_SHOT]
    failed = [each for each in finished if each.outcome is None and _is_of(each, space)]
    references = [each for each in full if each.route.dense]
    points = pareto(full, limits)
    ship = to_ship(points, limits)
    near = nearest(full, limits) if ship is None else None
    devices = tuple(dict.fromkeys(route.device for route in space.routes))
    kept = {each.candidate.device for each in full if _keeps(each, limits)}
    without = tuple(name for name in devices if name not in kept)

    def point(found: Tried, number: int | None = None) -> Point:
        return _point(found, number, limits, facts.command)

    if ship is None:
        reason = why_none(near, limits, next((each.error for each in failed), ""))
    else:
        reason = why_shipped(points[ship], references, limits)
        if without:
            reason += f"; nothing keeps the limits on {', '.join(without)}"
    return Front(
        devices=devices,
        target=key.target,
        core=key.core,
        unit=key.unit,
        references=tuple(map(point, references)),
        points=tuple(point(each, number) for number, each in enumerate(points, start=1)),
        ship=ship,
        nearest=None if near is None else _near(near, points, point),
        reason=reason,
        attempts=attempts_of(tried, failed, points, limits),
        without=without,
        needed=limits.needed("selected_on"),
    )


def _is_of(found: Finished, space: Space) -> bool:
    return any(belongs(found.task.candidate, route) for route in space.routes)


def _keeps(found: Tried, limits: Limits) -> bool:
    return not found.outcome.failed_checks and not limits.shortfalls(found.outcome)


def _near(near: Tried, points: Sequence[Tried], point: Callable[..., Point]) -> Point:
    """The nearest, with its file if it is on the front."""
    return point(near, points.index(near) + 1) if near in points else point(near)


def _point(found: Tried, number: int | None, limits: Limits, command: Command) -> Point:
    candidate, outcome = found.candidate, found.outcome
    sparsity = candidate.sparsity if outcome.reached is None else outcome.reached
    file = None
    if number is not None and outcome.sha256 is not None:
        file = f"{FRONT_FOLDER}/{file_name(number, candidate, found.cost)}"
    return Point(
        name=name_of(candidate, found.route),
        device=candidate.device,
        route=candidate.route,
        numerics=found.route.numerics,
        how=how(candidate),
        dense=found.route.dense,
        sparsity=0.0 if found.route.dense else sparsity,
        epochs=candidate.epochs,
        accuracy=outcome.accuracy,
        drop=limits.drop(outcome.accuracy),
        cost=found.cost,
        cost_ci95=outcome.cost_ci95,
        expected=outcome.expected,
        size_bytes=outcome.size_bytes,
        sha256=outcome.sha256,
        command=command(candidate, found.route),
        file=file,
    )


def file_name(number: int, candidate: Candidate, cost: float) -> str:
    """The name of a point's file: `01-phone-int8-channels-1230000.tflite`."""
    shown = f"{cost:.0f}" if cost >= 100 else f"{cost:.3g}"
    words = f"{number:02}-{candidate.device}-{candidate.route}-{shown}"
    return f"{re.sub(r'[^A-Za-z0-9._+-]', '_', words)}.tflite"


def trials_of(space: Space, finished: Sequence[Finished]) -> Trials:
    """How many candidates came how far; dense ones count only where they failed."""
    dense = {each for route in space.references for each in route.tried_first()}
    by_candidate: dict[Candidate, list[Finished]] = {}
    for each in finished:
        by_candidate.setdefault(each.task.candidate, []).append(each)
    failed = {key for key, found in by_candidate.items() if any(not f.outcome for f in found)}
    done = {
        key
        for key, found in by_candidate.items()
        if any(f.outcome and f.task.stage >= Stage.ONE_SHOT for f in found)
    }
    dropped = by_candidate.keys() - done - failed - dense
    return Trials(done=len(done - dense), dropped=len(dropped), failed=len(failed - done))
