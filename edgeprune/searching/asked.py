"""What a search is asked for, as one value, checked as far as its numbers tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprune.core.data import Scale
from edgeprune.core.errors import InputError
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.training.settings import Training
from edgeprune.searching.budget import Budget, require_drop
from edgeprune.searching.command import Typed
from edgeprune.targets.measurement import Settings


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """A search, but for its folder; the verb explains each.

    Raises:
      InputError: a number out of range, or two limits of accuracy.
    """

    model: Any
    devices: Sequence[str | Path | DeviceProfile]
    data: Any
    validation_data: Any = None
    routes: Sequence[str] | None = None
    budget: Budget = field(default_factory=Budget)
    metric: str | Callable[[Any, Any], Any] | None = None
    minimize: bool = False
    epochs: int = 0
    trials: int | None = None
    seconds: float | None = None
    storage: str | None = None
    seed: int = 0
    resume: bool = False
    target: str | None = None
    scale: Scale = "auto"
    samples: int | None = None
    training: Training | None = None
    settings: Settings | None = None
    signature: str | None = None
    typed: Typed | None = None
    """For the commands of points, where the words of the command line are known."""

    def __post_init__(self) -> None:
        if not self.devices:
            raise InputError("A search needs at least one device.")
        if self.budget.max_drop is not None and self.budget.min_accuracy is not None:
            raise InputError(
                "A largest drop and a lowest accuracy both limit accuracy: give one of them."
            )
        if self.minimize and self.metric is None:
            raise InputError("`minimize` is of a metric: give one.")
        if self.training is not None and self.epochs == 0:
            raise InputError("`training` says how to train: give `epochs`, which are 0.")
        for name, value, least in (
            ("epochs", self.epochs, 0),
            ("trials", self.trials, 1),
            ("max_bytes", self.budget.max_bytes, 1),
        ):
            if value is not None and value < least:
                raise InputError(f"`{name}` is a number of at least {least}. Received: {value}.")
        _require_limits(self.budget, fraction=self.metric is None)


def _require_limits(budget: Budget, *, fraction: bool) -> None:
    if budget.max_cost is not None and not 0 < budget.max_cost < math.inf:
        raise InputError(f"`max_cost` is above 0. Received: {budget.max_cost}.")
    require_drop(budget.max_drop, fraction=fraction)
    least = budget.min_accuracy
    if least is not None and not (0 < least <= 1 if fraction else math.isfinite(least)):
        of = "a fraction of samples in (0, 1]" if fraction else "a finite number"
        raise InputError(f"`min_accuracy` is {of}. Received: {least}.")
