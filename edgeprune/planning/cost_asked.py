"""Whether a plan can be asked to stay within a cost, and why not."""

from __future__ import annotations

from edgeprune.core.errors import PlanError
from edgeprune.core.pattern import Channels
from edgeprune.core.terms import Goal
from edgeprune.planning.route_cost import costs_in
from edgeprune.profiles.profile import DeviceProfile


def require_fraction(cost: float | None, sparsity: float | None) -> None:
    """Checks that a cost is a fraction, and that no sparsity is asked for beside it.

    Raises:
      PlanError: it is not.
    """
    if cost is None:
        return
    if sparsity is not None:
        raise PlanError("A cost and a sparsity both say how much is removed: give one of them.")
    if not 0 < cost < 1:
        raise PlanError(
            "Expected a cost above 0 and below 1: a fraction of the dense model's. "
            f"Received: {cost:g}."
        )


def goal_within(offered: DeviceProfile, route: str | None, goal: Goal | None) -> Goal:
    """The goal of a plan within a cost, which is latency.

    Args:
      offered: the device.
      route: the name of its route; the first that serves latency if None.
      goal: as a person named it, if at all.

    Raises:
      PlanError: another goal was named, or the route leaves nothing to choose.
      ProfileError: no such route, or none that serves latency.
    """
    if goal not in (None, "latency"):
        raise PlanError(
            f"A cost is that of one inference. Expected the goal latency with it. Received: {goal}."
        )
    chosen = offered.on(route) if route is not None else offered.on(goal="latency")
    if reason := why_no_cost(chosen):
        raise PlanError(
            f"{offered.name}: route '{chosen.route.name}' {reason}. Leave out the cost, or choose "
            "another route."
        )
    return "latency"


def why_no_cost(profile: DeviceProfile) -> str:
    """Why nothing can be planned within a cost on the route of a narrowed profile; empty if it can.

    It follows the words "this route".
    """
    route = profile.route
    if route.dense:
        return "leaves the model dense, so that its cost is what it is"
    if route.fixed:
        return f"makes {route.fixed}, which has one sparsity by definition"
    if "latency" not in route.goals:
        return f"serves {' and '.join(route.goals)}, and a cost is that of one inference"
    if any(isinstance(rule.pattern, Channels) for rule in route.rules):
        return ""
    costs = costs_in(profile)
    if profile.encoding.sparse_networks and costs is not None and costs.costs:
        return ""
    return "has no cost table of what zeros save"
