"""Compiles a model for training, with a learning rate that warms up and decays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from edgeprune.keras_model.interface import output_names, output_packer
from edgeprune.keras_model.layers import Model
from edgeprune.pruning.training.losses import Loss, Losses, loss_name, replacing_loss

LEARNING_RATE = 3e-3
"""Peak learning rate if neither the caller nor the model's optimizer gives one."""
WARM_UP = 0.05
"""Fraction of all steps over which the learning rate rises from a tenth of its peak."""
LAST_RATE = 0.01
"""Learning rate at the end, as a fraction of its peak."""


def compile_for_training(
    trainee: Model,
    model: Model,
    teacher: Model,
    learning_rate: float | None,
    total_steps: int,
    share: float,
    loss: Losses | None = None,
) -> None:
    """Compiles a model for training if necessary, and sets a learning-rate schedule, in place.

    A learning-rate schedule of the model's optimizer is kept if it was made for this training; if
    an earlier training has used it up, only its highest rate is used.

    Args:
      trainee: the model to be trained, compiled or not.
      model: the model that is pruned; shows which default loss it has.
      teacher: the model as it was loaded; shows whether it was trained before.
      learning_rate: peak learning rate; the optimizer's own if None.
      total_steps: number of steps of the whole training.
      share: fraction of the highest rate to use if no rate is given; see `rate_share`.
      loss: replaces the model's own; its default loss if it has none.
    """
    if loss is not None or not trainee.compiled:
        optimizer = trainee.optimizer if trainee.compiled else None
        chosen = replacing_loss(model, None, None) if loss is None else loss
        trainee.compile(
            optimizer or keras.optimizers.Adam(share * LEARNING_RATE),
            _for_compile(model, chosen, lambda one: one),
            loss_weights=_loss_weights(model),
            metrics=_for_compile(model, chosen, _metric),
        )
    own = trainee.optimizer.get_config().get("learning_rate")
    used_up = any(_was_trained(given) for given in (model, teacher))
    if learning_rate is None and isinstance(own, dict) and not used_up:
        return
    peak = learning_rate or (share * _highest_rate(own) if isinstance(own, dict) else own)
    if isinstance(peak, float):
        trainee.optimizer.learning_rate = learning_rate_schedule(peak, total_steps)


def _for_compile(model: Model, loss: Losses, of: Callable[[Loss], Any]) -> Any:
    """Something of the loss of every output, in the structure that the model gives."""
    return output_packer(model)([of(one) for one in loss]) if isinstance(loss, tuple) else of(loss)


def _loss_weights(model: Model) -> Any:
    """The weights that a model is compiled with of the losses of its outputs; None without."""
    given = model.get_compile_config()["loss_weights"] if model.compiled else None
    names = output_names(model)
    if given is None or len(names) == 1:
        return None
    each = [given.get(name, 1.0) for name in names] if isinstance(given, dict) else given
    return output_packer(model)(each)


def _metric(loss: Loss) -> list[str] | None:
    return ["accuracy"] if "crossentropy" in (loss_name(loss) or "crossentropy") else None


def rate_share(sparsity: float) -> float:
    """The fraction of the highest learning rate to train with: lower where less is pruned.

    A model that lost little is near its optimum, and a high rate moves it away. Accuracy after
    4 epochs from the one-shot solution, 10,000 images of 16x16, the network of
    scripts/bench_accuracy: at 90 % zeros a peak of 3e-3 gave 67.1 % and 1.5e-3 65.3 %, with 2:4
    masks 3e-3 gave 72.1 % and 1e-3 73.1 % (dense 73.7 %).

    Args:
      sparsity: fraction of zeros over the layers that are pruned.
    """
    return min(1.0, (max(sparsity, 0.3) / 0.9) ** 2)


def _was_trained(model: Model) -> bool:
    return bool(model.compiled and model.optimizer and int(model.optimizer.iterations))


def _highest_rate(schedule: dict[str, Any]) -> float:
    """The highest value of a serialised learning-rate schedule in its first million steps."""
    found = keras.optimizers.schedules.deserialize(schedule)
    return max(float(found(step)) for step in np.unique(np.geomspace(1, 1e6, 300).astype(int)))


def learning_rate_schedule(peak: float, total_steps: int) -> Any:
    """A `LearningRateSchedule`: warm-up to `peak`, then cosine decay to `LAST_RATE * peak`."""
    warm_up = max(1, round(WARM_UP * total_steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.1 * peak,
        warmup_target=peak,
        warmup_steps=warm_up,
        decay_steps=max(1, total_steps - warm_up),
        alpha=LAST_RATE,
    )
