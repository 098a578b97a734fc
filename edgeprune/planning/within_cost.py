"""Plans within a cost: what the whole network may take of what it takes dense, and no more.

Channels and zeros go where the loss per cost saved is least. The cost is that of the device's cost
table in the route's number format; without a table, what the profile's `[channel_cost]` says of
layers with weights. A table knows the whole network, its activations and pools too, but channels
are chosen by what layers with weights and sums of maps cost: the smaller network is priced after
each try, and the limit for the next is corrected by what it was off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.core.pattern import Channels
from edgeprune.core.plan import Plan
from edgeprune.core.plan_verdict import Expected
from edgeprune.planning.network_cost import dense_cost
from edgeprune.planning.route_cost import costs_in, expected_by_table
from edgeprune.planning.subject import Subject
from edgeprune.planning.zeros_within import zeros_within
from edgeprune.profiles.kernel_costs import RuntimeCosts
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.channels.cost import CostModel, constant_price, table_price
from edgeprune.pruning.channels.distribution import Distribution
from edgeprune.pruning.channels.plan_removal import (
    Removable,
    find_removable,
    remove_any,
)
from edgeprune.pruning.channels.within_cost import distribute_within

CLOSE_ENOUGH = 0.99
"""Fraction of the cost asked for from which no closer one is looked for."""
TRIES = 5
"""Smaller networks that are priced at most."""


def plan_within(subject: Subject, cost: float) -> Plan:
    """The plan with the least expected loss within a cost.

    Where the cost cannot be reached, as much is removed as may be, and the plan warns.

    Args:
      subject: the model on a route.
      cost: fraction of the dense model's cost in the same number format.

    Raises:
      PlanError: the route leaves nothing to choose, or nothing tells what a layer costs there.
      EdgepruneError: the model cannot be converted, or lose channels.
    """
    made = subject.at(None)
    if any(isinstance(row.pattern, Channels) for row in made.layers):
        found = _channels_within(subject, made, cost)
    else:
        found = zeros_within(subject, cost)
    asked = min(round(found.expected_sparsity, 4), _MOST)
    return found.model_copy(update={"asked": asked, "asked_cost": cost})


def _channels_within(subject: Subject, made: Plan, cost: float) -> Plan:
    found = find_removable(
        subject.mapped,
        made,
        data=subject.samples,
        rules=subject.rules,
        progress=subject.progress,
    )
    if isinstance(found, Plan):
        return found
    costs = costs_in(subject.profile)
    dense = dense_cost(subject.file.draft.graph, costs, subject.profile.numerics) if costs else None
    if costs is None or dense is None:
        return _by_constants(subject.profile, found, cost)
    return _by_table(subject, found, costs, dense, cost)


def _by_constants(profile: DeviceProfile, found: Removable, cost: float) -> Plan:
    model = found.cost_model(constant_price(profile))
    spread = distribute_within(found.candidates, model, cost * model.total.latency)
    expected = Expected(
        unit="multiplications",
        dense=spread.before.latency,
        pruned=spread.after.latency,
        source="padded, with bytes moved, by the profile's channel costs; layers with weights",
    )
    return found.without(spread).model_copy(update={"expected": expected})


_MOST = 0.9999
"""The highest sparsity that a plan may ask for."""


@dataclass(frozen=True)
class _Try:
    plan: Plan
    spread: Distribution
    cost: float
    """Cost of the whole smaller network."""


def _by_table(
    subject: Subject, found: Removable, costs: RuntimeCosts, dense: float, cost: float
) -> Plan:
    model = _model_by_table(found, costs, subject.profile)
    goal = cost * dense
    tried: list[_Try] = []
    limit = cost * model.total.latency
    for number in range(TRIES):
        subject.progress("planning within a cost", number, TRIES)
        spread = distribute_within(found.candidates, model, limit)
        if any(spread.kept == other.spread.kept for other in tried):
            break
        tried.append(_priced(subject, found, costs, spread))
        if CLOSE_ENOUGH * goal <= tried[-1].cost <= goal:
            break
        limit = spread.after.latency + goal - tried[-1].cost
    best = _best(tried, goal)
    expected = expected_by_table(subject.profile, dense, best.cost)
    return best.plan.model_copy(update={"expected": expected})


def _model_by_table(found: Removable, costs: RuntimeCosts, profile: DeviceProfile) -> CostModel:
    known = costs.in_format(profile.numerics)
    price = constant_price(profile) if known is None else table_price(profile, known)
    return found.cost_model(price)


def _priced(subject: Subject, found: Removable, costs: RuntimeCosts, spread: Distribution) -> _Try:
    """Prices what is left of the whole network, which depends on shapes alone."""
    made = found.without(spread)
    smaller = remove_any(subject.changed, made, subject.rules)
    graph = subject.file.of_smaller(smaller.model).graph
    return _Try(made, spread, dense_cost(graph, costs, subject.profile.numerics) or 0.0)


def _best(tried: Sequence[_Try], goal: float) -> _Try:
    """The one with the smallest error within the goal; that with the smallest cost if none is."""
    within = [each for each in tried if each.cost <= goal]
    if within:
        return min(within, key=lambda each: each.spread.error)
    return min(tried, key=lambda each: each.cost)
