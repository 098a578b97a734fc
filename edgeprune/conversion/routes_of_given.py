"""Which of a device's routes a model can be pruned for: of some files, those in their own format.

Weights are written back into the file that was given. A quantized one goes on computing in
quantized values. One with islands, a remainder or other subgraphs than the main one is not
converted to another format either: nothing is made of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from edgeprune.conversion.given import Given, other_subgraphs
from edgeprune.conversion.lift.floating import computes_in_steps
from edgeprune.core.errors import PlanError, ProfileError
from edgeprune.core.plan import Plan
from edgeprune.core.terms import Numerics
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.rules import Route
from edgeprune.targets.checks import numerics

_QUANTIZED: Numerics = "int8"
_FLOAT: Numerics = "float32"


def keeps_format(given: Given) -> bool:
    """Whether a model is a file with quantized activations, which it keeps."""
    return given.lifted is not None and computes_in_steps(given.lifted.graph)


@dataclass(frozen=True)
class _Kept:
    """The number formats that a file is pruned in, its own first, and why in no other."""

    formats: tuple[Numerics, ...]
    why: str
    remedy: str
    """What gives another one."""

    def __str__(self) -> str:
        return " or ".join(self.formats)


def _kept(given: Given) -> _Kept | None:
    """What a model keeps; None for one that is converted to any format."""
    if given.lifted is None:
        return None
    if keeps_format(given):
        why = "which new weights are written back into"
        return _Kept((_QUANTIZED,), why, "prune the float model that the file was made of")
    unlifted = [each.name for each in given.lifted.obstacles]
    subgraphs = other_subgraphs(given.lifted.graph)
    if unlifted:
        why = f"which {', '.join(dict.fromkeys(unlifted))} cannot be converted from"
    elif subgraphs:
        why = f"which its subgraphs beside the main one, {subgraphs}, cannot be converted from"
    else:
        return None
    own = cast("Numerics", numerics(given.lifted.graph))
    formats = tuple(dict.fromkeys((own, _FLOAT)))
    return _Kept(formats, why, "convert the original model to another format and give that file")


def why_unfit(given: Given, route: Route) -> str:
    """Why a model cannot be pruned for a route; empty where it can."""
    kept = _kept(given)
    if kept is None or route.numerics in kept.formats:
        return ""
    return f"is in {route.numerics}; {given.name} stays in {kept.formats[0]}, {kept.why}"


def routes_for(
    given: Given, profile: DeviceProfile, asked: Sequence[str | None] = ()
) -> DeviceProfile:
    """A device with the routes that a model can be pruned for, the default first; often all.

    Args:
      given: the model.
      profile: the device with all its routes.
      asked: names of routes; None, and what is no route of the device, is left to others.

    Raises:
      ProfileError: a route that is asked for, or every route, is in another format.
    """
    kept = _kept(given)
    if kept is None:
        return profile
    fitting = tuple(route for route in profile.offered if route.numerics in kept.formats)
    names = [route.name for route in fitting]
    if not names:
        formats = ", ".join(dict.fromkeys(route.numerics for route in profile.offered))
        raise ProfileError(
            f"{profile.name}: expected a device with a route in {kept}, the number format of "
            f"{given.name}, {kept.why}. Received: routes in {formats} alone. Choose another "
            f"device, or {kept.remedy}."
        )
    for route in profile.offered:
        if route.name in asked and route.name not in names:
            raise ProfileError(
                f"{profile.name}: expected a route in {kept}, the number format of "
                f"{given.name}: {', '.join(names)}. Received: {route.name}, in {route.numerics}."
            )
    if len(fitting) == len(profile.offered):
        return profile
    narrowed = {"routes": fitting, "strategies": (), "numerics": fitting[0].numerics}
    return profile.model_copy(update=narrowed)


def require_own_format(given: Given, plan: Plan) -> None:
    """Checks that a plan is one for the number format of the file that it changes.

    Raises:
      PlanError: it is for another one.
    """
    kept = _kept(given)
    if kept is not None and plan.numerics not in (None, *kept.formats):
        raise PlanError(
            f"{given.name}: expected a plan for {kept}, the number format of this file. "
            f"Received: one for route {plan.route}, in {plan.numerics}. Plan again on a route in "
            f"{kept}."
        )
