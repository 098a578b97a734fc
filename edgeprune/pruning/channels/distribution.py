"""Distributes removal over groups: the smallest expected error for what the device gains.

Channels are removed a step at a time, always where the error per unit of gain is smallest. For
latency, the weight between a gain in weights and a gain in latency is found by bisection, so that
the latency is reduced by as large a fraction as the weights.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeprune.pruning.channels.cost import Cost, CostModel
from edgeprune.pruning.channels.group import Group
from edgeprune.pruning.channels.importance import Elimination

MIN_KEPT = 0.1
"""Fraction of its channels that every group keeps, whatever their importance."""
LOOK_AHEAD = 4
"""Steps considered together: a device that pads to 64 gains nothing by the first 16 channels."""
BISECTIONS = 6
Measure = Literal["latency", "stored"]
"""The field of `Cost` that is to be reduced."""


@dataclass(frozen=True)
class Candidate:
    """A group whose channels may be removed, with the order and the steps of their removal."""

    group: Group
    elimination: Elimination
    multiple: int
    """The channel count of every layer that makes the group must remain a multiple of this."""

    @property
    def step(self) -> int:
        """The number of channels removed together, so that every layer keeps a multiple."""
        return self.group.step(self.multiple)

    def allowed(self) -> tuple[int, ...]:
        """The numbers of channels that may stay, descending: all, then whole steps."""
        size, step = len(self.group), self.step
        fewest = max(step, MIN_KEPT * size, len(self.group.parts))
        below = range(size - 1 - (size - 1) % step, 0, -step)
        return (size, *(count for count in below if count >= fewest))


@dataclass(frozen=True)
class Distribution:
    """The number of channels of each candidate that stay, with the error and the cost."""

    kept: tuple[int, ...]
    """One number per candidate."""
    error: float
    """Expected error, in the unit of `importance`."""
    before: Cost
    after: Cost


def distribute_removal(
    candidates: Sequence[Candidate],
    cost_model: CostModel,
    *,
    sparsity: float,
    whole: float,
    measure: Measure,
) -> Distribution:
    """Distributes the removal of a fraction of the counted weights over groups.

    Args:
      candidates: the groups that may lose channels.
      cost_model: the cost of the whole network; not changed.
      sparsity: fraction of `whole` to remove.
      whole: number of weights before removal.
      measure: "latency" also reduces the latency by that fraction, as far as possible; "stored"
        reduces the stored bytes at the smallest error.
    """
    goal = sparsity * whole

    def run(share: float) -> Distribution:
        return _greedy(candidates, cost_model.copy(), share, measure, goal)

    if measure == "stored":
        return run(0.0)
    low, high = 0.0, 1.0
    best = run(high)
    if _cost_removed(best) >= sparsity:
        return best
    best = run(low)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        found = run(middle)
        if _cost_removed(found) >= sparsity:
            best, low = found, middle
        else:
            high = middle
    return best


def _cost_removed(found: Distribution) -> float:
    return 1 - found.after.latency / found.before.latency


def _gain(saved: Cost, before: Cost, share: float, measure: Measure) -> float:
    """A saving as a fraction of `before`, weighted: `share` for weights, the rest for `measure`."""
    own = getattr(saved, measure) / max(getattr(before, measure), 1.0)
    return float(share * saved.weights / max(before.weights, 1.0) + (1 - share) * own)


def _greedy(
    candidates: Sequence[Candidate],
    cost_model: CostModel,
    share: float,
    measure: Measure,
    goal: float,
) -> Distribution:
    before = cost_model.total
    steps = [candidate.allowed() for candidate in candidates]
    losses = [cumulated_losses(candidate) for candidate in candidates]
    at = [0] * len(candidates)
    error = 0.0
    for index, candidate in enumerate(candidates):
        # Channels beyond a multiple are removed first: the device pads them in any case.
        if goal > 0 and len(steps[index]) > 1 and steps[index][0] % candidate.step:
            at[index] = 1
            gone = steps[index][0] - steps[index][1]
            cost_model.remove(index, gone)
            error += losses[index][gone]
    removed = before.weights - cost_model.total.weights

    def move(index: int) -> tuple[float, int]:
        """The best next move of a candidate: its error per gain, and its number of steps."""
        left = steps[index][at[index]]
        size = steps[index][0]
        best = (float("inf"), 0)
        for ahead in range(1, min(LOOK_AHEAD, len(steps[index]) - 1 - at[index]) + 1):
            then = steps[index][at[index] + ahead]
            gain = _gain(cost_model.saving(index, left - then), before, share, measure)
            if gain > 0:
                loss = losses[index][size - then] - losses[index][size - left]
                best = min(best, (loss / gain, ahead))
        return best

    waiting = [(*move(index), index) for index in range(len(candidates))]
    heapq.heapify(waiting)
    while waiting and removed < goal:
        _, _, index = heapq.heappop(waiting)
        ratio, ahead = move(index)
        if ratio == float("inf"):
            continue
        if waiting and ratio > waiting[0][0]:
            # Its gain shrank as other groups lost channels; it is queued again at its new ratio.
            heapq.heappush(waiting, (ratio, ahead, index))
            continue
        left, then = steps[index][at[index]], steps[index][at[index] + ahead]
        saved = cost_model.saving(index, left - then).weights
        if removed + saved - goal > goal - removed:
            # The step overshoots the goal; a smaller one of another group may fit.
            continue
        size = steps[index][0]
        error += losses[index][size - then] - losses[index][size - left]
        cost_model.remove(index, left - then)
        at[index] += ahead
        removed += saved
        heapq.heappush(waiting, (*move(index), index))
    kept = tuple(count[place] for count, place in zip(steps, at, strict=True))
    return Distribution(kept, error, before, cost_model.total)


def cumulated_losses(candidate: Candidate) -> list[float]:
    """The cumulative loss `-t * log(1 - l / t)`, for a loss `l` of the group's total `t`.

    It is about `l` while little is removed, and grows without bound as the group empties: losing
    all information in one layer is worse than losing a little in many. It corresponds to LAMP,
    with channels instead of weights.

    Source: Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021,
    arXiv:2010.07611.
    """
    sums = np.concatenate([[0.0], np.cumsum(np.maximum(candidate.elimination.losses, 0.0))])
    total = max(float(sums[-1]), 1e-30)
    return list(-total * np.log1p(-np.minimum(sums / total, 1 - 1e-9)))
