"""Which of a device's routes a model can be pruned for: of a quantized file, those in its format.

Weights are written back into the file that was given, which goes on computing in quantized values.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.conversion.given import Given
from edgeprune.conversion.lift.floating import computes_in_steps
from edgeprune.core.errors import PlanError, ProfileError
from edgeprune.core.plan import Plan
from edgeprune.core.terms import Numerics
from edgeprune.profiles.profile import DeviceProfile

_QUANTIZED: Numerics = "int8"


def keeps_format(given: Given) -> bool:
    """Whether a model is a file with quantized activations, which it keeps."""
    return given.lifted is not None and computes_in_steps(given.lifted.graph)


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
    if not keeps_format(given):
        return profile
    fitting = tuple(route for route in profile.offered if route.numerics == _QUANTIZED)
    names = [route.name for route in fitting]
    if not names:
        formats = ", ".join(dict.fromkeys(route.numerics for route in profile.offered))
        raise ProfileError(
            f"{profile.name}: expected a device with a route in {_QUANTIZED}, the number format of "
            f"{given.name}, which new weights are written back into. Received: routes in "
            f"{formats} alone. Choose another device, or prune the float model that the file was "
            "made of."
        )
    for route in profile.offered:
        if route.name in asked and route.name not in names:
            raise ProfileError(
                f"{profile.name}: expected a route in {_QUANTIZED}, the number format of "
                f"{given.name}: {', '.join(names)}. Received: {route.name}, in {route.numerics}."
            )
    return profile.model_copy(update={"routes": fitting, "strategies": ()})


def require_own_format(given: Given, plan: Plan) -> None:
    """Checks that a plan is one for the number format of the file that it changes.

    Raises:
      PlanError: it is for another one.
    """
    if keeps_format(given) and plan.numerics not in (None, _QUANTIZED):
        raise PlanError(
            f"{given.name}: expected a plan for {_QUANTIZED}, the number format of this file. "
            f"Received: one for route {plan.route}, in {plan.numerics}. Plan again on a route in "
            f"{_QUANTIZED}."
        )
