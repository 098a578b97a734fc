"""How a model is trained with masks, as one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from edgeprune.core.errors import InputError
from edgeprune.pruning.training.distill import Distillation
from edgeprune.pruning.training.feed import Augment
from edgeprune.pruning.training.losses import NamedLoss
from edgeprune.pruning.training.schedule import Schedule
from edgeprune.pruning.training.tensorboard import require_tensorboard

if TYPE_CHECKING:
    from edgeprune.pruning.training.epoch_record import EpochRecord

DISTILLATION = Distillation()
"""Default weight and temperature."""

Start: TypeAlias = Literal["auto", "one-shot", "gradual"]
"""Where training with masks starts: from the one-shot solution, or from the dense weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """Everything that training with masks can be told; `edgeprune.prune` takes it.

    Raises:
      InputError: a number out of range, an unknown `start`, or `tensorboard` without its package.
    """

    epochs: int
    """Epochs: how often the data is read, at least 1."""
    batch_size: int = 64
    """Samples in a batch; batches that come ready-made keep theirs."""
    learning_rate: float | None = None
    """Peak learning rate; if None, the model's own optimizer says it, else Adam's default."""
    loss: NamedLoss | None = None
    """Name of a Keras loss that replaces the one that the model is compiled with; of several
    outputs for all, or a dict with a name for each, in which those may be left out whose compiled
    loss is kept. All outputs then count alike."""
    augment: Augment = "none"
    """"flip-shift" flips images at random and moves them by up to 4 pixels."""
    start: Start = "auto"
    """"one-shot" begins with what one shot makes of some samples, "gradual" with the dense weights
    and a sparsity that rises; "auto" is the first where the data can be looked at before training
    (all but generators) and no schedule is given."""
    schedule: Schedule | None = None
    """Replaces the schedule that goes with `start`; see `wrap`."""
    quantize_aware: bool | None = None
    """Whether the forward pass is that of the int8 file, with its rounding; if None, where the
    plan's route is int8 and the model allows it. `export` then takes the ranges of the training."""
    teacher: Any = None
    """`keras.Model` that is learned from; the dense model itself if None."""
    distillation: Distillation = DISTILLATION
    """Weight and temperature of what the teacher says; weight 0 leaves it out."""
    validation: Any = 0.0
    """Fraction of the samples to hold out, or samples to validate on, of any kind that `prune`
    takes."""
    monitor: str | None = None
    """Metric that tells the best epoch, as Keras logs it; if None "val_loss" with validation data,
    else "loss". With ":max" or ":min" behind it where Keras cannot tell."""
    patience: int | None = None
    """Stop when so many epochs with final masks brought no better one; None never stops."""
    checkpoint: Path | None = None
    """Folder for the state at the end of each epoch; its parent must exist."""
    resume: bool = False
    """Continue from the state in `checkpoint`, if there is one. Arrays give the very same result as
    a run without interruption; batches made elsewhere are taken as they come."""
    tensorboard: Path | None = None
    """Folder to write losses, metrics and the sparsity of every mask to."""
    tell_epoch: Callable[[EpochRecord], None] | None = None
    """Gets a record of every epoch at its end: metrics, and the sparsity of every mask."""
    steps_per_epoch: int | None = None
    """Batches in an epoch, for a generator or a data set without a length."""
    callbacks: Sequence[Any] = ()
    """More Keras callbacks."""
    seed: int = 0
    """Random seed of training: makes the run repeatable. It seeds Python, NumPy and Keras, as
    `keras.utils.set_random_seed` does."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`{name}` is a number of at least 1. Received: {value}.")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"`learning_rate` must be positive. Received: {self.learning_rate}.")
        held_out = self.validation
        if isinstance(held_out, int | float) and not 0 <= held_out < 1:
            raise InputError(
                "`validation` is a fraction of the samples, 0 <= validation < 1. "
                f"Received: {held_out}."
            )
        if self.start not in get_args(Start):
            raise InputError(
                f"`start` is 'auto', 'one-shot' or 'gradual'. Received: {self.start!r}."
            )
        if self.tensorboard is not None:
            require_tensorboard()
