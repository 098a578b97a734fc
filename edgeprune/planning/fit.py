"""Removes as few channels as limits allow: of a device's flash, arena or on-chip memory, of cost.

What a file needs depends on padding, alignment and the runtime, so it is measured on the device's
own target: a few times, a plan is made, exported and measured, and its sparsity is adjusted. Where
a cost is the limit too, plans are made within it, and within less where the memory wants it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.conversion.convert import export
from edgeprune.conversion.given import Given, as_given
from edgeprune.conversion.lift.island import island_errors
from edgeprune.conversion.routes_of_given import keeps_format
from edgeprune.core.data import Data
from edgeprune.core.errors import CheckError, DataError, ProfileError
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import Plan
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.terms import Goal
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import Model, map_layers
from edgeprune.planning.islands import with_islands
from edgeprune.planning.plan_model import plan
from edgeprune.planning.rules import make_plan
from edgeprune.profiles.facts import Limit
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.channels.plan_removal import (
    NO_RULES,
    ChannelRules,
    gather_evidence,
    plan_removal,
    remove_any,
    remove_planned,
)
from edgeprune.pruning.channels.trace import trace
from edgeprune.targets.measurement import Measurement
from edgeprune.targets.measuring import measure

BYTES = "bytes"
TRIES = 8
"""Sparsities tried at most, each with an export and a measurement."""
CLOSE_ENOUGH = 0.97
"""Fraction of the tightest limit at which the search stops."""
MARGIN = 0.985
"""Fraction of the tightest limit that the search aims at."""
MAX_SPARSITY = 0.95
"""Highest sparsity, which is tried first."""
OTHERS = (0.8, 0.6)
"""Sparsities tried where the highest does not fit, since alignment may favour fewer removals."""


@dataclass(frozen=True)
class Need:
    """What a file needs of one memory or in one inference, and how much there may be of it."""

    name: str
    value: int
    limit: int
    unit: str = BYTES

    @property
    def share(self) -> float:
        """Fraction of the limit that is used; above 1 it does not fit."""
        return self.value / self.limit

    def to_json(self) -> dict[str, Any]:
        """One of the needs in `prune --json`."""
        return {"name": self.name, self.unit: self.value, "limit": self.limit}

    def __str__(self) -> str:
        return f"{self.name}: {self.value} of {self.limit} {self.unit} ({self.share:.1%})"


@dataclass(frozen=True)
class Fitted:
    """The plan that removes least and fits, or the one that came closest."""

    plan: Plan
    needs: tuple[Need, ...]
    dense: tuple[Need, ...]
    """The needs of the model before removal."""

    @property
    def ok(self) -> bool:
        """Whether every need is within its limit."""
        return all(need.share <= 1 for need in self.needs)

    def __str__(self) -> str:
        found = "; ".join(map(str, self.needs))
        if self.ok:
            return f"Fits at sparsity {self.plan.expected_sparsity:.3f}: {found}."
        return (
            f"Does not fit; the closest is sparsity {self.plan.expected_sparsity:.3f}: {found}. "
            f"Removing up to {MAX_SPARSITY:.0%} was tried. Use a smaller model or input, or a "
            "device with more memory."
        )

    def to_json(self) -> dict[str, Any]:
        """The part of `prune --json` that describes the fit."""
        return {
            "ok": self.ok,
            "needs": [need.to_json() for need in self.needs],
        }


def fit_plan(
    model: Given | Model | str | Path,
    profile: DeviceProfile,
    *,
    data: Data | None = None,
    cost: float | None = None,
    goal: Goal | None = None,
    only: str | None = None,
    skip: str | None = None,
    rules: ChannelRules = NO_RULES,
    progress: Progress = no_progress,
) -> Fitted:
    """Finds the plan that removes least and whose exported file fits a device.

    What is removed of a .tflite file is written back into it for every try, so that the file which
    is measured is the one that `prune` and `export` make.

    Args:
      model: a built Keras model, or a file, as `as_given` takes it; not changed.
      profile: the device, with its limits.
      data: calibration data; required for an int8 export, but for a file that is quantized.
      cost: the fraction of the dense model's cost that may be left, a limit beside the device's.
      goal: goal of the plan; if None, "memory" where the profile has a route for it.
      only: as in `plan`.
      skip: as in `plan`.
      rules: as in `plan`.
      progress: called for each try.

    Raises:
      ProfileError: the profile sets no limit that its instrument can measure.
      DataError: an int8 export without data.
      ModelError, PlanError: as `plan` and `export`.
    """
    given = as_given(model)
    if data is not None:
        given.require_open_batch()
    if cost is not None:
        return _fit_within(
            given,
            profile,
            cost,
            progress,
            {"x": data, "goal": goal, "only": only, "skip": skip, "rules": rules},
        )
    served = {goal for route in profile.offered for goal in route.goals}
    goal = goal or ("memory" if "memory" in served else None)
    profile = profile.on(goal=goal)
    if data is None and profile.numerics == "int8" and not keeps_format(given):
        raise DataError(
            f"{profile.name}: --fit exports in int8, which needs calibration data. Give --data."
        )
    mapped = map_layers(given.model)
    layers = describe_layers(mapped)
    options: dict[str, Any] = {
        "goal": goal,
        "only": only,
        "skip": skip,
        "model": given.name,
    }
    untouched = make_plan(layers, profile, sparsity=0.0, **options)
    if not any(isinstance(row.pattern, Channels) for row in untouched.layers):
        raise ProfileError(
            f"{profile.name}: --fit removes channels. Received: a strategy for "
            f"'{untouched.goal}' that removes none here. Choose another --goal, or a sparsity."
        )
    whole = Fitted(untouched, _needs_of(given, given.model, untouched, profile, data), ())
    with island_errors():
        evidence = gather_evidence(mapped, trace(mapped, rules), data, None, progress)

    def attempt(sparsity: float) -> Fitted:
        asked = make_plan(layers, profile, sparsity=sparsity, **options)
        made = plan_removal(mapped, profile, asked, evidence=evidence, rules=rules)
        smaller = remove_planned(mapped, made, evidence=evidence, rules=rules)
        made = with_islands(made, given.lifted)
        return Fitted(made, _needs_of(given, smaller.model, made, profile, data), ())

    return search(whole, attempt, progress)


def _fit_within(
    given: Given,
    profile: DeviceProfile,
    cost: float,
    progress: Progress,
    options: Mapping[str, Any],
) -> Fitted:
    """The plan that removes least within a cost, and within the limits that the device has."""
    limited = any(limit and limit.value is not None for _, limit in profile.limits)

    def attempt(less: float) -> Fitted:
        made = plan(given, profile, cost=cost * (1 - less), look_around=False, **options)
        made = made.model_copy(update={"asked_cost": cost})
        if not limited:
            return Fitted(made, _cost_needs(made), ())
        smaller = remove_any(map_layers(given.model), made, options["rules"])
        narrowed = profile.on(made.route)
        needs = _needs_of(given, smaller.model, made, narrowed, options["x"])
        return Fitted(made, (*_cost_needs(made), *needs), ())

    return search(attempt(0.0), attempt, progress)


def _cost_needs(made: Plan) -> tuple[Need, ...]:
    expected = made.expected
    if expected is None or made.asked_cost is None:
        return ()
    limit = math.floor(made.asked_cost * expected.dense)
    return (Need("cost", math.floor(expected.pruned), limit, expected.unit),)


def search(whole: Fitted, attempt: Callable[[float], Fitted], progress: Progress) -> Fitted:
    """Searches the lowest sparsity that fits: from the far end, then between tries on either side.

    Memory may fall in steps, so that interpolation alone would creep: every second try halves what
    is left.

    Args:
      whole: the result with nothing removed.
      attempt: gives the result at a sparsity.
      progress: called for each try.

    Returns:
      The lowest sparsity found that fits; if none does, the result that came closest.
    """
    if whole.ok:
        return Fitted(whole.plan, whole.needs, whole.needs)
    tried = [whole]
    for sparsity in (MAX_SPARSITY, *OTHERS):
        progress("fitting", len(tried), TRIES)
        tried.append(attempt(sparsity))
        if tried[-1].ok:
            chosen = _narrowed(whole, (sparsity, tried[-1]), attempt, progress, len(tried))
            return Fitted(chosen.plan, chosen.needs, whole.needs)
    closest = min(tried, key=_share)
    return Fitted(closest.plan, closest.needs, whole.needs)


def _narrowed(
    whole: Fitted,
    fits: tuple[float, Fitted],
    attempt: Callable[[float], Fitted],
    progress: Progress,
    first: int,
) -> Fitted:
    """The result at the lowest sparsity found that fits, below one that does.

    Args:
      whole: the result with nothing removed, which does not fit.
      fits: a sparsity and its result.
      attempt: as in `search`.
      progress: as in `search`.
      first: number of the next try, from 1.
    """
    sparsity, best = fits
    outside, inside = (0.0, _share(whole)), (sparsity, _share(best))
    for number in range(first, TRIES + 1):
        if inside[1] >= CLOSE_ENOUGH:
            break
        progress("fitting", number, TRIES)
        halved = (outside[0] + inside[0]) / 2
        sparsity = halved if (number - first) % 2 else _interpolated(outside, inside)
        found = attempt(sparsity)
        if found.ok:
            inside, best = (sparsity, _share(found)), found
        else:
            outside = (sparsity, _share(found))
    return best


def _share(found: Fitted) -> float:
    return max(need.share for need in found.needs)


def _interpolated(outside: tuple[float, float], inside: tuple[float, float]) -> float:
    """The sparsity at which the line between two `(sparsity, share)` points reaches `MARGIN`."""
    (left, high), (right, low) = outside, inside
    aim = (high - MARGIN) / max(high - low, 1e-9)
    # Away from both ends, so that each try narrows the interval.
    return left + min(max(aim, 0.05), 0.95) * (right - left)


def _needs_of(
    given: Given, smaller: Model, made: Plan, profile: DeviceProfile, data: Data | None
) -> tuple[Need, ...]:
    """What the exported file needs of a model that is given, with channels removed or not.

    Raises:
      CheckError: the device's runtime does not run the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fit.tflite")
        export(given.pruned(smaller), profile, path, x=data, plan=made, measuring_only=True)
        try:
            (measured,) = measure([path], profile)
        except CheckError as error:
            raise CheckError(
                f"{given.name}: --fit measures the file that is made of it. "
                f"{str(error).removeprefix(f'{path}: ')}"
            ) from error
    needs = tuple(_needs(measured, profile))
    if not needs:
        raise ProfileError(
            f"{profile.name}: expected a limit that {measured.target} can measure, of flash, arena "
            "or on-chip memory. Received: none. Copy the profile and fill in what the board has."
        )
    return needs


def _needs(measured: Measurement, profile: DeviceProfile) -> Iterator[Need]:
    limits, memory = profile.limits, measured.memory
    on_chip = limits.sure_on_chip_bytes or limits.on_chip_bytes
    parameters = memory.get("cached_bytes")
    if parameters is not None:
        parameters += memory.get("streamed_bytes", 0)
    found: tuple[tuple[str, int | None, Limit], ...] = (
        ("flash", memory.get("flash_bytes", measured.size_bytes), limits.flash_bytes),
        ("arena", memory.get("arena_bytes"), limits.arena_bytes),
        ("on-chip memory", parameters or memory.get("sram_bytes"), on_chip),
    )
    for name, value, limit in found:
        if value is not None and limit.value is not None:
            yield Need(name, value, limit.value)
