"""Between what was evaluated in full: towards the budget, into gaps of the front, and by training.

Pure. As in `stages`, every function gives what it still wants, and nothing once that is finished.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from edgeprune.searching.candidate import Candidate, Stage
from edgeprune.searching.known import Known, Tried, level_of
from edgeprune.searching.space import RouteSpace
from edgeprune.searching.stages import (
    FAR_BELOW,
    NEAR,
    Wanted,
    slow_references,
    worth_emulating,
)

CLOSE = 1.03
"""Costs whose ratio is below this are as good as alike."""
GAP = 1.13
"""Ratio of two neighbours' costs from which something between them is tried."""
FLAT = 0.3
"""Difference of their accuracies, in units of the drop asked for, below which that is of no use."""
WIDE = 1.5
"""Ratio of two neighbours' costs from which it is of use whatever the difference.

What loses nothing at all may then cost much less than the one that is known not to.
"""
ENOUGH = 1.2
"""Ratio of two levels from which one between them is tried there."""
FURTHER = 0.8
"""What is left of the level where the cheapest candidate still keeps the accuracy."""
LEAST_LEVEL = 0.02
FINALISTS = 3
"""Candidates of a front that are trained."""
SAFE = 0.1
"""Accuracy above the budget that the last one that is trained aims at, in the same units."""
BROUGHT_BACK = (3.5, 6.0)
"""Drops in one shot, in units of that asked for, of the two candidates that are trained first.

Of a CIFAR-10 network, four epochs brought 2.78 points lost in one shot back to 0.24, and 3.74 to
0.62 (2026-11-27).
"""


def boundary(known: Known) -> tuple[Wanted, ...]:
    """Candidates between the cheapest that keeps the accuracy and the next that does not."""
    if known.floor is None or known.cheapest is None:
        return ()
    found = (
        each for route in known.space.pruned for each in _on_boundary(known, route, known.cheapest)
    )
    return _unasked(known, found, Stage.ONE_SHOT)


def _on_boundary(known: Known, route: RouteSpace, cheapest: Tried) -> Iterator[Candidate]:
    family = [each for each in known.family(route) if each.stage >= Stage.ONE_SHOT]
    kept = [each for each in family if known.accurate(each)]
    if not kept or not any(each.route == route for each in family):
        return
    last = min(kept, key=lambda each: each.level)
    lost = [each for each in family if each.level < last.level]
    if not lost:
        if last.route == route and last.cost <= cheapest.cost * NEAR:
            failed = known.failed_below(route, last.level)
            further = (last.level * FURTHER, last.level * FURTHER**2)
            yield from _levels(known, route, _between(last.level, failed) if failed else further)
        return
    first = lost[0]
    if _crossing(known, last, first) <= cheapest.cost * NEAR and last.cost > CLOSE * first.cost:
        yield from _levels(known, route, _between(last.level, first.level))


def _crossing(known: Known, last: Tried, first: Tried) -> float:
    """The cost at which the accuracy is estimated to meet the budget."""
    if first.accuracy is None or last.accuracy is None or known.floor is None:
        return first.cost
    part = (last.accuracy - known.floor) / (last.accuracy - first.accuracy)
    return last.cost * math.pow(first.cost / last.cost, part)


def _between(high: float, low: float) -> tuple[float, ...]:
    """Levels that split an interval: in three, in two if it is small, not if it is tiny."""
    ratio = high / low
    parts = 3 if ratio > CLOSE**2 else 2 if ratio > CLOSE else 1
    return tuple(high / ratio ** (number / parts) for number in range(1, parts))


def _levels(known: Known, route: RouteSpace, levels: Sequence[float]) -> Iterator[Candidate]:
    for level in levels:
        found = known.new(route, level) if LEAST_LEVEL <= level < 1 else None
        if found is not None:
            yield found


def _unasked(known: Known, found: Iterator[Candidate], stage: Stage) -> tuple[Wanted, ...]:
    return tuple((each, stage) for each in dict.fromkeys(found) if not known.was_asked(each, stage))


