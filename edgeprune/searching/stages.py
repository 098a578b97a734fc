"""The first stages of a front: what each asks for, by what is known. Cheaper stages come first.

Pure. Every function gives what it still wants, and nothing once that is finished.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.searching.candidate import Candidate, Stage
from edgeprune.searching.known import Known
from edgeprune.searching.space import RouteSpace

Wanted = tuple[Candidate, Stage]

TRUST = 1.3
"""What a table's cost may be off by, as a factor."""
NEAR = 1.02
"""What an instrument's cost of a file with other weights may be off by."""
FAR_BELOW = 6.0
"""Drops, in units of that asked for, from which an estimated candidate is left out."""
BEATEN_BY = 0.5
"""Accuracy, in units of the drop asked for, by which an estimate is not trusted."""
MOST_AT_ONCE = 8
"""Candidates of a front that are evaluated in full before their outcomes are looked at."""


def references(known: Known) -> tuple[Wanted, ...]:
    """The dense models, in every number format of the devices, in full.

    Of those whose accuracy takes an emulated core, the cost alone.
    """
    return tuple(
        (each, stage)
        for route in known.space.references
        for stage in (Stage.INSTRUMENT if route.emulated else Stage.ONE_SHOT,)
        for each in route.tried_first()
        if not known.was_asked(each, stage)
        and (stage >= Stage.ONE_SHOT or _unknown_cost(known, each))
    )


def slow_references(known: Known) -> tuple[Wanted, ...]:
    """The dense models that run on an emulated core, in full."""
    found = (each for route in known.space.references for each in route.tried_first())
    return tuple(
        (each, Stage.ONE_SHOT) for each in found if not known.was_asked(each, Stage.ONE_SHOT)
    )


def needed_references(known: Known) -> tuple[Wanted, ...]:
    """Those of them which no dense model beats in cost that keeps the accuracy."""
    limit = _cheapest_dense(known)
    costs = {
        each: known.cost_of(route, each)
        for route in known.space.references
        for each in route.tried_first()
    }
    return tuple(
        (each, stage)
        for each, stage in slow_references(known)
        if limit is None or (costs[each] or limit) < limit
    )


def first_costs(known: Known) -> tuple[Wanted, ...]:
    """What an instrument has to say before tables are trusted: two candidates of each kind.

    Those are the costliest and the cheapest that the tables leave in, of the route that is expected
    to be the cheapest of its kind.
    """
    return tuple(
        (each, Stage.INSTRUMENT)
        for route, found in _one_of_each_kind(known)
        if not any(each.route == route for each in known.tried)
        for each in _ends(found)
        if not known.was_asked(each, Stage.INSTRUMENT) and _unknown_cost(known, each)
    )


def _unknown_cost(known: Known, candidate: Candidate) -> bool:
    measured = any(route.front.target is not None for route in known.space.routes)
    return measured or known.expected.get(candidate.key) is None


def _ends(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    return tuple(dict.fromkeys((*found[:1], *found[-1:])))


def _rivals(known: Known) -> list[tuple[RouteSpace, tuple[Candidate, ...]]]:
    """The routes that may win, each with those of its candidates that may."""
    found = [(route, _competitive(known, route)) for route in known.space.pruned]
    return [(route, candidates) for route, candidates in found if candidates]


def _one_of_each_kind(known: Known) -> list[tuple[RouteSpace, tuple[Candidate, ...]]]:
    """The cheapest of the routes that may win of each kind: it tells what the others lose."""
    by_cost = sorted(_rivals(known), key=lambda rival: _least_cost(known, *rival))
    first: dict[tuple[str, str], tuple[RouteSpace, tuple[Candidate, ...]]] = {}
    for route, found in by_cost:
        first.setdefault((route.device, route.kind), (route, found))
    return list(first.values())


def _competitive(known: Known, route: RouteSpace) -> tuple[Candidate, ...]:
    """The candidates of a route that may cost no more than the cheapest dense model that will do.

    Costs of a kind of route of which nothing was measured may be off by more.
    """
    limits = [_cheapest_dense(known), known.space.budget.max_cost]
    limit = min((each for each in limits if each is not None), default=None)
    trust = NEAR if any(each.route.kind == route.kind for each in known.tried) else TRUST
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
    """Two candidates of each kind of route that may win, on a part of the samples.

    That tells routes apart. With one route only, or without labels, there is nothing to tell.
    """
    judged = any(each.accuracy is not None for each in known.references)
    if len(_rivals(known)) < 2 or not judged:
        return ()
    return tuple(
        (each, Stage.PART)
        for route, found in _one_of_each_kind(known)
        if not any(known.was_asked(each, Stage.PART) for each in route.tried_first())
        for each in dict.fromkeys((found[len(found) // 4], found[3 * len(found) // 4]))
    )


def _least_cost(known: Known, route: RouteSpace, found: Sequence[Candidate]) -> float:
    costs = (known.cost_of(route, each) for each in found)
    return min((each for each in costs if each is not None), default=math.inf)


def in_full(known: Known) -> tuple[Wanted, ...]:
    """The candidates tried first that can be on the front, those near the budget first."""
    rated = [
        _Rated(route, each, known.cost_of(route, each), known.accuracy_of(route, each))
        for route in known.space.routes
        for each in route.tried_first()
    ]
    competitive = {each for route in known.space.pruned for each in _competitive(known, route)}
    wanted = [
        each
        for each in rated
        if each.candidate in competitive
        and not known.was_asked(each.candidate, Stage.ONE_SHOT)
        and _possible(known, each, rated)
    ]
    floor = known.floor
    if floor is not None:
        wanted.sort(
            key=lambda each: abs((floor if each.accuracy is None else each.accuracy) - floor)
        )
    return tuple((each.candidate, Stage.ONE_SHOT) for each in wanted[:MOST_AT_ONCE])


@dataclass(frozen=True)
class _Rated:
    """A candidate with its cost and its accuracy, found or estimated; None if nothing tells."""

    route: RouteSpace
    candidate: Candidate
    cost: float | None
    accuracy: float | None


def _possible(known: Known, each: _Rated, others: Sequence[_Rated]) -> bool:
    """Whether a candidate may be on the front, and near enough to the budget to be of use."""
    if each.accuracy is None or each.cost is None:
        return True
    if known.floor is not None and each.accuracy < known.floor - FAR_BELOW * known.scale:
        return False
    if not worth_emulating(known, each.route, each.cost):
        return False
    enough = each.accuracy + BEATEN_BY * known.scale
    return not any(
        other.route != each.route
        and other.cost is not None
        and other.accuracy is not None
        and other.cost <= each.cost
        and other.accuracy >= enough
        for other in others
    )


def worth_emulating(known: Known, route: RouteSpace, cost: float | None) -> bool:
    """Whether a candidate is worth the minutes that accuracy on an emulated core takes, if it does.

    It is not where something that keeps the accuracy asked for costs less: nobody would ship it.
    """
    best = known.cheapest
    if not route.emulated or known.floor is None or best is None or cost is None:
        return True
    return cost < best.cost
