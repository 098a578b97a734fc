"""Trains a copy of a model with pruning wrappers, as a plan says, and takes the wrappers out again.

Sparsity rises along a cubic during the first `RAMP` of all steps; the masks then stay as they are,
so that the weights left can make up for what was taken.

An `NofM` cannot rise: its masks are there from the first step, and are made anew until the end of
the ramp. 3 epochs on 20,000 CIFAR-10 images with the network of scripts/bench_training_step gave
61.9 % that way with 2:4 masks, 61.2 % with masks fixed at the first step, and 58.6 % with masks
that came at the end of the ramp (learning rate 1e-3; dense, trained as long: 63.3 %).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from edgeprune import keras_model
from edgeprune.callbacks import UpdatePruningStep
from edgeprune.data import Data
from edgeprune.errors import DataError, InputError, ModelError
from edgeprune.keras_model import Model
from edgeprune.plan import Plan
from edgeprune.progress import Progress, no_progress
from edgeprune.prune import remove_channels
from edgeprune.schedule import PolynomialDecay, Schedule
from edgeprune.strip import strip_pruning
from edgeprune.wrapper import wrappers
from edgeprune.wrapping import wrap

Augment: TypeAlias = Literal["none", "flip-shift"]
Batches: TypeAlias = Any
"""What `keras.Model.fit` takes that yields `(x, y)`: `tf.data.Dataset`, `PyDataset`, generator."""

BATCH_SIZE = 64
LEARNING_RATE = 3e-3
"""Peak of the learning rate if neither the caller nor the model's optimizer has one.

