"""The limits of a search, and by how much a file misses them.

Pure. Accuracy that decides is that on the selecting half; that on the other half is only told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgeprune.core.amounts import cost_text
from edgeprune.core.grid import brief
from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import HalfAccuracy, Outcome

_ROUNDING = 1e-9
"""Accuracy that is lost in sums of floats alone."""
_USUAL_DROP = 0.01
"""The drop by which a shortfall of accuracy is weighed where none is allowed by name."""

Half = Literal["selected_on", "reported_on"]


@dataclass(frozen=True)
class Shortfall:
    """A limit that a file does not keep."""

    text: str
    weight: float
    """By how much, as a fraction of the limit."""


@dataclass(frozen=True)
class Limits:
    """What a file has to keep, with what it is held against."""

    budget: Budget
    unit: str
    """Unit of costs."""
    dense: HalfAccuracy | None = None
    """Accuracy of the dense float model; None if it is not known."""
    minimize: bool = False
    """Whether what stands for accuracy is a metric of which less is better."""
    fraction: bool = True
    """Whether accuracy is a fraction of samples, of which differences are told in points."""

    def drop(self, found: HalfAccuracy | None, half: Half = "selected_on") -> float | None:
        """What a file loses against the dense float model on the same samples of one half.

        Below 0 if it gains; None where one of both is not known.
        """
        of = getattr(found, half, None)
        dense = self._dense_on(half, found)
        if of is None or dense is None:
            return None
        return float(of - dense if self.minimize else dense - of)

    def needed(self, half: Half, found: HalfAccuracy | None = None) -> float | None:
        """The accuracy that is just good enough on one half; None if none is asked for.

        Args:
          half: which one.
          found: that of a file, which may have run on some of the samples only.
        """
        limits = []
        dense = self._dense_on(half, found)
        if self.budget.max_drop is not None and dense is not None:
            limits.append(dense + (1 if self.minimize else -1) * self.budget.max_drop)
        if self.budget.min_accuracy is not None:
            limits.append(self.budget.min_accuracy)
        return (min if self.minimize else max)(limits, default=None)

    def _dense_on(self, half: Half, found: HalfAccuracy | None) -> float | None:
        """The dense float model's on the samples that a file ran on, else on all of the half."""
        if found is not None and found.dense is not None:
            return found.dense[0 if half == "selected_on" else 1]
        return getattr(self.dense, half, None)

    def small_enough(self, outcome: Outcome) -> bool:
        """Whether a file is within the bytes that are allowed."""
        limit, size = self.budget.max_bytes, outcome.size_bytes
        return limit is None or (size is not None and size <= limit)

    def shortfalls(self, outcome: Outcome) -> tuple[Shortfall, ...]:
        """The limits that a file does not keep."""
        return tuple(self._shortfalls(outcome))

    def _shortfalls(self, outcome: Outcome) -> Iterator[Shortfall]:
        accuracy = outcome.accuracy
        needed = self.needed("selected_on", accuracy)
        if accuracy is None and self.budget.needs_labels:
            yield Shortfall("its accuracy is not known", 1.0)
        if accuracy is not None and needed is not None:
            lacks = (-1 if self.minimize else 1) * (needed - accuracy.selected_on)
            if lacks > _ROUNDING:
                yield Shortfall(
                    f"{self._value(accuracy.selected_on)} on the selecting half, "
                    f"{self.difference(lacks)} short of {self._value(needed)}{_interval(accuracy)}",
                    lacks / (self.budget.max_drop or _USUAL_DROP),
                )
        if not self.small_enough(outcome):
            limit, size = self.budget.max_bytes or 1, outcome.size_bytes or 0
            yield Shortfall(f"{size:,} bytes where {limit:,} are allowed", size / limit - 1)
        limit_cost = self.budget.max_cost
        if limit_cost is not None and outcome.cost > limit_cost:
            yield Shortfall(
                f"{cost_text(outcome.cost, self.unit)} where {cost_text(limit_cost, self.unit)} "
                "are allowed",
                outcome.cost / (limit_cost or 1.0) - 1,
            )

    def difference(self, value: float) -> str:
        """A difference of accuracies for people."""
        return f"{100 * value:.2f} points" if self.fraction else brief(value)

    def _value(self, value: float) -> str:
        return f"accuracy {value:.3f}" if self.fraction else brief(value)


def _interval(found: HalfAccuracy) -> str:
    if found.reported_on is None or found.ci95 is None:
        return ""
    low, high = found.ci95
    return f" (on the other half {found.reported_on:.3f}, 95 % interval {low:.3f} to {high:.3f})"
