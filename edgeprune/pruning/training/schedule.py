"""Schedules: at which training steps masks are updated, and to which sparsity.

A schedule is a pure function of the step: `schedule(step)` is `(should_prune, sparsity)`. Names and
meaning of `begin_step`, `end_step`, `frequency` and `power` are those of TensorFlow Model
Optimization (tensorflow_model_optimization/python/core/sparsity/keras/pruning_schedule.py at
6fbc2ce), so a schedule taken from there behaves the same here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgeprune.core.errors import InputError

RAMP = 0.65
"""Fraction of all steps over which masks move."""
MASKS_IN_RAMP = 50
"""How often masks are updated during these steps."""


@dataclass(frozen=True)
class Schedule(ABC):
    """Base class of schedules.

    The three schedules of this module update masks at `begin_step` and every `frequency` steps
    after it, up to and including `end_step`; `end_step=-1` means no end, where it is allowed.
    """

    @abstractmethod
    def sparsity_at(self, step: int) -> float:
        """The target fraction of zeros at `step`."""

    @abstractmethod
    def should_prune(self, step: int) -> bool:
        """Whether masks are updated at `step`."""

    @property
    def final_step(self) -> int:
        """The first step at which the sparsity has its final value; 0 if it is not known."""
        return 0

    def with_final_sparsity(self, sparsity: float) -> Schedule:
        """The same schedule, scaled to end at another sparsity.

        Raises:
          InputError: a custom schedule that does not define this method.
        """
        raise InputError(
            f"{type(self).__name__}: this schedule cannot end at another sparsity ({sparsity:g}). "
            "Give it a method `with_final_sparsity(sparsity)` that returns such a schedule."
        )

    def is_due(self, before: int, step: int) -> bool:
        """Whether masks are updated after training went from step `before` to `step`.

        They are if `should_prune` holds for a step in `(before, step]`, and always if the final
        step is among them, since it need not be a multiple of `frequency`.
        """
        passed_end = before < self.final_step <= step
        return passed_end or any(map(self.should_prune, range(before + 1, step + 1)))

    def __call__(self, step: int) -> tuple[bool, float]:
        """`(should_prune, sparsity)` at `step`."""
        return self.should_prune(step), self.sparsity_at(step)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the schedule, as a Keras configuration."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Schedule:
        """Restores a schedule from what `get_config` returned."""
        return cls(**config)


def _require_fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise InputError(f"`{name}` is a fraction of zeros, 0 <= {name} < 1. Received: {value}.")


def _require_steps(begin_step: int, end_step: int, frequency: int, endless: bool) -> None:
    if begin_step < 0:
        raise InputError(f"`begin_step` counts from 0. Received: {begin_step}.")
    if frequency < 1:
        raise InputError(f"`frequency` is a number of steps, at least 1. Received: {frequency}.")
    if endless and end_step == -1:
        return
    if end_step < begin_step or (not endless and end_step == begin_step):
        ending = "or be -1 for no end" if endless else "since the sparsity changes between them"
        raise InputError(
            f"`end_step` must come after `begin_step`, {ending}. "
            f"Received: begin_step={begin_step}, end_step={end_step}."
        )


def _is_due(step: int, begin_step: int, end_step: int, frequency: int) -> bool:
    started = step >= begin_step
    ended = end_step != -1 and step > end_step
    return started and not ended and (step - begin_step) % frequency == 0


def _scaled(initial: float, final: float, sparsity: float) -> float:
    """The start of a ramp from `initial` to `final` that is scaled to end at `sparsity`."""
    return initial * sparsity / final if initial < final else sparsity


@dataclass(frozen=True)
class ConstantSparsity(Schedule):
    """A constant sparsity from `begin_step` on.

    Raises:
      InputError: an argument out of range.
    """

    target_sparsity: float
    begin_step: int
    end_step: int = -1
    frequency: int = 100

    def __post_init__(self) -> None:
        _require_fraction("target_sparsity", self.target_sparsity)
        _require_steps(self.begin_step, self.end_step, self.frequency, endless=True)

    @property
    def final_step(self) -> int:
        """The step `begin_step`, since the sparsity is constant."""
        return self.begin_step

    def with_final_sparsity(self, sparsity: float) -> ConstantSparsity:
        """The same schedule with another sparsity."""
        return replace(self, target_sparsity=sparsity)

    def sparsity_at(self, step: int) -> float:
        """The target sparsity, at any step."""
        del step
        return self.target_sparsity

    def should_prune(self, step: int) -> bool:
        """Every `frequency` steps from `begin_step` to `end_step`."""
        return _is_due(step, self.begin_step, self.end_step, self.frequency)


@dataclass(frozen=True)
class PolynomialDecay(Schedule):
    """A polynomial from `initial_sparsity` at `begin_step` to `final_sparsity` at `end_step`.

        sparsity = final + (initial - final) * (1 - progress) ** power,
        progress = (step - begin_step) / (end_step - begin_step), clipped to [0, 1]

    `power=3` is the cubic schedule of Zhu and Gupta, 2017, arXiv:1710.01878: much is pruned early,
    while many weights are redundant, and little towards the end.

    Raises:
      InputError: an argument out of range.
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int
    power: float = 3
    frequency: int = 100

    def __post_init__(self) -> None:
        _require_fraction("initial_sparsity", self.initial_sparsity)
        _require_fraction("final_sparsity", self.final_sparsity)
        _require_steps(self.begin_step, self.end_step, self.frequency, endless=False)
        if not self.power > 0:
            raise InputError(f"`power` must be positive. Received: {self.power}.")

    @property
    def final_step(self) -> int:
        """`end_step`."""
        return self.end_step

    def with_final_sparsity(self, sparsity: float) -> PolynomialDecay:
        """The same shape, all its sparsities scaled so that it ends at `sparsity`."""
        return replace(
            self,
            initial_sparsity=_scaled(self.initial_sparsity, self.final_sparsity, sparsity),
            final_sparsity=sparsity,
        )

    def sparsity_at(self, step: int) -> float:
        """The value of the polynomial; constant before `begin_step` and after `end_step`."""
        progress = (step - self.begin_step) / (self.end_step - self.begin_step)
        left = math.pow(1 - min(1.0, max(0.0, progress)), self.power)
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * left

    def should_prune(self, step: int) -> bool:
        """Every `frequency` steps from `begin_step` to `end_step`."""
        return _is_due(step, self.begin_step, self.end_step, self.frequency)