In the runs of the module's docstring 2:4 gave 61.9 % with 1e-3 and 63.9 % with 3e-3, `Block(2,1)`
at 0.8 54.4 % and 60.5 %. A large model that was trained long may want less.
"""
WARM_UP = 0.05
"""Fraction of all steps over which the learning rate rises from a tenth of its peak."""
LAST_RATE = 0.01
"""Learning rate at the end, as a fraction of its peak."""
RAMP = 0.65
"""Fraction of all steps over which sparsity rises."""
MASKS_IN_RAMP = 50
"""How often masks are made anew while sparsity rises."""
MAX_SHIFT = 4
"""Pixels that `flip-shift` moves an image by, at most, in each direction."""


@dataclass(frozen=True)
class _Feed:
    """What `fit` is given."""

    batches: Batches
    steps: int
    """Batches in an epoch."""
    counted: bool
    """Whether `fit` must count them, since the data does not end with the epoch."""


def train_pruned(
    model: Model,
    plan: Plan,
    data: Data | Batches,
    *,
    epochs: int,
    batch_size: int = BATCH_SIZE,
    learning_rate: float | None = None,
    augment: Augment = "none",
    schedule: Schedule | None = None,
    steps_per_epoch: int | None = None,
    callbacks: Sequence[Any] = (),
    seed: int = 0,
    progress: Progress = no_progress,
) -> Model:
    """Trains with masks that follow a schedule, and returns the plain model with its zeros.

    Channels that the plan removes are gone before training starts: what trains is the smaller
    model, as it is then left.

    Loss, metrics and optimizer are those the model is compiled with; else sparse categorical
    cross-entropy (from logits unless the model ends in softmax) and Adam. The learning rate rises
    over the first steps and then falls along a cosine, unless the model's own optimizer brings a
    schedule. An `NofM` mask is there from the first step: see `wrap`.

    Args:
      model: a built Keras model; not changed.
      plan: as `plan` makes it, perhaps edited.
      data: samples and labels, or batches `(x, y)` as `keras.Model.fit` takes them.
      epochs: times that the data is gone through, at least 1.
      batch_size: samples in a batch; batches that come ready-made keep theirs.
      learning_rate: peak of the learning rate.
      augment: "flip-shift" flips images at random and moves them by up to 4 pixels.
      schedule: in place of the cubic; see `wrap`.
      steps_per_epoch: batches in an epoch, for a generator or a data set without a length.
      callbacks: more Keras callbacks.
      seed: makes the run repeatable; it seeds Python, NumPy and Keras, as
        `keras.utils.set_random_seed` does.
      progress: told after every step how many of all are done.

    Returns:
      A new model with the architecture and compilation of `model`.

    Raises:
      PlanError: the plan does not fit the model.
      DataError: labels are missing or do not fit, a length is not known, or batches ran out too
        early.
      ModelError: the model cannot be copied, has several outputs but no loss, or a weight became
        NaN.
      InputError: `epochs`, `batch_size` or `learning_rate` out of range.
    """
    _check_numbers(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    keras.utils.set_random_seed(seed)
    model, plan = remove_channels(model, plan, data if isinstance(data, Data) else None)
    feed = _feed(data, batch_size, augment, steps_per_epoch, seed)
    total = epochs * feed.steps
    schedule = schedule or default_schedule(total)
    wrapped = wrap(model, plan, schedule)
    if isinstance(data, Data) and not model.compiled:
        _check_labels(model, data)
    _compile(wrapped, keras_model.ends_in_softmax(model), learning_rate, total)
    done = _fit(wrapped, feed, epochs, callbacks, progress)
    if done < schedule.final_step and not wrapped.stop_training:
        raise DataError(
            f"The data ran out after {done} of {total} batches, before the sparsity had risen to "
            f"its end (step {schedule.final_step}). Let the data repeat, or give the "
            "`steps_per_epoch` that it has."
        )
    _check_finite(wrapped)
    trained = keras_model.copy_model(model)
    trained.set_weights(strip_pruning(wrapped).get_weights())
    return trained


def _fit(
    wrapped: Model, feed: _Feed, epochs: int, callbacks: Sequence[Any], progress: Progress
) -> int:
    """Trains in place; returns the number of batches that there were."""
    ticks = _Ticks(progress, epochs, epochs * feed.steps)
    updates = [UpdatePruningStep()] if wrappers(wrapped) else []
    wrapped.fit(
        feed.batches,
        epochs=epochs,
        steps_per_epoch=feed.steps if feed.counted else None,
        shuffle=isinstance(feed.batches, keras.utils.PyDataset),
        callbacks=[*updates, ticks, *callbacks],
        verbose=0,
    )
    return ticks.done


def _check_finite(model: Model) -> None:
    """Refuses a model whose training came apart.

    Raises:
      ModelError: a weight is NaN or infinite.
    """
    for variable in model.weights:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ModelError(
                f"{variable.path}: expected finite weights after training. Received: NaN or "
                "infinity; training diverged. Give a lower learning rate, and see that the data "
                "is scaled as the model wants it."
            )


def default_schedule(total_steps: int) -> PolynomialDecay:
    """The cubic from 0 that ends after `RAMP` of all steps; `wrap` gives it its final sparsity."""
    end_step = max(1, round(RAMP * total_steps))
    return PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=0.5,
        begin_step=0,
        end_step=end_step,
        frequency=max(1, end_step // MASKS_IN_RAMP),
    )


def learning_rate_schedule(peak: float, total_steps: int) -> Any:
    """A `LearningRateSchedule`: warm-up to `peak`, then a cosine down to `LAST_RATE` of it."""
    warm_up = max(1, round(WARM_UP * total_steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.1 * peak,
        warmup_target=peak,
        warmup_steps=warm_up,
        decay_steps=max(1, total_steps - warm_up),
        alpha=LAST_RATE,
    )


def _check_numbers(*, epochs: int, batch_size: int, learning_rate: float | None) -> None:
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"`{name}` is a number of at least 1. Received: {value}.")
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise InputError(f"`learning_rate` must be positive. Received: {learning_rate}.")


def _check_labels(model: Model, data: Data) -> None:
    """Checks that labels are what sparse categorical cross-entropy takes.

    Raises:
      ModelError: the model has several outputs.
      DataError: not one whole number per sample, or one outside of the model's classes.
    """
    shapes = keras.tree.flatten(_output_shapes(model, data))
    if len(shapes) != 1:
        raise ModelError(
            f"{model.name}: expected a compiled model, since one with {len(shapes)} outputs has "
            "no loss that goes without saying. Compile it with its losses before saving."
        )
    given = np.asarray(data.y)
    labels = given.reshape(len(data), -1)
    classes = shapes[0].shape[-1]
    whole = bool((labels == np.floor(labels)).all())
    if labels.shape[1] != 1 or not whole or labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"`y`: expected one whole number from 0 to {classes - 1} for each sample, as the "
            f"model has {classes} outputs. Received: shape {list(given.shape)}, values from "
            f"{labels.min()} to {labels.max()}. For other labels compile the model with their "
            "loss before saving."
        )


def _output_shapes(model: Model, data: Data) -> Any:
    """The outputs of a model as tensors of shape and type only."""
    inputs = [keras.KerasTensor((1, *array.shape[1:]), str(array.dtype)) for array in data.x]
    return model.compute_output_spec(inputs if len(inputs) > 1 else inputs[0])


def _compile(
    wrapped: Model, probabilities: bool, learning_rate: float | None, total_steps: int
) -> None:
    """Compiles a model for training if it is not, and lets its learning rate rise and fall."""
    if not wrapped.compiled:
        wrapped.compile(
            keras.optimizers.Adam(LEARNING_RATE),
            keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities),
        )
    own = wrapped.optimizer.get_config().get("learning_rate")
    peak = learning_rate or (own if isinstance(own, float) else None)
    if peak:
        wrapped.optimizer.learning_rate = learning_rate_schedule(peak, total_steps)


def _feed(
    data: Data | Batches, batch_size: int, augment: Augment, steps: int | None, seed: int
) -> _Feed:
    if isinstance(data, Data):
        feed = _Feed(_shuffled(data, batch_size, seed), math.ceil(len(data) / batch_size), False)
    else:
        feed = _Feed(data, steps or _length(data), steps is not None)
    if augment == "none":
        return feed
    if augment != "flip-shift":
        raise InputError(f"`augment` is 'none' or 'flip-shift'. Received: {augment!r}.")
    if not isinstance(feed.batches, tf.data.Dataset):
        raise DataError(
            "augment='flip-shift': expected arrays or a tf.data.Dataset. "
            f"Received: a {type(data).__name__}. Augment in it, and leave `augment` out."
        )
    return replace(feed, batches=_flipped_and_shifted(feed.batches, seed))


def _length(data: Iterable[Any]) -> int:
    """Batches in an epoch.

    Raises:
      DataError: the data does not know.
    """
    try:
        return len(data)  # type: ignore[arg-type]  # it may have a length or not
    except TypeError as error:
        raise DataError(
            f"The sparsity schedule needs the number of steps, and this {type(data).__name__} has "
            "no length. Give `steps_per_epoch`."
        ) from error


def _shuffled(data: Data, batch_size: int, seed: int) -> Any:
    """A `tf.data.Dataset` of batches in another random order each epoch.

    Raises:
      DataError: there are no labels.
    """
    if data.y is None:
        raise DataError(
            "Training needs labels. Received: `x` without `y`. Add `y` to the data, or prune "
            "without training (0 epochs)."
        )
    x = [tf.constant(array) for array in data.x]
    y = tf.constant(data.y)
    rows = tf.data.Dataset.range(len(data)).shuffle(len(data), seed=seed)

    def batch(chosen: Any) -> Any:
        parts = tuple(tf.gather(array, chosen) for array in x)
        return (parts if len(parts) > 1 else parts[0]), tf.gather(y, chosen)

    return rows.batch(batch_size).map(batch).prefetch(2)


def _flipped_and_shifted(batches: Any, seed: int) -> Any:
    """Augments the images of every batch; labels and sample weights stay.

    Raises:
      DataError: the inputs are not images `[n, h, w, c]` of at least `2 * MAX_SHIFT` pixels a side.
    """
    found = batches.element_spec[0]
    shape = getattr(found, "shape", tf.TensorShape(None))
    if shape.rank != 4 or None in shape[1:3] or min(shape[1:3]) < 2 * MAX_SHIFT:
        raise DataError(
            "augment='flip-shift': expected one input of images [n, height, width, channels], at "
            f"least {2 * MAX_SHIFT} pixels a side. Received: {found}. Leave `augment` out."
        )
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def augmented(batch: Any, numbers: Any) -> Any:
        return (flip_and_shift(batch[0], numbers), *batch[1:])

    return tf.data.Dataset.zip((batches, seeds)).map(augmented).prefetch(2)


def flip_and_shift(images: Any, seed: Any) -> Any:
    """Mirrors half of the images left to right and moves each by up to `MAX_SHIFT` pixels.

    What moves in from outside is the image mirrored at its edge.

    Args:
      images: tensor `[n, h, w, c]`.
      seed: two integers; the same ones give the same images.
    """
    shape = tf.shape(images)
    count, height, width = shape[0], shape[1], shape[2]
    mirrored = tf.random.stateless_uniform([count, 1, 1, 1], seed) < 0.5
    images = tf.where(mirrored, tf.reverse(images, [2]), images)
    sides = [MAX_SHIFT, MAX_SHIFT]
    padded = tf.pad(images, [[0, 0], sides, sides, [0, 0]], "SYMMETRIC")
    corners = tf.random.stateless_uniform(
        [2, count, 1], seed + 1, 0, 2 * MAX_SHIFT + 1, dtype=tf.int32
    )
    moved = tf.gather(padded, corners[0] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(moved, corners[1] + tf.range(width), axis=2, batch_dims=1)


class _Ticks(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Tells how far training is."""

    def __init__(self, progress: Progress, epochs: int, total: int) -> None:
        super().__init__()
        self.done = 0
        self._progress = progress
        self._epochs = epochs
        self._total = total
        self._epoch = 0
        self._steps_before = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del logs
        self._epoch = epoch
        self._steps_before = self.done

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del logs
        # Keras counts an execution of several steps as full even when the epoch ends within it.
        self.done = self._steps_before + min(batch + 1, self._total // self._epochs)
        what = f"training, epoch {self._epoch + 1} of {self._epochs}"
        self._progress(what, self.done, self._total)
