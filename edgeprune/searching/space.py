"""What a search may try: the routes of its devices, and the sparsities or costs on each.

Pure but for the question which instruments are ready. The same arguments give the same candidates
on every machine where the same instruments are ready.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeprune.core.errors import InputError, ProfileError
from edgeprune.core.pattern import Channels
from edgeprune.core.spelling import suggestion
from edgeprune.core.terms import Activation, Allocation, Numerics
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.rules import HALF_PRECISION, Route
from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import Candidate
from edgeprune.targets.find import find_target
from edgeprune.targets.measuring import instrument_for
from edgeprune.targets.target import OnCores, Remote

SPACE_SCHEMA = 1
"""Version of what a search tries, and in what rounds: workers of one search have the same."""
SIZE_UNIT = "bytes"
"""The unit of a front where nothing tells what an inference costs: bytes of the file."""
CHANNEL_COSTS = (0.8, 0.65, 0.52, 0.42, 0.33)
"""Fractions of the dense cost that are tried first where channels are removed."""
ZEROS_COSTS = (0.6, 0.5, 0.42, 0.35, 0.28)
"""The same where zeros are made: their kernels gain nothing before most weights are zero."""
CHANNEL_SPARSITIES = (0.2, 0.35, 0.48, 0.58, 0.67)
"""Fractions of weights that are tried first where channels are removed and no cost tells."""
ZEROS_SPARSITIES = (0.5, 0.65, 0.75, 0.85, 0.9)
"""The same where zeros are made."""
Knob = Literal["sparsity", "cost"]


@dataclass(frozen=True, order=True)
class FrontKey:
    """Devices with the same one are measured by the same yardstick, and compete in one front."""

    target: str | None
    """The instrument, with its address if it has one; None where cost tables tell."""
    core: str | None
    """What it measures for: a core, or an accelerator; None where it is one machine."""
    unit: str
    """Unit of costs: "ms", "instructions", "cycles" or "bytes"."""


@dataclass(frozen=True)
class RouteSpace:
    """One route of a device, and what is tried on it."""

    device: str
    route: str
    numerics: Numerics
    dense: bool
    """Whether it is a reference, with nothing pruned."""
    fixed: bool
    """Whether its pattern has a sparsity of its own."""
    knob: Knob | None
    """What says how much is pruned; None where nothing is to choose."""
    values: tuple[float, ...]
    """Those of the knob that are tried first, what prunes least first."""
    paddings: tuple[Literal["keep", "symmetric"], ...]
    """The first without training, the last with it."""
    activations: tuple[Activation, ...]
    """The first without training; with it, that by which the cost is expected to be least."""
    allocations: tuple[Allocation | None, ...]
    front: FrontKey
    kind: str = ""
    """What is pruned, in a word: routes of one kind lose alike where alike much is left."""
    emulated: bool = False
    """Whether files run on an emulated core, where accuracy takes many times as long."""

    @property
    def family(self) -> str:
        """What its candidates have in common."""
        return f"{self.device}/{self.route}"

    def at(self, value: float | None, epochs: int = 0, activation: int = 0) -> Candidate:
        """The candidate with a value of the knob.

        Args:
          value: of the knob, if there is one.
          epochs: of training; 0 for one shot.
          activation: the number of the choice among `activations`.
        """
        rounded = None if value is None else round(value, 4)
        zero = 0.0 if self.dense and self.values else None
        return Candidate(
            device=self.device,
            route=self.route,
            sparsity=rounded if self.knob == "sparsity" else zero,
            cost=rounded if self.knob == "cost" else None,
            allocation=self.allocations[0],
            padding=self.paddings[-1 if epochs else 0],
            activation=self.activations[activation],
            epochs=epochs,
        )

    def tried_first(self) -> tuple[Candidate, ...]:
        """Candidates without training, what prunes least first."""
        return tuple(map(self.at, self.values if self.knob else (None,)))


@dataclass(frozen=True)
class Space:
    """Everything that decides what is tried, and in what order."""

    routes: tuple[RouteSpace, ...]
    epochs: int
    budget: Budget
    seed: int
    trials: int | None = None
    """How many candidates may be evaluated in full, references not counted; None for no limit."""
    minimize: bool = False
    """Whether what stands for accuracy is a metric of which less is better."""

    @property
    def fronts(self) -> tuple[FrontKey, ...]:
        """The fronts, in the order of the devices."""
        return tuple(dict.fromkeys(route.front for route in self.routes))

    def of_front(self, key: FrontKey) -> Space:
        """The part of the space that competes in one front."""
        return replace(self, routes=tuple(r for r in self.routes if r.front == key))

    def offered_by(self, profiles: Mapping[str, DeviceProfile]) -> Space:
        """The part of the space on routes that the devices, by their names, offer for a model."""
        names = {name: {each.name for each in found.offered} for name, found in profiles.items()}
        return replace(self, routes=tuple(r for r in self.routes if r.route in names[r.device]))

    def of_weights_alone(self) -> Space:
        """The space without what changes more than weights, which no .tflite file is open to."""
        plain = (replace(r, paddings=("keep",), activations=("keep",)) for r in self.routes)
        return replace(self, routes=tuple(plain))

    @property
    def references(self) -> tuple[RouteSpace, ...]:
        """The routes that leave the model dense."""
        return tuple(route for route in self.routes if route.dense)

    @property
    def pruned(self) -> tuple[RouteSpace, ...]:
        """The routes on which something is pruned."""
        return tuple(route for route in self.routes if not route.dense)


def space_of(
    profiles: Sequence[DeviceProfile],
    routes: Sequence[str] | None,
    budget: Budget,
    epochs: int,
    seed: int,
    trials: int | None,
    target: str | None,
    minimize: bool = False,
) -> Space:
    """What is searched on devices.

    Args:
      profiles: the devices with all their routes.
      routes: names of routes of any of the devices; all if None. Dense routes are always there.
      budget: what a file may cost.
      epochs: of training for the few that may gain by it; 0 for none.
      seed: of the search.
      trials: limit of candidates that are evaluated in full.
      target: the instrument for all devices; for each the first that is ready if None.
      minimize: as in `Space`.

    Raises:
      ProfileError: no device has a route of one of the names, or a device none of them that it can
        run.
      TargetError: the target is unknown, not ready, or does not measure a device.
      InputError: a cost is asked for, and the devices' costs have several units.
    """
    _require_known(profiles, routes or ())
    found = tuple(
        space
        for profile in profiles
        for space in _of_device(profile, routes, epochs, _front(profile, target))
    )
    units = sorted({space.front.unit for space in found})
    if budget.max_cost is not None and len(units) > 1:
        raise InputError(
            "A highest cost is in the unit in which a device is measured. Expected devices of one "
            f"unit. Received: {' and '.join(units)}. Search them one after the other."
        )
    return Space(found, epochs, budget, seed, trials, minimize)


def candidates(space: Space) -> tuple[Candidate, ...]:
    """All candidates that are known before anything is evaluated, each once.

    Those with training are named with every activation, so that their costs may be compared.
    """
    trained = (
        route.at(value, space.epochs, number)
        for route in space.pruned
        if space.epochs
        for value in (route.values if route.knob else (None,))
        for number in range(len(route.activations))
    )
    untrained = (each for route in space.routes for each in route.tried_first())
    return tuple(dict.fromkeys((*untrained, *trained)))


def _require_known(profiles: Sequence[DeviceProfile], names: Sequence[str]) -> None:
    known = list(dict.fromkeys(route.name for profile in profiles for route in profile.offered))
    for name in names:
        if name not in known:
            raise ProfileError(
                f"Unknown route '{name}'.{suggestion(name, known)} "
                f"Known routes of these devices: {', '.join(known)}."
            )


def _of_device(
    profile: DeviceProfile, names: Sequence[str] | None, epochs: int, front: FrontKey
) -> Iterator[RouteSpace]:
    usable = [route for route in profile.offered if _usable(profile, route)]
    pruned = [route for route in usable if not route.dense]
    dense = [route for route in usable if route.dense]
    chosen = [route for route in pruned if names is None or route.name in names]
    if names is not None and not any(route.name in names for route in usable):
        raise ProfileError(
            f"{profile.name}: expected one of its routes to search on: "
            f"{', '.join(route.name for route in usable)}. Received: {', '.join(names)}."
        )
    for route in dense:
        yield _reference(profile, route, front)
    formats = dict.fromkeys(route.numerics for route in dense)
    for route in pruned:
        if route.numerics not in formats:
            formats[route.numerics] = None
            yield replace(_reference(profile, route, front), values=(0.0,))
    for route in chosen:
        yield _pruned(profile.on(route.name), epochs, front)


def _usable(profile: DeviceProfile, route: Route) -> bool:
    return not profile.lacks(route) and route.pays_in(profile.runtimes[0].name)


def _reference(profile: DeviceProfile, route: Route, front: FrontKey) -> RouteSpace:
    """A dense model in a route's number format; one without values is a route of its own."""
    return RouteSpace(
        device=profile.name,
        route=route.name,
        numerics=route.numerics,
        dense=True,
        fixed=False,
        knob=None,
        values=(),
        paddings=("keep",),
        activations=("keep",),
        allocations=(None,),
        front=front,
        emulated=route.numerics == HALF_PRECISION,
    )


