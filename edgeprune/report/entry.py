"""The rows of a comparison: devices on their routes, and what their files are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from edgeprune.core.errors import OutputError, ProfileError
from edgeprune.core.terms import Goal
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.rules import Route

ALL_ROUTES = "all"
"""What `--routes` takes for every route whose conditions a device meets."""


@dataclass(frozen=True)
class Entry:
    """One device on one of its routes."""

    offered: DeviceProfile
    """With all its routes."""
    route: str | None = None
    """Its name; the first that serves the goal if None."""
    goal: Goal | None = None

    @property
    def name(self) -> str:
        """What its files are called: `phone`, or `phone-sparse` off the default route."""
        device = self.offered.name
        default = self.route in (None, self.offered.route.name)
        return device if default else f"{device}-{self.route}"

    @cached_property
    def profile(self) -> DeviceProfile:
        """The profile on the route.

        Raises:
          ProfileError: as `DeviceProfile.on`.
        """
        return self.offered.on(self.route, self.goal)


def entries_of(
    profiles: Sequence[DeviceProfile],
    routes: Sequence[str],
    goal: Goal | None,
    runtime: str | None,
) -> tuple[Entry, ...]:
    """The rows of a comparison, device by device.

    Args:
      profiles: the devices.
      routes: names of routes, each taken for the devices that have it, or `ALL_ROUTES` alone; the
        default route of each device if empty.
      goal: what the routes have to serve; any if None.
      runtime: the name of the one that is measured with; the first that a device lists if None.

    Raises:
      ProfileError: a route that no device has, a device that has none of them, one that does not
        serve the goal, or a condition of one is not met.
      OutputError: two rows would write the same files, or there is none.
    """
    entries = [entry for profile in profiles for entry in _entries(profile, routes, goal, runtime)]
    known = {route.name for profile in profiles for route in profile.offered}
    for name in routes:
        if name not in known and name != ALL_ROUTES and profiles:
            profiles[0].on(name)
    names = [entry.name for entry in entries]
    if not names or len(set(names)) < len(names):
        raise OutputError(
            "Expected different devices and routes, at least one, since files are named after "
            f"them. Received: {', '.join(names) or 'none'}."
        )
    return tuple(entries)


def _entries(
    profile: DeviceProfile, routes: Sequence[str], goal: Goal | None, runtime: str | None
) -> list[Entry]:
    if not routes:
        return [Entry(profile, None, goal)]
    running = runtime or profile.runtimes[0].name
    if ALL_ROUTES in routes:
        served = (r for r in profile.offered if goal is None or r.dense or goal in r.goals)
        able = (route for route in served if not unmet(profile, route, running))
        return [Entry(profile, route.name, None if route.dense else goal) for route in able]
    named = [route for route in profile.offered if route.name in routes]
    if not named:
        profile.on(routes[0])
    for route in named:
        why = unmet(profile, route, running)
        if why:
            raise ProfileError(f"{profile.name}: route '{route.name}' {why}. Leave it out.")
        profile.on(route.name, goal)
    return [Entry(profile, route.name, goal) for route in named]


def unmet(profile: DeviceProfile, route: Route, runtime: str) -> str:
    """Which condition of a route a device or a runtime does not meet; empty if all are met.

    Args:
      profile: the device.
      route: one of its routes.
      runtime: the name of the runtime that is measured with.
    """
    lacks = profile.lacks(route)
    if lacks:
        return f"needs {' and '.join(lacks)}, which the core {profile.core} does not have"
    if not route.pays_in(runtime):
        return f"pays in {' and '.join(route.runtimes)} only, and not in {runtime}"
    return ""
