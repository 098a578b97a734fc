"""Answers "which device?": the profiles for a product, the best first, and what pays there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgeprune.core.grid import Grid, Printable, grid
from edgeprune.profiles.folder import profile_names
from edgeprune.profiles.hardware import Hardware
from edgeprune.profiles.matching import (
    Listed,
    correct,
    find,
    no_profile_for,
    read_name,
    unknown_device,
    without_profile,
)
from edgeprune.profiles.profile import (
    DeviceProfile,
    listed_products,
    load_profile,
    named_profile,
    shipped_profiles,
)
from edgeprune.profiles.rules import Route
from edgeprune.profiles.unprofiled import unprofiled

MAX_PRODUCTS = 8
"""Products that are listed with their chips; more are listed by their names."""
MAX_NAMES = 24
"""Names of products that are listed; more are counted."""
NOT_MEASURED = "not measured; `edgeprune compare` measures yours"


@dataclass(frozen=True)
class DeviceMatch:
    """A profile, and the products of it that were asked for."""

    profile: DeviceProfile
    hardware: tuple[Hardware, ...]

    @property
    def rank(self) -> int:
        """1 if there is a product among them that this profile suits best."""
        return min((hardware.rank for hardware in self.hardware), default=1)

    @property
    def command(self) -> str:
        """What to type to see what would be pruned."""
        return f"edgeprune plan model.keras --device {self.profile.name}"

    def to_json(self) -> dict[str, Any]:
        """The profile as its file has it, with these products only, and the command."""
        content = self.profile.model_dump(mode="json", by_alias=True)
        hardware = [entry.model_dump(mode="json") for entry in self.hardware]
        routes = [_route_json(self.profile, route) for route in self.profile.offered]
        return {**content, "hardware": hardware, "routes": routes, "command": self.command}


@dataclass(frozen=True)
class Devices(Printable):
    """The profiles that words mean, the best first; all of them where there are no words."""

    words: str
    read_as: str
    """The words as they were read, without typing errors."""
    matches: tuple[DeviceMatch, ...]

    @property
    def products(self) -> tuple[Hardware, ...]:
        """The products that were found, each once."""
        found = (hardware for match in self.matches for hardware in match.hardware)
        return tuple({hardware.name: hardware for hardware in found}.values())

    @property
    def hints(self) -> tuple[str, ...]:
        """What to type next."""
        if not self.words:
            return ("Any product: edgeprune devices pixel 8. All commands: edgeprune --help.",)
        first, *others = (match.command for match in self.matches)
        return (f"Next: {first}", *(f"Or:   {command}" for command in others))

    def to_json(self) -> list[dict[str, Any]]:
        """One document per profile."""
        return [match.to_json() for match in self.matches]

    def grids(self) -> tuple[Grid, ...]:
        """What pays on each profile, and the products that were found."""
        if not self.words:
            return (_everything(self.matches, self.hints),)
        pays = grid(
            f"What pays on {self._subject}",
            ("=device", "what it is", "=route", "numbers", "pattern (goal)", "gain seen so far"),
            (row for match in self.matches for row in _pays(match.profile)),
            *self.hints,
        )
        return (pays, _products(self.matches))

    @property
    def _subject(self) -> str:
        names = [hardware.name for hardware in self.products]
        return names[0] if len(names) == 1 else self.read_as


def devices(words: str | Sequence[str] = "") -> Devices:
    """Finds the device profiles for a product, a chip or a category, such as `pixel 8`.

    The exact name of a profile means that profile, though a product may be called so too.

    Args:
      words: a name in any case, also in parts; numbers have to be exact, typing errors in words are
        forgiven. All profiles where it is empty.

    Raises:
      ProfileError: no profile knows such a device; names the nearest and how to write a profile.
    """
    text = words if isinstance(words, str) else " ".join(words)
    profiles = shipped_profiles()
    if not text.strip():
        return Devices("", "", tuple(DeviceMatch(p, p.hardware) for p in profiles))
    listed = listed_products(profiles)
    name = named_profile(text)
    if name == text or (name and not any(_is_called(text, entry) for entry in listed)):
        profile = load_profile(name)
        return Devices(text, text, (DeviceMatch(profile, profile.hardware),))
    other = without_profile(text, listed, unprofiled())
    if other:
        raise no_profile_for(text, other)
    found, read_as = find(text, listed), text
    if not found:
        read_as = correct(text, listed)
        found = find(read_as, listed)
    if not found:
        raise unknown_device(text, listed, profile_names())
    matches = (
        DeviceMatch(profile, tuple(e.hardware for e in found if e.profile == profile.name))
        for profile in profiles
    )
    return Devices(text, read_as, tuple(sorted(filter(_has_products, matches), key=_order)))


def _is_called(words: str, entry: Listed) -> bool:
    """Whether a product has just these words for a name: a profile may be called after it."""
    names = (entry.hardware.name, *entry.hardware.aliases)
    return any(read_name(words).parts == read_name(name).parts for name in names)


def _has_products(match: DeviceMatch) -> bool:
    return bool(match.hardware)


def _order(match: DeviceMatch) -> tuple[int, int, str]:
    """Profiles that suit a product best come first; of those, the one that suits most of them."""
    best = sum(hardware.rank == match.rank for hardware in match.hardware)
    return match.rank, -best, match.profile.name


def _route_json(profile: DeviceProfile, route: Route) -> dict[str, Any]:
    """A route by the command-line contract."""
    needs = f"the core needs {' and '.join(route.needs)}" if route.needs else ""
    return {
        "route": route.name,
        "numerics": route.numerics,
        "patterns": list(dict.fromkeys(str(rule.pattern) for rule in route.rules)),
        "goals": list(route.goals),
        "default_sparsity": route.default_sparsity,
        "condition": needs or None,
        "runtimes": list(route.runtimes or dict.fromkeys(r.name for r in profile.runtimes)),
        "source": route.source,
    }


def _pattern(route: Route) -> str:
    if route.dense:
        return "dense"
    goals = f" ({', '.join(route.goals)})" if route.goals else ""
    return f"{route.rules[0].pattern}{goals}"


def _pays(profile: DeviceProfile) -> Iterator[tuple[str, ...]]:
    """A row for each route; the first one says of which profile."""
    facts: tuple[str, ...] = (profile.name, profile.device)
    for route in profile.offered:
        yield (*facts, route.name, route.numerics, _pattern(route), _gain(profile, route))
        facts = ("", "")


def _gain(profile: DeviceProfile, route: Route) -> str:
    """What a route was seen to gain, or why it gains nothing."""
    lacks = profile.lacks(route)
    if lacks:
        return f"none: {profile.core} has no {' and no '.join(lacks)}"
    if route.dense:
        return "nothing is pruned"
    return str(route.gain or NOT_MEASURED)


def _by_route(profile: DeviceProfile) -> Iterator[str]:
    """What each route prunes, in which numbers where they differ, and how much."""
    formats = {route.numerics for route in profile.offered}
    for route in profile.offered:
        if not route.dense:
            numbers = f"{route.numerics}: " if len(formats) > 1 else ""
            yield f"{numbers}{route.default_sparsity:g} by {_pattern(route)}"


def _products(matches: Sequence[DeviceMatch]) -> Grid:
    """The products that were found: with their chips if they are few, else by their names."""
    if max(len(match.hardware) for match in matches) > MAX_PRODUCTS:
        return grid("Products", ("=device", "products"), _named_products(matches))
    facts: dict[str, tuple[str, ...]] = {}
    notes: dict[str, list[str]] = {}
    for match in matches:
        for product in match.hardware:
            facts[product.name] = (product.name, product.chip, product.cores, product.source)
            said = [f"{match.profile.name}: {product.note}"] if product.note else []
            notes.setdefault(product.name, []).extend(said)
    rows = ((*facts[name], "\n".join(notes[name])) for name in facts)
    return grid("Products", ("product", "chip", "cores", "source", "note"), rows).compact()


def _named_products(matches: Sequence[DeviceMatch]) -> Iterator[tuple[str, str]]:
    """The names of the first products; profiles with the same products share a row."""
    profiles: dict[tuple[str, ...], list[str]] = {}
    for match in matches:
        names = tuple(hardware.name for hardware in match.hardware)
        profiles.setdefault(names, []).append(match.profile.name)
    for names, listing in profiles.items():
        more = len(names) - MAX_NAMES
        shown = ", ".join(names[:MAX_NAMES])
        yield "\n".join(listing), f"{shown} and {more} more" if more > 0 else shown


def _everything(matches: Sequence[DeviceMatch], notes: Sequence[str]) -> Grid:
    """The device profiles, as a table for a newcomer."""
    return grid(
        "Devices: what makes a model faster or smaller there",
        ("=device", "what it is", "numbers", "zeros by pattern (goal)", "measured by"),
        (
            (
                match.profile.name,
                f"{match.profile.device}\n{match.profile.summary}\n",
                "\n".join(dict.fromkeys(route.numerics for route in match.profile.offered)),
                "\n".join(_by_route(match.profile)),
                ", ".join(match.profile.targets),
            )
            for match in matches
        ),
        *notes,
    )
