"""Which of a device's routes a file was made on, and in which number format it is asked for."""

from __future__ import annotations

from edgeprune.core.errors import ModelError
from edgeprune.core.terms import Numerics
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.checks import numerics
from edgeprune.tflite.format.decode_operator import holds_packed
from edgeprune.tflite.format.file import Graph
from edgeprune.tflite.metadata import named_route


def on_route_of(graph: Graph, profile: DeviceProfile, asked: str | None = None) -> DeviceProfile:
    """A device's profile on the route of a file.

    Args:
      graph: the file.
      profile: the device.
      asked: a route's name. If None, the one that the file's manifest names for this device; else
        one in the file's number format, those first that store weights sparsely; else the default.

    Raises:
      ProfileError: as `DeviceProfile.on`.
    """
    if asked is None:
        asked = named_route(graph, profile.name, [route.name for route in profile.offered])
    if asked is not None:
        return profile.on(asked)
    found = numerics(graph)
    fitting = [
        profile.on(route.name)
        for route in profile.offered
        if route.numerics == found and not profile.lacks(route)
    ]
    packed = holds_packed(graph)

    def unlike(each: DeviceProfile) -> tuple[bool, bool]:
        return (each.route.packing is not None) != packed, not each.encoding.runtimes

    return min(fitting, key=unlike, default=profile.on())


def checked_numerics(profile: DeviceProfile, numerics: Numerics | None) -> Numerics:
    """The number format that is asked for on a route; the route's if None.

    Raises:
      ModelError: the profile does not have it.
    """
    known = (profile.numerics, *profile.other_numerics)
    if numerics is not None and numerics not in known:
        raise ModelError(
            f"{profile.name}: expected a number format that the device profits from, one of "
            f"{', '.join(known)}. Received: {numerics}."
        )
    return numerics or profile.numerics