@dataclass(frozen=True)
class LinearDecay(Schedule):
    """`PolynomialDecay` with `power=1`: the sparsity changes by the same amount at every step.

    Raises:
      InputError: an argument out of range.
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int
    frequency: int = 100

    def __post_init__(self) -> None:
        self._polynomial()

    def _polynomial(self) -> PolynomialDecay:
        return PolynomialDecay(
            self.initial_sparsity,
            self.final_sparsity,
            self.begin_step,
            self.end_step,
            power=1,
            frequency=self.frequency,
        )

    @property
    def final_step(self) -> int:
        """`end_step`."""
        return self.end_step

    def with_final_sparsity(self, sparsity: float) -> LinearDecay:
        """The same shape, all its sparsities scaled so that it ends at `sparsity`."""
        return replace(
            self,
            initial_sparsity=_scaled(self.initial_sparsity, self.final_sparsity, sparsity),
            final_sparsity=sparsity,
        )

    def sparsity_at(self, step: int) -> float:
        """The value on a straight line; constant before `begin_step` and after `end_step`."""
        return self._polynomial().sparsity_at(step)

    def should_prune(self, step: int) -> bool:
        """Every `frequency` steps from `begin_step` to `end_step`."""
        return self._polynomial().should_prune(step)


def default_schedule(total_steps: int, *, from_one_shot: bool = False) -> PolynomialDecay:
    """Ends after `RAMP` of all steps; `wrap` gives it its final sparsity.

    From the dense weights it is the cubic from 0; from the one-shot solution the sparsity is there
    from the first step, and masks are updated as the weights move.
    """
    end_step = max(1, round(RAMP * total_steps))
    return PolynomialDecay(
        initial_sparsity=0.5 if from_one_shot else 0.0,
        final_sparsity=0.5,
        begin_step=0,
        end_step=end_step,
        frequency=max(1, end_step // MASKS_IN_RAMP),
    )
