"""Device profiles: what a device's kernels exploit, as data, each fact with its source.

A profile is one TOML file in `device_profiles/`, or the user's own, given by path. It decides which
layers may be pruned, in which pattern, in which number format the model is exported and which
instruments measure it. Code never asks for a device by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from edgeprune.core.errors import ProfileError
from edgeprune.core.runtime import read_runtime
from edgeprune.core.schema import Count, Table, Text, explain_invalid
from edgeprune.core.spelling import suggestion
from edgeprune.core.terms import (
    CORE_FEATURES,
    DEFAULT_CORE,
    Core,
    CoreFeature,
    Goal,
    ModelledCore,
    Numerics,
    TargetName,
)
from edgeprune.profiles.channel_cost import NO_CHANNEL_COST, ChannelCost
from edgeprune.profiles.facts import (
    Delegate,
    Fact,
    Limit,
    Limits,
    Packing,
    RequiredRuntime,
    TflmSettings,
    VelaSettings,
)
from edgeprune.profiles.folder import profile_folder, profile_names, read_toml
from edgeprune.profiles.hardware import Hardware
from edgeprune.profiles.matching import Listed, best_profile, read_name
from edgeprune.profiles.rules import (
    AUTO,
    HALF_PRECISION,
    HALVES_STAY_DENSE,
    Encoding,
    Route,
    Selection,
    Strategy,
    sparse_halves,
)
from edgeprune.profiles.unprofiled import unprofiled

STRATEGIES_SCHEMA = 1
PROFILE_SCHEMA = 2
"""Profiles of schema 1 have strategies in one number format, which are read as routes."""
_PER_ROUTE = (
    "channel_cost",
    "encoding",
    "left_alone",
    "per_channel_dense",
    "prunable",
    "symmetric_padding",
)
"""Keys that a route may have for itself."""


class DeviceProfile(Table):
    """One device, as its TOML file describes it."""

    schema_version: Annotated[Count, Field(alias="schema")]
    """Version of this format: 2, or 1 with `strategies` in place of `routes`."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """What `--device` takes: small letters, digits, dots, dashes and underscores."""
    device: Text
    """What the device is, for a person."""
    summary: Text
    """One sentence: what makes a model faster or smaller there."""
    numerics: Numerics
    """The number format that models are exported in; that of the first route."""
    other_numerics: tuple[Numerics, ...] = ()
    """Number formats that `export --numerics` may choose instead."""
    per_channel_dense: bool
    """Whether Dense weights may have one int8 scale per output; some sparse kernels take one."""
    symmetric_padding: bool = False
    """Whether kernels that skip zeros want stride-2 convolutions padded alike on all sides."""
    targets: tuple[TargetName, ...]
    """Instruments that measure this device, the best first."""
    machines: tuple[Text, ...] = ()
    """The processors, as `platform.machine()` names them, on which a target that measures this
    computer measures the device; empty for all."""
    core: Core = DEFAULT_CORE
    """The core that `arm64-emulated` emulates."""
    cycles_core: ModelledCore | None = None
    """The core by whose modelled cycles files are ranked, where llvm-mca gives them; by counted
    instructions if left out."""
    costs: Text | None = None
    """The table of what operators cost: the path of a `.toml`, or `core` for the one that comes
    with edgeprune for `core`, if there is one."""
    hardware: tuple[Hardware, ...] = ()
    """Products and chips that this profile stands for; `edgeprune devices WORDS` searches them."""
    prunable: Selection
    """The layers whose weights a sparsity is counted over."""
    also: Selection | None = None
    """Layers that are pruned with the prunable ones without being counted among them."""
    left_alone: Text
    """Why layers outside every rule stay dense."""
    runtimes: tuple[RequiredRuntime, ...]
    """Runtimes that a file has to load in."""
    routes: tuple[Route, ...] = ()
    """Number formats and what is pruned in them; the first is the default."""
    strategies: tuple[Strategy, ...] = ()
    """In schema 1, in place of routes: what to do for each goal; the first is the default."""
    encoding: Encoding
    """Which runtimes read sparse tensors, and from where a sparse kernel pays."""
    limits: Limits
    """What a file has to fit into."""
    channel_cost: ChannelCost = NO_CHANNEL_COST
    """What removal of channels is weighed by."""
    delegate: Delegate | None = None
    """What hands operators to the accelerator, where a program has to load it."""
    tflm: TflmSettings | None = None
    """What the instrument `tflm` has to know."""
    vela: VelaSettings | None = None
    """What the instrument `vela` has to know."""
    facts: tuple[Fact, ...] = ()
    """What else was measured or documented, for people."""

    @model_validator(mode="after")
    def _check(self) -> DeviceProfile:
        for problem in _contradictions(self):
            raise ValueError(problem)
        return self

    @property
    def offered(self) -> tuple[Route, ...]:
        """The routes, the default first; a strategy of schema 1 is one by the name of its goal."""
        return self.routes or tuple(
            Route(
                **dict(strategy),
                name=next(iter(strategy.goals), f"strategy-{number}"),
                numerics=self.numerics,
                source=next((rule.source for rule in strategy.rules), self.summary),
            )
            for number, strategy in enumerate(self.strategies, 1)
        )

    @property
    def route(self) -> Route:
        """The default route; of a profile that was narrowed with `on`, the one that is left."""
        return self.offered[0]

    @property
    def packing(self) -> Packing | None:
        """What packs zeros in files, of the first route on which something does."""
        return next((route.packing for route in self.offered if route.packing), None)

    def on(self, route: str | None = None, goal: Goal | None = None) -> DeviceProfile:
        """The profile with one route only, in whose number format everything is then said.

        Args:
          route: its name; the first route that serves the goal if None.
          goal: what matters most; any if None.

        Raises:
          ProfileError: no such route, it does not serve the goal or needs what the core lacks.
        """
        chosen = _named_route(self, route) if route is not None else self.strategy(goal)
        if goal is not None and goal not in chosen.goals:
            raise ProfileError(
                f"{self.name}: expected a goal that route '{chosen.name}' serves, one of "
                f"{', '.join(chosen.goals) or 'none'}. Received: {goal}."
            )
        lacks = self.lacks(chosen)
        if lacks:
            raise ProfileError(
                f"{self.name}: route '{chosen.name}' needs {' and '.join(lacks)}, which the core "
                f"{self.core} does not have. Choose another route, or a profile of another core."
            )
        names = [runtime.name for runtime in self.runtimes]
        if not any(map(chosen.pays_in, names)):
            raise ProfileError(
                f"{self.name}: route '{chosen.name}' pays in {' and '.join(chosen.runtimes)} only. "
                f"Received: {' and '.join(names)}. Choose another route or runtime."
            )
        own = {key: getattr(chosen, key) for key in _PER_ROUTE}
        changed = {key: value for key, value in own.items() if value is not None}
        if chosen.numerics == HALF_PRECISION:
            changed["encoding"] = HALVES_STAY_DENSE
        if chosen.prunable is not None:
            changed["also"] = chosen.also
        narrowed = {"numerics": chosen.numerics, "routes": (chosen,), "strategies": ()}
        return self.model_copy(update={**changed, **narrowed, "schema_version": PROFILE_SCHEMA})

    def in_runtime(self, words: str | None) -> DeviceProfile:
        """The profile with one runtime only; itself if none is named.

        Args:
          words: NAME or NAME==VERSION; the version may be one that the profile does not list.

        Raises:
          ProfileError: the profile has no runtime of that name.
        """
        if words is None:
            return self
        name, version = read_runtime(words)
        alike = [each for each in self.runtimes if each.name == name]
        if not alike:
            known = ", ".join(f"{each.name}=={each.version}" for each in self.runtimes)
            raise ProfileError(
                f"{self.name}: expected a runtime that the profile lists: {known}. "
                f"Received: {words}."
            )
        kept = [each for each in alike if version in (None, each.version)]
        asked = {"version": version, "source": "asked for with --runtime"}
        runtimes = tuple(kept or [alike[0].model_copy(update=asked)])
        return self.model_copy(update={"runtimes": runtimes})

    def within_arena(self, most: int | None) -> DeviceProfile:
        """The profile with another limit of the arena, in bytes; itself if None is given."""
        if most is None:
            return self
        limit = Limit(value=most, source="asked for with --max-arena")
        return self.model_copy(
            update={"limits": self.limits.model_copy(update={"arena_bytes": limit})}
        )

    def lacks(self, route: Route) -> tuple[CoreFeature, ...]:
        """What a route needs and the core does not have."""
        return tuple(sorted(set(route.needs) - CORE_FEATURES.get(self.core, frozenset())))

    def strategy(self, goal: Goal | None = None) -> Route:
        """The first route that serves a goal; the default route if none is named.

        Raises:
          ProfileError: the profile has no route for that goal.
        """
        for route in self.offered:
            if goal is None or goal in route.goals:
                return route
        goals = ", ".join(dict.fromkeys(goal for route in self.offered for goal in route.goals))
        raise ProfileError(
            f"{self.name}: expected a goal that the profile serves, one of {goals}. "
            f"Received: {goal}."
        )


def _named_route(profile: DeviceProfile, name: str) -> Route:
    names = [route.name for route in profile.offered]
    if name == AUTO:
        raise ProfileError(
            f"{profile.name}: '{AUTO}' is resolved by `plan` and `prune`, from a model's cost, and "
            f"then stands in the plan. Expected a route: {', '.join(names)}."
        )
    if name not in names:
        raise ProfileError(
            f"{profile.name}: unknown route '{name}'.{suggestion(name, names)} "
            f"Known routes: {', '.join(names)}."
        )
    return profile.offered[names.index(name)]


def _contradictions(profile: DeviceProfile) -> Iterator[str]:
    """What is wrong between keys of a profile, in the words of an error."""
    version = profile.schema_version
    if version not in (STRATEGIES_SCHEMA, PROFILE_SCHEMA):
        yield (
            f"schema: this version of edgeprune reads schema {STRATEGIES_SCHEMA} and "
            f"{PROFILE_SCHEMA}. Received: {version}"
        )
    wanted, other = ("routes", "strategies")
    if version == STRATEGIES_SCHEMA:
        wanted, other = other, wanted
    for name in ("targets", "runtimes", wanted):
        if not getattr(profile, name):
            yield f"{name}: expected at least one"
    if getattr(profile, other):
        yield f"{other}: schema {version} has {wanted} in their place"
    yield from _repeated(profile)
    if profile.routes and profile.routes[0].numerics != profile.numerics:
        yield (
            f"numerics: expected that of the first route, {profile.routes[0].numerics}. "
            f"Received: {profile.numerics}"
        )
    yield from filter(None, map(sparse_halves, profile.offered))
    yield from _unknown_runtimes(profile)


def _repeated(profile: DeviceProfile) -> Iterator[str]:
    goals = [goal for strategy in profile.strategies for goal in strategy.goals]
    if len(goals) != len(set(goals)):
        yield f"strategies: each goal must be unique. Received: {', '.join(goals)}"
    names = Counter(route.name for route in profile.routes)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        yield f"routes: each name must be unique. Received twice: {', '.join(twice)}"


def _unknown_runtimes(profile: DeviceProfile) -> Iterator[str]:
    named = dict.fromkeys(runtime.name for runtime in profile.runtimes)
    listed = {"encoding.runtimes": profile.encoding.runtimes}
    for route in profile.routes:
        listed[f"route '{route.name}': runtimes"] = route.runtimes
        if route.encoding is not None:
            listed[f"route '{route.name}': encoding.runtimes"] = route.encoding.runtimes
    for key, names in listed.items():
        unknown = [name for name in names if name not in named]
        if unknown:
            yield (
                f"{key}: expected names among the profile's own runtimes, {', '.join(named)}. "
                f"Received: {', '.join(unknown)}"
            )


def load_profile(device: str | Path | DeviceProfile) -> DeviceProfile:
    """Loads a profile by its name, by a product that it lists, or by the path of a `.toml` file.

    Of several profiles that list a product, such as `pixel 8`, the one that suits it best is taken.
    A profile that is loaded already is returned as it is.

    Raises:
      ProfileError: no such profile or product, or several that words may mean, or the file does not
        follow the schema; names the key, what was received and, for an unknown key, the nearest
        valid one.
    """
    if isinstance(device, DeviceProfile):
        return device
    if isinstance(device, Path) or device.endswith(".toml"):
        return _parse(read_toml(Path(device)), Path(device))
    name = named_profile(device)
    if name is None:
        name = best_profile(
            device, listed_products(shipped_profiles()), profile_names(), unprofiled()
        )
    path = profile_folder() / f"{name}.toml"
    return _parse(read_toml(path), path)


def named_profile(words: str) -> str | None:
    """The name of the profile that is called so, as in `edge tpu`; None if none is."""
    asked = read_name(words).parts
    return next((name for name in profile_names() if read_name(name).parts == asked), None)


def shipped_profiles() -> tuple[DeviceProfile, ...]:
    """The profiles that come with edgeprune, by name."""
    return tuple(load_profile(name) for name in profile_names())


def listed_products(profiles: Iterable[DeviceProfile]) -> tuple[Listed, ...]:
    """Every product of the profiles, in their order."""
    return tuple(Listed(p.name, hardware) for p in profiles for hardware in p.hardware)


def _parse(content: dict[str, Any], path: Path) -> DeviceProfile:
    try:
        return DeviceProfile.model_validate(content)
    except ValidationError as error:
        raise ProfileError(f"{path}: {explain_invalid(error, DeviceProfile)}") from error