def _pruned(profile: DeviceProfile, epochs: int, front: FrontKey) -> RouteSpace:
    """A route of a profile that was narrowed to it."""
    from edgeprune.planning.cost_asked import why_no_cost  # it loads Keras

    route = profile.route
    fixed = route.fixed is not None
    knob: Knob | None = None if fixed else "sparsity" if why_no_cost(profile) else "cost"
    return RouteSpace(
        device=profile.name,
        route=route.name,
        numerics=route.numerics,
        dense=False,
        fixed=fixed,
        knob=knob,
        values=_values(route, knob),
        paddings=("keep", "symmetric") if epochs and profile.symmetric_padding else ("keep",),
        activations=("keep", "hard-swish") if epochs else ("keep",),
        allocations=(None,),
        front=front,
        kind=_kind(route),
        emulated=route.numerics == HALF_PRECISION,
    )


def _kind(route: Route) -> str:
    found = dict.fromkeys(
        "channels" if isinstance(rule.pattern, Channels) else str(rule.pattern)
        for rule in route.rules
    )
    return " or ".join(found)


def _values(route: Route, knob: Knob | None) -> tuple[float, ...]:
    channels = any(isinstance(rule.pattern, Channels) for rule in route.rules)
    match knob:
        case None:
            return ()
        case "cost":
            return CHANNEL_COSTS if channels else ZEROS_COSTS
        case "sparsity":
            return CHANNEL_SPARSITIES if channels else ZEROS_SPARSITIES


def _front(profile: DeviceProfile, asked: str | None) -> FrontKey:
    target = instrument_for(profile, asked)
    found = find_target(target) if target else None
    accelerator = profile.vela.accelerator if profile.vela else None
    if found is None:
        return FrontKey(None, accelerator or profile.core, _table_unit(profile))
    unit = found.capabilities.cost_unit or SIZE_UNIT
    if isinstance(found, OnCores):
        return FrontKey(target, profile.core, unit)
    one_machine = found.capabilities.this_computer or isinstance(found, Remote)
    return FrontKey(target, None if one_machine else accelerator, unit)


def _table_unit(profile: DeviceProfile) -> str:
    """The unit of the device's cost table, if it has one for a route."""
    from edgeprune.planning.route_cost import UNIT, costs_in  # they load Keras

    usable = (route.name for route in profile.offered if _usable(profile, route))
    known = any(costs_in(profile.on(name)) is not None for name in usable)
    return UNIT if known else SIZE_UNIT