def front_of(tried: Sequence[Tried]) -> tuple[Tried, ...]:
    """Those that no other beats in cost and accuracy, the costliest first."""
    best = -math.inf
    found: list[Tried] = []
    for each in sorted(tried, key=lambda each: (each.cost, -(each.accuracy or 0.0))):
        if each.accuracy is not None and each.accuracy > best:
            best = each.accuracy
            found.append(each)
    return tuple(reversed(found))


def refinement(known: Known) -> tuple[Wanted, ...]:
    """What makes a front whose cheapest point is known complete.

    None of it depends on the rest of it, so that several workers share it.
    """
    return tuple(dict.fromkeys((*slow_references(known), *gaps(known))))


def gaps(known: Known) -> tuple[Wanted, ...]:
    """Candidates between neighbours on the front whose costs are far apart, the widest first."""
    lowest = -math.inf if known.floor is None else known.floor - FAR_BELOW * known.scale
    front = front_of([each for each in known.full if not each.candidate.epochs])
    pairs = [
        (high, low)
        for high, low in pairwise(front)
        if high.cost > (WIDE if _flat(known, high, low) else GAP) * low.cost
        and (high.accuracy or 0.0) > lowest
    ]
    pairs.sort(key=lambda pair: pair[1].cost / pair[0].cost)
    found = (each for high, low in pairs for each in _into(known, high, low))
    return _unasked(known, found, Stage.ONE_SHOT)


def _flat(known: Known, high: Tried, low: Tried) -> bool:
    """Whether two neighbours on the front are as accurate as each other, by what matters here."""
    return (high.accuracy or 0.0) - (low.accuracy or 0.0) <= FLAT * known.scale


def _into(known: Known, high: Tried, low: Tried) -> Iterator[Candidate]:
    """Candidates of both neighbours' routes that are expected to cost something between them."""
    if _flat(known, high, low):
        yield from _above(known, high, low)
        return
    for route in known.space.pruned:
        family = [each for each in known.family(route) if each.stage >= Stage.ONE_SHOT]
        levels = []
        if high in family:
            after = next((each.level for each in family if each.level < high.level), None)
            levels.append((high.level, after or high.level * low.cost / high.cost))
        if low in family:
            before = [each.level for each in family if each.level > low.level]
            levels.append((before[-1] if before else 1.0, low.level))
        for above, below in dict.fromkeys(levels):
            middle = math.sqrt(above * below)
            found = known.new(route, middle) if above > CLOSE**2 * below else None
            if found is not None and _of_use_between(known, route, found, low, high):
                yield found


def _above(known: Known, high: Tried, low: Tried) -> Iterator[Candidate]:
    """Candidates of the cheaper neighbour: below dense, and where its levels are furthest apart.

    Where accuracy hardly falls, the next level above may be worse than one further up; nearest to
    dense is what may lose nothing at all.
    """
    if low.route.dense or low.candidate.epochs:
        return
    levels = [each.level for each in known.family(low.route) if each.stage >= Stage.ONE_SHOT]
    tried = [1.0, *(level for level in levels if low.level < level < 1), low.level]
    first, *others = pairwise(tried)
    wide = [each for each in others if _ratio(each) > ENOUGH]
    apart = [first] if _ratio(first) > CLOSE**2 else []
    for above, below in (*apart, *sorted(wide, key=_ratio, reverse=True)[:1]):
        found = known.new(low.route, math.sqrt(above * below))
        if found is not None and _of_use_between(known, low.route, found, low, high):
            yield found


def _ratio(pair: tuple[float, float]) -> float:
    return pair[0] / pair[1]


def _of_use_between(
    known: Known, route: RouteSpace, candidate: Candidate, low: Tried, high: Tried
) -> bool:
    cost = known.cost_of(route, candidate)
    between = cost is None or low.cost < cost < high.cost
    return between and worth_emulating(known, route, cost)


