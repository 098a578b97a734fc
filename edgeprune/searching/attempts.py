"""What became of every candidate that was looked at: at which stage it fell out, and why.

Pure: it is told from the outcomes alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeprune.core.amounts import cost_text, score_text
from edgeprune.core.grid import Grid, grid, quantity
from edgeprune.searching.candidate import Finished, Stage
from edgeprune.searching.front import how, name_of
from edgeprune.searching.known import Tried
from edgeprune.searching.limits import Limits

STAGES: Mapping[Stage, str] = {
    Stage.TABLE: "cost table",
    Stage.INSTRUMENT: "instrument",
    Stage.PART: "part of the samples",
    Stage.ONE_SHOT: "one shot",
    Stage.TRAINED: "training",
}
"""What a stage is called."""


@dataclass(frozen=True)
class Attempt:
    """A candidate at the furthest stage that it came to."""

    name: str
    stage: str
    cost: float | None
    """In the unit of the front; None if it failed."""
    accuracy: float | None
    """On the selecting half, or on the part of it that the stage looked at."""
    size_bytes: int | None
    full: bool
    """Whether it was evaluated in full."""
    kept: bool
    """Whether it is a point of the front."""
    why: str
    """What became of it."""


def attempts_of(
    tried: Sequence[Tried],
    failed: Sequence[Finished],
    points: Sequence[Tried],
    limits: Limits,
) -> tuple[Attempt, ...]:
    """What became of all candidates of a front, those that failed last.

    Args:
      tried: those with an outcome.
      failed: tasks without one.
      points: the front, the cheapest first.
      limits: what is asked for.
    """
    return (
        *(_attempt(each, points, limits) for each in tried),
        *(_failure(each) for each in failed),
    )


def _attempt(found: Tried, points: Sequence[Tried], limits: Limits) -> Attempt:
    accuracy = found.outcome.accuracy
    return Attempt(
        name=name_of(found.candidate, found.route),
        stage=STAGES[found.stage],
        cost=found.cost,
        accuracy=accuracy.selected_on if accuracy else None,
        size_bytes=found.outcome.size_bytes,
        full=found.stage >= Stage.ONE_SHOT,
        kept=found in points,
        why=_why(found, points, limits),
    )


def _failure(found: Finished) -> Attempt:
    candidate = found.task.candidate
    return Attempt(
        name=", ".join(filter(None, [f"{candidate.device} {candidate.route}", how(candidate)])),
        stage=STAGES[found.task.stage],
        cost=None,
        accuracy=None,
        size_bytes=None,
        full=False,
        kept=False,
        why=f"failed: {found.error}",
    )


def _why(found: Tried, points: Sequence[Tried], limits: Limits) -> str:
    if found.outcome.failed_checks:
        return f"a check failed: {'; '.join(found.outcome.failed_checks)}"
    lacks = "; ".join(each.text for each in limits.shortfalls(found.outcome))
    if found in points:
        return f"on the front, outside the budget: {lacks}" if lacks else "on the front"
    better = _better(found, points)
    if better is not None:
        by = f"{name_of(better.candidate, better.route)}, {cost_text(better.cost, limits.unit)}"
        return f"beaten by {by}"
    if found.accuracy is None:
        return "not taken further: others were expected to be better"
    return f"not taken further: {lacks}" if lacks else "not taken further"


def _better(found: Tried, points: Sequence[Tried]) -> Tried | None:
    """The costliest point that costs no more and is as accurate, as far as that is known."""
    cheaper = [each for each in points if each.cost <= found.cost]
    best = cheaper[-1] if cheaper else None
    if best is None or found.accuracy is None or best.accuracy is None:
        return best
    return best if best.accuracy >= found.accuracy else None


def attempts_grid(found: Sequence[Attempt], unit: str) -> Grid:
    """Everything that was tried on a front."""
    return grid(
        "What was tried",
        ("=candidate", "last stage", ">cost", ">accuracy", "what became of it"),
        (
            (
                each.name,
                each.stage,
                quantity(each.cost, lambda cost: cost_text(cost, unit)),
                quantity(each.accuracy, score_text),
                each.why,
            )
            for each in found
        ),
    )
