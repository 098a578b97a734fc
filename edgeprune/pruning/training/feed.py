"""The batches of training: made from arrays or given ready-made, augmented if asked for.

Batches from arrays are a function of the seed, the epoch and the index of the batch alone, so an
interrupted run resumes with the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, InputError
from edgeprune.core.sources import AnySource, Stream, Table
from edgeprune.core.spelling import with_article
from edgeprune.pruning.training.batches import (
    Batches,
    Pack,
    count_batches,
    dataset_of,
    gatherer,
    packed,
    stream_batches,
)

Augment: TypeAlias = Literal["none", "flip-shift"]

MAX_SHIFT = 4
"""Most pixels by which `flip-shift` moves an image in each direction."""

VALIDATION_BATCH = 256
"""Samples in a batch of validation data."""


def pack_labels(parts: Sequence[Any]) -> Any:
    """Packs labels for a model that gives one output, or a list of them."""
    return tuple(parts) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class Feed:
    """Batches for `fit`."""

    batches: Batches
    steps: int
    """Batches in an epoch."""
    counted: bool
    """Whether `fit` must count the steps, since the data does not end with the epoch."""

    @property
    def shuffled_by_keras(self) -> bool:
        """Whether `fit` shuffles the batches."""
        return isinstance(self.batches, keras.utils.PyDataset)


def make_feed(
    data: Data | Table | Batches,
    *,
    batch_size: int,
    augment: Augment,
    seed: int,
    epochs: range,
    steps_per_epoch: int | None,
    pack: Pack,
    label_pack: Pack = pack_labels,
) -> Feed:
    """Makes the batches of some epochs.

    Args:
      data: samples, or batches as `keras.Model.fit` takes them.
      batch_size: samples in a batch made from arrays.
      augment: "flip-shift" flips images at random and moves them by up to `MAX_SHIFT` pixels.
      seed: random seed of the order and the augmentation.
      epochs: indices of the epochs; those of a resumed run do not start at 0.
      steps_per_epoch: batches in an epoch, for data without a length.
      pack: packs one array per input into the structure that the model takes.
      label_pack: packs one array per output into the structure that the model gives.

    Raises:
      DataError: the number of batches is not known, or the inputs cannot be augmented.
      InputError: an unknown `augment`.
    """
    if augment not in ("none", "flip-shift"):
        raise InputError(f"`augment` is 'none' or 'flip-shift'. Received: {augment!r}.")
    if isinstance(data, Data | Table):
        return _from_rows(data, batch_size, augment, seed, epochs, pack, label_pack)
    steps = steps_in_epoch(data, batch_size, steps_per_epoch)
    feed = Feed(data, steps, steps_per_epoch is not None)
    if augment == "none":
        return feed
    if not isinstance(data, tf.data.Dataset):
        raise DataError(
            "augment='flip-shift': expected arrays or a tf.data.Dataset. "
            f"Received: {with_article(type(data).__name__)}. Augment in it, and leave "
            "`augment` out."
        )
    return replace(feed, batches=_augmented(data, seed))


def split_off(
    data: Data | Table | Batches,
    validation: Any,
    pack: Pack,
    label_pack: Pack = pack_labels,
) -> tuple[Any, Any]:
    """Splits data into training data and validation data.

    Args:
      data: samples or batches.
      validation: the fraction of the samples to hold out, below 1, or other samples.
      pack: packs one array per input into the structure that the model takes.
      label_pack: packs one array per output into the structure that the model gives.

    Returns:
      The training data, and what `fit` validates on (None for nothing).

    Raises:
      InputError: a fraction of data that is not arrays.
    """
    if isinstance(validation, AnySource):
        return data, _for_validation(validation, pack, label_pack)
    if not isinstance(validation, int | float):
        return data, validation
    if not validation:
        return data, None
    if not isinstance(data, Data | Table) or len(data) < 2:
        raise InputError(
            f"`validation`: a fraction ({validation}) is held out of arrays of several samples "
            "only. Give validation samples or batches."
        )
    held_out = max(1, round(validation * len(data)))
    rows = np.random.default_rng(0).permutation(len(data))
    rest, kept = data.only(rows[:held_out]), data.only(np.sort(rows[held_out:]))
    return kept, _for_validation(rest, pack, label_pack)


def _for_validation(data: AnySource, pack: Pack, label_pack: Pack) -> Any:
    if isinstance(data, Stream):
        return stream_batches(data, VALIDATION_BATCH, pack, label_pack)
    if isinstance(data, Table):
        return dataset_of(data, VALIDATION_BATCH, pack, label_pack)
    parts = packed(data, pack, label_pack)
    return tf.data.Dataset.from_tensor_slices(parts).batch(VALIDATION_BATCH)


def steps_in_epoch(
    data: Data | Table | Batches, batch_size: int, steps_per_epoch: int | None
) -> int:
    """The number of batches in an epoch.

    Args:
      data: samples, or batches as `keras.Model.fit` takes them.
      batch_size: samples in a batch made from arrays.
      steps_per_epoch: batches in an epoch, for data without a length.

    Raises:
      DataError: the data has no length, and `steps_per_epoch` is None.
    """
    if isinstance(data, Data | Table):
        return math.ceil(len(data) / min(batch_size, len(data)))
    return steps_per_epoch or count_batches(data)


def _from_rows(
    data: Data | Table,
    batch_size: int,
    augment: Augment,
    seed: int,
    epochs: range,
    pack: Pack,
    label_pack: Pack,
) -> Feed:
    """Batches of one size, in a new random order each epoch.

    The last batch of an epoch is filled up with samples from its beginning, so that all batches
    have one shape and the training step is compiled once.
    """
    count = len(data)
    size = min(batch_size, count)
    steps = steps_in_epoch(data, batch_size, None)
    gather = gatherer(data)
    if augment != "none":
        like = [tf.TensorSpec((count, *x.shape[1:]), x.dtype) for x in data.take(slice(1)).x]
        _require_images(like[0] if len(like) == 1 else like)

    def epoch(number: Any) -> Any:
        key = tf.stack([tf.constant(seed, tf.int64), number])
        order = tf.random.experimental.stateless_shuffle(tf.range(count), key)
        filled = tf.gather(order, tf.range(steps * size) % count)
        rows = tf.data.Dataset.from_tensor_slices(tf.reshape(filled, [steps, size]))
        return rows.enumerate(number * steps)

    def batch(index: Any, rows: Any) -> Any:
        x, labels = gather(rows)
        if augment != "none":
            x = [flip_and_shift(x[0], tf.stack([tf.constant(seed, tf.int64), index]))]
        inputs = pack(x)
        if not labels:
            return (inputs,)
        return inputs, label_pack(labels)

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
    return Feed(numbers.flat_map(epoch).map(batch).prefetch(2), steps, True)


def _require_images(found: Any) -> None:
    """Checks that inputs can be flipped and shifted.

    Raises:
      DataError: the inputs are not images `[n, h, w, c]` of at least `2 * MAX_SHIFT` pixels a side.
    """
    shape = getattr(found, "shape", tf.TensorShape(None))
    if shape.rank != 4 or None in shape[1:3] or min(shape[1:3]) < 2 * MAX_SHIFT:
        raise DataError(
            "augment='flip-shift': expected one input of images [n, height, width, channels], at "
            f"least {2 * MAX_SHIFT} pixels a side. Received: {found}. Leave `augment` out."
        )


def _augmented(batches: Any, seed: int) -> Any:
    """Augments the images of every batch; labels and sample weights stay."""
    parts = batches.element_spec
    alone = not isinstance(parts, tuple)
    _require_images(parts if alone else parts[0])
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def augmented(batch: Any, numbers: Any) -> Any:
        if alone:
            return flip_and_shift(batch, numbers)
        return (flip_and_shift(batch[0], numbers), *batch[1:])

    return tf.data.Dataset.zip((batches, seeds)).map(augmented).prefetch(2)


def flip_and_shift(images: Any, seed: Any) -> Any:
    """Flips half of the images left to right and shifts each by up to `MAX_SHIFT` pixels.

    Args:
      images: tensor `[n, h, w, c]`.
      seed: integer tensor `[2]`; the result is a function of it.

    Returns:
      Tensor `[n, h, w, c]`.
    """
    count = tf.shape(images)[0]
    mirrored = tf.random.stateless_uniform([count, 1, 1, 1], seed) < 0.5
    images = tf.where(mirrored, tf.reverse(images, [2]), images)
    corners = tf.random.stateless_uniform(
        [2, count, 1], seed + 1, 0, 2 * MAX_SHIFT + 1, dtype=tf.int32
    )
    return shift(images, corners, MAX_SHIFT)


def shift(images: Any, corners: Any, reach: int) -> Any:
    """Shifts every image; what moves in from outside is the image mirrored at its edge.

    Args:
      images: tensor `[n, h, w, c]`.
      corners: integers `[2, n, 1]` in [0, 2 * reach], row and column: `reach` leaves an image in
        place, less moves it down and to the right.
      reach: the largest shift, in pixels.

    Returns:
      Tensor `[n, h, w, c]`.
    """
    shape = tf.shape(images)
    height, width = shape[1], shape[2]
    sides = [reach, reach]
    padded = tf.pad(images, [[0, 0], sides, sides, [0, 0]], "SYMMETRIC")
    moved = tf.gather(padded, corners[0] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(moved, corners[1] + tf.range(width), axis=2, batch_dims=1)
