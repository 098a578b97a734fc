"""Distributes removal over groups so that the network costs no more than a limit.

Channels are removed a step at a time, always where the error per latency saved is smallest, until
the latency is within the limit. Steps are then taken back where the limit leaves room, also in
exchange for one elsewhere, as long as the error falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeprune.pruning.channels.cost import CostModel
from edgeprune.pruning.channels.distribution import (
    LOOK_AHEAD,
    Candidate,
    Distribution,
    cumulated_losses,
)

MAX_EXCHANGES = 50
"""Exchanges of steps at most; a few suffice."""


def distribute_within(
    candidates: Sequence[Candidate], cost_model: CostModel, limit: float
) -> Distribution:
    """Distributes removal at the smallest expected error, so that the latency is within a limit.

    Args:
      candidates: the groups that may lose channels.
      cost_model: the cost of the whole network; not changed.
      limit: the largest latency, in the unit of the cost model. Where no removal meets it, as much
        is removed as may be.
    """
    removal = _Removal(candidates, cost_model.copy())
    if removal.latency > limit:
        removal.remove_to(limit)
    if removal.latency <= limit:
        removal.exchange(limit)
    return Distribution(removal.kept, removal.error, cost_model.total, removal.cost_model.total)


class _Removal:
    """How many steps of every candidate are removed; a place counts them, from 0."""

    def __init__(self, candidates: Sequence[Candidate], cost_model: CostModel) -> None:
        self.cost_model = cost_model
        self._steps = [candidate.allowed() for candidate in candidates]
        self._losses = [cumulated_losses(candidate) for candidate in candidates]
        self._at = [0] * len(candidates)

    @property
    def latency(self) -> float:
        return self.cost_model.total.latency

    @property
    def kept(self) -> tuple[int, ...]:
        return tuple(steps[at] for steps, at in zip(self._steps, self._at, strict=True))

    @property
    def error(self) -> float:
        return sum(self._error(index, at) for index, at in enumerate(self._at))

    def _error(self, index: int, place: int) -> float:
        steps = self._steps[index]
        return self._losses[index][steps[0] - steps[place]]

    def _added(self, index: int, place: int) -> float:
        """The error that moving a candidate to another place adds."""
        return self._error(index, place) - self._error(index, self._at[index])

    def _saved(self, index: int, place: int) -> float:
        """The latency that moving a candidate to another place saves."""
        steps = self._steps[index]
        return self.cost_model.saving(index, steps[self._at[index]] - steps[place]).latency

    def _move(self, index: int, place: int) -> None:
        steps = self._steps[index]
        self.cost_model.remove(index, steps[self._at[index]] - steps[place])
        self._at[index] = place

    def _ahead(self, index: int) -> range:
        at = self._at[index]
        return range(at + 1, min(at + LOOK_AHEAD, len(self._steps[index]) - 1) + 1)

    def _behind(self, index: int) -> range:
        at = self._at[index]
        return range(max(at - LOOK_AHEAD, 0), at)

    def remove_to(self, limit: float, but: int = -1) -> None:
        """Takes the step with the smallest error per latency saved, until the limit is met.

        One candidate may be left as it is.
        """
        while self.latency > limit:
            saving = [(*move, self._saved(*move)) for move in self._moves() if move[0] != but]
            ratios = [(self._added(i, p) / saved, i, p) for i, p, saved in saving if saved > 0]
            if not ratios:
                return
            _, index, place = min(ratios)
            self._move(index, place)

    def _moves(self) -> Iterator[tuple[int, int]]:
        return ((index, place) for index in range(len(self._at)) for place in self._ahead(index))

    def exchange(self, limit: float) -> None:
        """Takes steps back within the limit, and others in exchange for them."""
        for _ in range(MAX_EXCHANGES):
            if not (self._take_back(limit) or self._swap(limit)):
                return

    def _take_back(self, limit: float) -> bool:
        """Takes back the step that lowers the error most; whether there is one."""
        index, place, error = self._best_return(limit)
        if error < 0:
            self._move(index, place)
        return error < 0

    def _best_return(self, limit: float) -> tuple[int, int, float]:
        """A candidate, the place to go back to, and the error that adds (below zero)."""
        room = limit - self.latency
        found = [
            (self._added(index, place), index, place)
            for index in range(len(self._at))
            for place in self._behind(index)
            if -self._saved(index, place) <= room
        ]
        error, index, place = min(found, default=(0.0, 0, 0))
        return index, place, error

    def _swap(self, limit: float) -> bool:
        """Moves one candidate on or back and makes up for it by others, where the error falls."""
        before, error = list(self._at), self.error
        best = (error - _LEAST, before)
        returns = ((index, place) for index in range(len(before)) for place in self._behind(index))
        for index, place in [*self._moves(), *returns]:
            self._move(index, place)
            self.remove_to(limit, but=index)
            if self.latency <= limit:
                self._give_back(limit)
                best = min(best, (self.error, list(self._at)))
            self._go_to(before)
        self._go_to(best[1])
        return best[1] != before

    def _give_back(self, limit: float) -> None:
        while self._take_back(limit):
            pass

    def _go_to(self, places: Sequence[int]) -> None:
        for index, place in enumerate(places):
            if place != self._at[index]:
                self._move(index, place)


_LEAST = 1e-12
"""Improvements below this are rounding."""
