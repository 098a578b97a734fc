"""Dense models on a device: what pruned ones are compared with, in one number format each."""

from __future__ import annotations

from edgeprune.core.terms import Numerics
from edgeprune.profiles.profile import PROFILE_SCHEMA, DeviceProfile
from edgeprune.profiles.rules import Encoding, Route

_SOURCE = "what pruned files are compared with"
_STORED_DENSELY = Encoding(runtimes=(), source=_SOURCE)


def dense_on(profile: DeviceProfile, numerics: Numerics) -> DeviceProfile:
    """A device's profile on a route that leaves the model dense, in a number format.

    That is the profile's own dense route in that format where it has one; else one is added, under
    a name that no route of the profile has.
    """
    own = (r for r in profile.offered if r.dense and r.numerics == numerics)
    route = next((r for r in own if not profile.lacks(r)), None) or _added(profile, numerics)
    plain = {
        "schema_version": PROFILE_SCHEMA,
        "routes": (route.model_copy(update={"encoding": None}),),
        "strategies": (),
        "encoding": _STORED_DENSELY,
    }
    return profile.model_copy(update=plain).on()


def _added(profile: DeviceProfile, numerics: Numerics) -> Route:
    names = {route.name for route in profile.offered}
    free = (f"{prefix}-{numerics}" for prefix in ("dense", "unpruned", "dense-unpruned"))
    return Route(
        name=next(name for name in free if name not in names),
        numerics=numerics,
        goals=(),
        default_sparsity=0.0,
        rules=(),
        source=_SOURCE,
    )