def finalists(known: Known) -> tuple[Wanted, ...]:
    """The few that are trained: two that lost more than the budget, then one by their outcomes."""
    space = known.space
    trained = [each for each in known.asked if each[1] is Stage.TRAINED]
    if not space.epochs or len(trained) >= FINALISTS or known.top is None:
        return ()
    if not trained:
        found = (_lossy(known, known.top - drop * known.scale) for drop in BROUGHT_BACK)
        first = (each for each in found if each is not None)
        return _unasked(known, first, Stage.TRAINED)
    outcomes = [each for each in known.tried if each.candidate.epochs]
    if not outcomes:
        return ()
    last = _last(known, outcomes)
    return _unasked(known, iter([last] if last else []), Stage.TRAINED)


def _lossy(known: Known, accuracy: float) -> Candidate | None:
    """What costs least of that which is expected to have an accuracy in one shot, with training."""
    found = []
    for route in known.space.pruned:
        family = [each for each in known.family(route) if each.accuracy is not None]
        if not any(each.route == route for each in family):
            continue
        level = _level_at(family, accuracy)
        before = route.at(None) if route.knob is None else known.new(route, level)
        cost = known.cost_of(route, before) if before else None
        if before is not None and cost is not None:
            found.append((cost, route, before))
    if not found:
        return None
    _, route, before = min(found, key=lambda each: each[0])
    return with_training(known, route, before)


def _level_at(family: Sequence[Tried], accuracy: float) -> float:
    """The level at which a family is expected to have an accuracy: not far below the last known."""
    for high, low in pairwise(family):
        above, below = high.accuracy or 0.0, low.accuracy or 0.0
        if below <= accuracy < above:
            part = (above - accuracy) / (above - below)
            return high.level * math.pow(low.level / high.level, part)
    return family[-1].level * FURTHER if (family[-1].accuracy or 0.0) > accuracy else 1.0


def with_training(known: Known, route: RouteSpace, before: Candidate) -> Candidate:
    """A candidate with training, with the activation by which it is expected to cost least."""
    value = before.cost if route.knob == "cost" else before.sparsity
    choices = [
        route.at(value, known.space.epochs, number) for number in range(len(route.activations))
    ]
    near = min(route.values, key=lambda each: abs(each - (value or 0.0)), default=None)
    expected = [
        known.expected.get(route.at(near, known.space.epochs, number).key)
        for number in range(len(choices))
    ]
    kept = expected[0]
    cheaper = [
        (cost, choice)
        for cost, choice in zip(expected, choices, strict=True)
        if cost is not None and kept is not None and cost * CLOSE < kept
    ]
    return min(cheaper, key=lambda each: each[0])[1] if cheaper else choices[0]


def _last(known: Known, trained: Sequence[Tried]) -> Candidate | None:
    """Between a trained one that keeps the accuracy and one that does not, or beyond both."""
    kept = [each for each in trained if known.accurate(each)]
    lost = [each for each in trained if not known.accurate(each)]
    if known.floor is None:
        return None
    best = min(kept, key=lambda each: each.cost, default=None)
    if best is None:
        near = min(lost, key=lambda each: -each.level)
        level = math.sqrt(near.level * _kept_level(known, near))
        return _retrained(known, near, level)
    below = sorted(
        (each for each in lost if each.route == best.route and each.level < best.level),
        key=lambda each: -each.level,
    )
    if not below:
        return _retrained(known, best, best.level * FURTHER)
    return _retrained(known, best, _met(best, below[0], known.floor + SAFE * known.scale))


def _met(kept: Tried, lost: Tried, accuracy: float) -> float:
    """The level between two at which an accuracy is expected, not too near to either."""
    above, under = kept.accuracy or 0.0, lost.accuracy or 0.0
    part = (above - accuracy) / (above - under) if above > under else 0.5
    return kept.level * math.pow(lost.level / kept.level, min(max(part, 0.15), 0.85))


def _kept_level(known: Known, near: Tried) -> float:
    """The lowest level of a family that keeps the accuracy without training; 1 if none does."""
    kept = (each.level for each in known.family(near.route) if known.accurate(each))
    return min((level for level in kept if level > near.level), default=1.0)


def _retrained(known: Known, near: Tried, level: float) -> Candidate | None:
    found = known.new(near.route, level) if LEAST_LEVEL <= level < 1 else None
    if found is None or level_of(found) == near.level:
        return None
    return with_training(known, near.route, found)
