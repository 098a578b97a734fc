"""Spreads removal over groups: the least expected error for what the device gains.

Channels go a step at a time, always where the error per unit of gain is smallest. How a gain in
weights is weighed against a gain in the device's own cost is found by bisection, so that as much of
the cost goes as of the weights where the goal is latency.
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
"""Fraction of its channels that every group keeps, whatever they seem to be worth."""
LOOK_AHEAD = 4
"""Steps that are weighed together: a device that pads to 64 gains nothing by the first 16."""
BISECTIONS = 6

Measure = Literal["latency", "stored"]


@dataclass(frozen=True)
class Candidate:
    """A group whose channels may go, in which order and in which steps."""

    group: Group
    elimination: Elimination
    multiple: int
    """That the channels of every layer which makes them stay a multiple of."""

    @property
    def step(self) -> int:
        """Channels that go together, so that every layer keeps a multiple."""
        return self.group.step(self.multiple)

    def allowed(self) -> tuple[int, ...]:
        """How many channels may stay, falling: all, then whole steps."""
        size, step = len(self.group), self.step
        fewest = max(step, MIN_KEPT * size)
        below = range(size - 1 - (size - 1) % step, 0, -step)
        return (size, *(count for count in below if count >= fewest))


@dataclass(frozen=True)
class Distribution:
    """How many channels of each candidate stay."""

    kept: tuple[int, ...]
    error: float
    """Expected, in the terms of `importance`."""
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
    """Removes a fraction of the counted weights.

    Args:
      candidates: the groups that may lose channels.
      cost_model: the bill of the whole network; not changed.
      sparsity: fraction of `whole` to remove.
      whole: number of weights that the fraction is of.
      measure: "latency" also takes as large a fraction of the latency as it can get that way;
        "stored" gains stored bytes for as little error as can be.
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
    """A saving as a fraction; `share` of it in weights, the rest in the device's own terms."""
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
    losses = [_cumulated(candidate) for candidate in candidates]
    at = [0] * len(candidates)
    error = 0.0
    for index, candidate in enumerate(candidates):
        # Counts that are no multiple come first: the device pads them in any case.
        if goal > 0 and len(steps[index]) > 1 and steps[index][0] % candidate.step:
            at[index] = 1
            gone = steps[index][0] - steps[index][1]
            cost_model.remove(index, gone)
            error += losses[index][gone]
    removed = before.weights - cost_model.total.weights

    def move(index: int) -> tuple[float, int]:
        """The best of the next steps of a candidate: error per gain, and how far to go."""
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
            # What others lost has made it less worth; it is looked at again in its new place.
            heapq.heappush(waiting, (ratio, ahead, index))
            continue
        left, then = steps[index][at[index]], steps[index][at[index] + ahead]
        saved = cost_model.saving(index, left - then).weights
        if removed + saved - goal > goal - removed:
            # Too large a step so near to the goal; a smaller one of another group may fit.
            continue
        size = steps[index][0]
        error += losses[index][size - then] - losses[index][size - left]
        cost_model.remove(index, left - then)
        at[index] += ahead
        removed += saved
        heapq.heappush(waiting, (*move(index), index))
    kept = tuple(count[place] for count, place in zip(steps, at, strict=True))
    return Distribution(kept, error, before, cost_model.total)


def _cumulated(candidate: Candidate) -> list[float]:
    """What is lost once so many channels are gone, `-t * log(1 - l / t)` for the loss `l` of `t`.

    That is `l` as long as little is gone, and grows without bound as the group empties: a network
    whose one layer tells nothing any more is worse than one with many that tell a little less. It
    is to channels what LAMP is to weights.

    Source: Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021,
    arXiv:2010.07611.
    """
    sums = np.concatenate([[0.0], np.cumsum(np.maximum(candidate.elimination.losses, 0.0))])
    total = max(float(sums[-1]), 1e-30)
    return list(-total * np.log1p(-np.minimum(sums / total, 1 - 1e-9)))
