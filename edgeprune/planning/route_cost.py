"""What the routes of a device are expected to cost for a model, before anything is trained.

The model is converted once as float32; what other number formats cost follows from its operators.
Where channels are removed, they are removed by magnitude and the smaller model is converted too:
what a network costs does not depend on the values of its weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from edgeprune.core.errors import EdgepruneError, PlanError
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import LayerInfo, Plan
from edgeprune.core.plan_verdict import Expected, FasterRoute
from edgeprune.core.terms import Goal, Numerics
from edgeprune.keras_model.layers import LayerMap
from edgeprune.planning.converted import Converted
from edgeprune.planning.expectation import weights_left
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
from edgeprune.tflite.format.graph import Graph

UNIT = "instructions"
ITEM_BYTES: Mapping[Numerics, int] = MappingProxyType(
    {"float32": 4, "float16": 2, "float16-arithmetic": 2, "dynamic-range": 1, "int8": 1}
)
"""Bytes of one weight in a file."""
_CLEARLY = 0.98
"""Another route is named where it costs less than this part of the planned one."""


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
    made: Plan, model: Converted, mapped: LayerMap, profile: DeviceProfile, rules: ChannelRules
) -> Plan:
    """A plan with what the whole network is expected to cost, where a cost table tells.

    Args:
      made: the plan, with the channels that each layer loses.
      model: the model as a float32 file.
      mapped: the model.
      profile: the device, narrowed to the plan's route.
      rules: for custom layers: how each class passes channels on.
    """
    if costs_in(profile) is None or made.goal != "latency":
        return made
    try:
        dense = expect_dense(model.draft.graph, profile)
        pruned = _pruned_cost(made, dense, model, mapped, profile, rules)
    except EdgepruneError:
        return made
    if dense is None or pruned is None:
        return made
    return made.model_copy(update={"expected": expected_by_table(profile, dense, pruned)})


def expected_by_table(profile: DeviceProfile, dense: float, pruned: float) -> Expected:
    """What a cost table expects of a whole network, dense and pruned."""
    source = f"cost table of {runtimes_of(profile)[0]} on {profile.core}"
    return Expected(unit=UNIT, dense=dense, pruned=pruned, source=source)


def _pruned_cost(
    made: Plan,
    dense: float | None,
    model: Converted,
    mapped: LayerMap,
    profile: DeviceProfile,
    rules: ChannelRules,
) -> float | None:
    """What the pruned network costs; None where its patterns have no costs."""
    if not made.pruned:
        return dense
    if all(isinstance(row.pattern, Channels) for row in made.pruned):
        smaller = remove_planned(mapped, made, rules=rules)
        return expect_dense(model.of_smaller(smaller.model).graph, profile)
    counted = sparse_instructions(made, profile)
    return counted[1] if counted is not None else None


def sparse_instructions(made: Plan, profile: DeviceProfile) -> tuple[float, float] | None:
    """Instructions of a whole network, dense and sparse, in the runtime that a profile names first.

    None if it gains nothing there, or no cost table tells.
    """
    if made.network is None or not made.network.gains:
        return None
    first = runtimes_of(profile)[0].name
    counts = (each[1:] for each in made.network.instructions if each[0] == first)
    return next(counts, None)


class RouteCosts:
    """The expected costs of a device's routes, each at its default sparsity, found when asked for.

    Args:
      mapped: a built Keras model; not changed.
      model: the model as a float32 file.
      layers: the model's layers.
      profile: the device with all its routes.
      rules: for custom layers: how each class passes channels on.
      only: as for `plan`.
      skip: as for `plan`.
    """

    def __init__(
        self,
        mapped: LayerMap,
        model: Converted,
        layers: Sequence[LayerInfo],
        profile: DeviceProfile,
        rules: ChannelRules = NO_RULES,
        only: str | None = None,
        skip: str | None = None,
    ) -> None:
        self.profile = profile
        self._mapped, self._model, self._layers = mapped, model, layers
        self._rules, self._only, self._skip = rules, only, skip
        self._smaller: dict[tuple[tuple[int, ...] | None, ...], Graph] = {}
        self._known: dict[str, RouteCost | None] = {}

    def of(self, route: Route) -> RouteCost | None:
        """The cost of one route; None where no cost table tells.

        Raises:
          EdgepruneError: the model cannot be converted, or lose channels.
        """
        if route.name not in self._known:
            self._known[route.name] = self._cost(route)
        return self._known[route.name]

    def _cost(self, route: Route) -> RouteCost | None:
        narrowed = self.profile.on(route.name)
        if costs_in(narrowed) is None:
            return None
        dense = expect_dense(self._model.draft.graph, narrowed)
        pruned = dense if route.dense or dense is None else self._pruned(narrowed, dense)
        return RouteCost(route, dense, pruned) if dense and pruned else None

    def _pruned(self, profile: DeviceProfile, dense: float) -> float | None:
        made = make_plan(self._layers, profile, only=self._only, skip=self._skip)
        if any(isinstance(row.pattern, Channels) for row in made.layers):
            made = plan_removal(self._mapped, profile, made, rules=self._rules)
            shapes = tuple(row.after for row in made.layers)
            if shapes not in self._smaller:
                without = remove_planned(self._mapped, made, rules=self._rules)
                self._smaller[shapes] = self._model.of_smaller(without.model).graph
            return expect_dense(self._smaller[shapes], profile)
        if not profile.encoding.sparse_networks:
            return None
        fitted = fit_to_network(made, self._model, profile, self._layers)
        priced = _pruned_cost(fitted, dense, self._model, self._mapped, profile, self._rules)
        return priced or dense

    def usable(self, goal: Goal, besides: str | None = None) -> tuple[RouteCost, ...]:
        """The routes whose conditions the device meets, that serve a goal or prune nothing.

        Args:
          goal: the goal.
          besides: the name of a route to leave out.

        Raises:
          EdgepruneError: as `of`.
        """
        found = [
            self.of(route)
            for route in self.profile.offered
            if route.name != besides
            and not self.profile.lacks(route)
            and any(route.pays_in(runtime.name) for runtime in self.profile.runtimes)
            and (route.dense or goal in route.goals)
        ]
        return tuple(each for each in found if each is not None)

    def require_best(self, goal: Goal) -> Route:
        """The route that is expected to cost least, the first of several alike.

        Where the device has no cost table and flash is the goal, that with the fewest bytes of
        weights, and of code that unpacks them.

        Raises:
          PlanError: the device has no cost table, so that nothing tells.
          EdgepruneError: as `of`.
        """
        found = self.usable(goal)
        if found:
            return min(found, key=lambda each: each.pruned).route
        if goal == "flash":
            serving = [r for r in self.profile.offered if r.dense or goal in r.goals]
            if serving:
                return min(serving, key=self._flash_bytes)
        raise PlanError(
            f"{self.profile.name}: expected a cost table, by which `--route auto` chooses. "
            f"Received: none for {runtimes_of(self.profile)[0]} on {self.profile.core}. Name a "
            f"route: {', '.join(route.name for route in self.profile.offered)}."
        )

    def _flash_bytes(self, route: Route) -> float:
        """Bytes of flash that weights take on a route at its default sparsity."""
        profile = self.profile.on(route.name)
        made = make_plan(self._layers, profile, only=self._only, skip=self._skip)
        if any(isinstance(row.pattern, Channels) for row in made.layers):
            made = plan_removal(self._mapped, profile, made, rules=self._rules)
        if route.packing is not None and made.expected is not None:
            return made.expected.pruned
        return ITEM_BYTES[route.numerics] * sum(map(weights_left, made.layers))


def with_faster(made: Plan, costs: RouteCosts) -> Plan:
    """A plan with the route that is expected to be clearly faster, if one is."""
    if made.expected is None or made.expected.unit != UNIT or made.goal != "latency":
        return made
    best = min(
        costs.usable(made.goal, besides=made.route), key=lambda each: each.pruned, default=None
    )
    if best is None or best.pruned >= _CLEARLY * made.expected.pruned:
        return made
    faster = FasterRoute(route=best.route.name, unit=UNIT, value=best.pruned)
    return made.model_copy(update={"faster_route": faster})
