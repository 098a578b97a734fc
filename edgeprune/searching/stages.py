"""The first stages of a front: what each asks for, by what is known. Cheaper stages come first.

Pure. Every function gives what it still wants, and nothing once that is finished.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeprune.searching.candidate import Candidate, Stage
from edgeprune.searching.known import Known
from edgeprune.searching.space import RouteSpace

Wanted = tuple[Candidate, Stage]

TRUST = 1.3
"""What a table's cost may be off by, as a factor: KERNELS compares counts and tables."""
NEAR = 1.05
"""What an instrument's cost of a file with other weights may be off by."""
FAR_BELOW = 6.0
"""Drops, in units of that asked for, from which an estimated candidate is left out."""
BEATEN_BY = 1.0
"""Accuracy, in units of the drop asked for, by which an estimate is not trusted."""
MOST_AT_ONCE = 8
"""Candidates of a front that are evaluated in full before their outcomes are looked at."""


def references(known: Known) -> tuple[Wanted, ...]:
    """The dense models, in every number format of the devices, in full."""
    found = (each for route in known.space.references for each in route.tried_first())
    return tuple((each, Stage.ONE_SHOT) for each in found if not known.was_asked(each, _FULL))


_FULL = Stage.ONE_SHOT


def first_costs(known: Known) -> tuple[Wanted, ...]:
    """What an instrument has to say before tables are trusted: two candidates of each route.

    Those are the dearest and the cheapest that the tables leave in, of routes that have none yet.
    """
    return tuple(
        (each, Stage.INSTRUMENT)
        for route in known.space.pruned
        if not any(each.route == route for each in known.tried)
        for each in _ends(_competitive(known, route, TRUST))
        if not known.was_asked(each, Stage.INSTRUMENT) and _unknown_cost(known, each)
    )


def _unknown_cost(known: Known, candidate: Candidate) -> bool:
    measured = any(route.front.target is not None for route in known.space.routes)
    return measured or known.expected.get(candidate.key) is None


def _ends(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    return tuple(dict.fromkeys((*found[:1], *found[-1:])))


def _competitive(known: Known, route: RouteSpace, trust: float) -> tuple[Candidate, ...]:
    """The candidates of a route that may cost no more than the cheapest dense model that will do.

    Args:
      known: the front.
      route: a pruned route.
      trust: the factor by which costs may be off.
    """
    limits = [_cheapest_dense(known), known.space.budget.max_cost]
    limit = min((each for each in limits if each is not None), default=None)
    costs = ((each, known.cost_of(route, each)) for each in route.tried_first())
    return tuple(
        each for each, cost in costs if limit is None or cost is None or cost <= trust * limit
    )


def _cheapest_dense(known: Known) -> float | None:
    """The least that a dense model costs which keeps the accuracy, or of which nothing is known."""
    if known.references:
        kept = [each.cost for each in known.references if known.accurate(each)]
        return min(kept, default=None)
    tables = (
        known.expected.get(each.key)
        for route in known.space.references
        for each in route.tried_first()
    )
    return min((each for each in tables if each is not None), default=None)


def parts(known: Known) -> tuple[Wanted, ...]:
    """Two candidates of each route that may win, on a part of the samples.

    That tells routes apart. With one route only, or without labels, there is nothing to tell.
    """
    rivals = [(route, _competitive(known, route, NEAR)) for route in known.space.pruned]
    rivals = [(route, found) for route, found in rivals if found]
    if len(rivals) < 2 or not any(each.accuracy is not None for each in known.references):
        return ()
    return tuple(
        (each, Stage.PART)
        for route, found in rivals
        if not any(known.was_asked(each, Stage.PART) for each in route.tried_first())
        for each in dict.fromkeys((found[len(found) // 4], found[3 * len(found) // 4]))
    )


def in_full(known: Known) -> tuple[Wanted, ...]:
    """The candidates tried first that can be on the front, those near the budget first."""
    wanted = [
        (each, known.accuracy_of(route, each))
        for route in known.space.pruned
        for each in _competitive(known, route, NEAR)
        if not known.was_asked(each, Stage.ONE_SHOT) and _possible(known, route, each)
    ]
    floor = known.floor
    if floor is not None:
        wanted.sort(key=lambda each: abs((floor if each[1] is None else each[1]) - floor))
    return tuple((each, Stage.ONE_SHOT) for each, _ in wanted[:MOST_AT_ONCE])


def _possible(known: Known, route: RouteSpace, candidate: Candidate) -> bool:
    """Whether a candidate may be on the front, and near enough to the budget to be of use."""
    accuracy = known.accuracy_of(route, candidate)
    cost = known.cost_of(route, candidate)
    if accuracy is None or cost is None:
        return True
    if known.floor is not None and accuracy < known.floor - FAR_BELOW * known.scale:
        return False
    margin = BEATEN_BY * known.scale
    return not any(
        at <= cost and best >= accuracy + margin for at, best in _others(known, route, candidate)
    )


def _others(known: Known, route: RouteSpace, candidate: Candidate) -> Iterator[tuple[float, float]]:
    """Costs and accuracies of other routes' candidates, found or estimated."""
    for other in known.space.routes:
        if other == route:
            continue
        for each in other.tried_first():
            cost = known.cost_of(other, each)
            accuracy = known.accuracy_of(other, each)
            if cost is not None and accuracy is not None and each != candidate:
                yield cost, accuracy
