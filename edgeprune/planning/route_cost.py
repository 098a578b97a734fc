"""What the routes of a device are expected to cost for a model, before anything is trained.

The model is converted once as float32; what other number formats cost follows from its operators.
Where channels are removed, they are removed by magnitude and the smaller model is converted too:
what a network costs does not depend on the values of its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeprune.core.errors import PlanError
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import LayerInfo, Plan
from edgeprune.core.plan_verdict import Expected
from edgeprune.core.terms import Goal
from edgeprune.keras_model.layers import LayerMap
from edgeprune.planning.converted import convert_to_draft
from edgeprune.planning.network_cost import dense_cost
from edgeprune.planning.network_gain import fit_to_network
from edgeprune.planning.rules import make_plan
from edgeprune.profiles import kernel_costs
from edgeprune.profiles.encoding import runtimes_of
from edgeprune.profiles.kernel_costs import RuntimeCosts
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.rules import Route
from edgeprune.pruning.channels.plan_removal import (
    NO_RULES,
    ChannelRules,
    plan_removal,
    remove_planned,
)
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Graph

UNIT = "instructions"


@dataclass(frozen=True)
class RouteCost:
    """A route, and the instructions of one inference in its number format by the cost table."""

    route: Route
    dense: float
    pruned: float
    """As `dense` for a route that prunes nothing, and where zeros would gain nothing."""


def costs_in(profile: DeviceProfile) -> RuntimeCosts | None:
    """The costs of the runtime that a profile names first, on its core; None if there are none."""
    table = kernel_costs.costs_of(profile)
    return table.of(runtimes_of(profile)[0]) if table is not None else None


def expect_dense(graph: Graph, profile: DeviceProfile) -> float | None:
    """What a dense network costs in the number format of a narrowed profile; None if not known."""
    costs = costs_in(profile)
    return dense_cost(graph, costs, profile.numerics) if costs is not None else None


def with_expected(
    made: Plan, draft: Draft, mapped: LayerMap, profile: DeviceProfile, rules: ChannelRules
) -> Plan:
    """A plan with what the whole network is expected to cost, where a cost table tells.

    Args:
      made: the plan, with the channels that each layer loses.
      draft: the model as a float32 file.
      mapped: the model.
      profile: the device, narrowed to the plan's route.
      rules: for custom layers: how each class passes channels on.
    """
    dense = expect_dense(draft.graph, profile)
    pruned = _pruned_cost(made, dense, mapped, profile, rules)
    if dense is None or pruned is None:
        return made
    first = runtimes_of(profile)[0]
    expected = Expected(
        unit=UNIT,
        dense=dense,
        pruned=pruned,
        source=f"cost table of {first} on {profile.core}",
    )
    return made.model_copy(update={"expected": expected})


def _pruned_cost(
    made: Plan,
    dense: float | None,
    mapped: LayerMap,
    profile: DeviceProfile,
    rules: ChannelRules,
) -> float | None:
    """What the pruned network costs; None where its patterns have no costs."""
    if not made.pruned:
        return dense
    if all(isinstance(row.pattern, Channels) for row in made.pruned):
        smaller = remove_planned(mapped, made, rules=rules)
        return expect_dense(convert_to_draft(smaller.model, profile).graph, profile)
    if made.network is None or not made.network.gains:
        return None
    first = runtimes_of(profile)[0].name
    return next((pruned for name, _, pruned in made.network.instructions if name == first), None)


def cost_routes(
    mapped: LayerMap,
    draft: Draft,
    layers: Sequence[LayerInfo],
    profile: DeviceProfile,
    routes: Iterable[Route],
    *,
    rules: ChannelRules = NO_RULES,
    only: str | None = None,
    skip: str | None = None,
) -> tuple[RouteCost, ...]:
    """The expected costs of routes, each at its default sparsity; those not known are left out.

    Args:
      mapped: a built Keras model; not changed.
      draft: the model as a float32 file.
      layers: the model's layers.
      profile: the device with all its routes.
      routes: those to look at, whose conditions the device meets.
      rules: for custom layers: how each class passes channels on.
      only: as for `plan`.
      skip: as for `plan`.
    """
    found: list[RouteCost] = []
    smaller: dict[tuple[tuple[int, ...] | None, ...], Graph] = {}
    for route in routes:
        narrowed = profile.on(route.name)
        dense = expect_dense(draft.graph, narrowed)
        if dense is None:
            continue
        if route.dense:
            found.append(RouteCost(route, dense, dense))
            continue
        made = make_plan(layers, narrowed, only=only, skip=skip)
        if any(isinstance(row.pattern, Channels) for row in made.layers):
            made = plan_removal(mapped, narrowed, made, rules=rules)
            shapes = tuple(row.after for row in made.layers)
            if shapes not in smaller:
                without = remove_planned(mapped, made, rules=rules)
                smaller[shapes] = convert_to_draft(without.model, narrowed).graph
            pruned = expect_dense(smaller[shapes], narrowed)
        elif narrowed.encoding.sparse_networks:
            fitted = fit_to_network(made, draft, narrowed, layers)
            pruned = _pruned_cost(fitted, dense, mapped, narrowed, rules) or dense
        else:
            pruned = None
        if pruned is not None:
            found.append(RouteCost(route, dense, pruned))
    return tuple(found)


def fastest(found: Iterable[RouteCost]) -> RouteCost | None:
    """The route that is expected to cost least; the first of several alike, None of none."""
    return min(found, key=lambda each: each.pruned, default=None)


def usable_routes(profile: DeviceProfile, goal: Goal | None) -> tuple[Route, ...]:
    """The routes whose conditions a device meets, that serve a goal or prune nothing."""
    names = {runtime.name for runtime in profile.runtimes}
    return tuple(
        route
        for route in profile.offered
        if not profile.lacks(route)
        and (not route.runtimes or names & set(route.runtimes))
        and (route.dense or (goal or "latency") in route.goals)
    )


def require_fastest(found: Sequence[RouteCost], profile: DeviceProfile) -> RouteCost:
    """The fastest route.

    Raises:
      PlanError: the device has no cost table, so that nothing tells.
    """
    best = fastest(found)
    if best is None:
        raise PlanError(
            f"{profile.name}: expected a cost table, by which `--route auto` chooses. Received: "
            f"none for {runtimes_of(profile)[0]} on {profile.core}. Name a route: "
            f"{', '.join(route.name for route in profile.offered)}."
        )
    return best
