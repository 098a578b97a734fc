"""The samples that one-shot pruning calibrates on."""

from __future__ import annotations

import math

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.data import spread
from edgeprune.core.errors import InputError
from edgeprune.pruning.training.feed import shift

RECONSTRUCTION_SAMPLES = 1024
"""Most samples used, unless more are asked for; of more, evenly spaced ones are taken."""
SENSITIVITY_POSITIONS = 10_000_000
"""Most pixels or steps of the samples that losses of layers are compared on: 200 images of 224x224,
and 1,024 of 96x96."""
MAX_COPIES = 4
"""Most versions of each image: itself and up to three shifted copies."""
MAX_PIXELS = 5_000_000
"""Most pixels of all images and their copies, since copies take time.

Shifted images help nearly as much as new ones. 2:4 on 1,024 images of 16x16, the network of
scripts/bench_accuracy: the mean squared distance of the logits from the dense model's was 0.244
with the images alone, 0.218 with three shifted copies of each, 0.218 with 4,096 images.
"""
MIN_SIDE = 16
"""Fewest pixels a side of what is taken for an image."""
MAX_CHANNELS = 4
"""Most channels of what is taken for an image."""
FEW_SAMPLES = 32
"""Fewer samples than that cause a warning."""


def most_samples(asked: int | None) -> int:
    """The most samples that are calibrated on: as many as asked for, else the default.

    Raises:
      InputError: not a whole number from 1 on.
    """
    if asked is None:
        return RECONSTRUCTION_SAMPLES
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise InputError(
            "`samples` is the most samples that are calibrated on, a whole number from 1 on. "
            f"Received: {asked!r}."
        )
    return asked


def sensitivity_samples(x: list[Array]) -> list[Array]:
    """Evenly spread samples of no more than `SENSITIVITY_POSITIONS`, but at least `FEW_SAMPLES`.

    Args:
      x: samples, one array `[n, ...]` per input.
    """
    positions = max(math.prod(array.shape[1:-1]) for array in x)
    chosen = spread(len(x[0]), max(FEW_SAMPLES, SENSITIVITY_POSITIONS // positions))
    return x if len(chosen) == len(x[0]) else [array[chosen] for array in x]


def max_shift(x: list[Array]) -> int:
    """The number of pixels that images may be shifted by; 0 if the samples are not images.

    Args:
      x: samples; images if there is one input `[n, h, w, c]` of at most 4 channels and at least 16
        pixels a side.
    """
    images = x[0]
    if len(x) != 1 or images.ndim != 4 or images.shape[3] > MAX_CHANNELS:
        return 0
    side = min(images.shape[1:3])
    return 0 if side < MIN_SIDE else max(2, side // 16)


def with_moved_copies(x: list[Array]) -> list[Array]:
    """Adds copies that are shifted at random by a few pixels; samples that are not images stay.

    The copies need no labels, since the targets are the dense model's outputs on them.

    Args:
      x: samples, one array `[n, ...]` per input; images as in `max_shift`.

    Returns:
      The images `[k * n, h, w, c]`, the given ones first; `k` is at most `MAX_COPIES`.
    """
    moved_by = max_shift(x)
    copies = min(MAX_COPIES, MAX_PIXELS // math.prod(x[0].shape[:3])) if moved_by else 1
    if copies < 2:
        return x
    generator = np.random.default_rng(0)
    corners = generator.integers(0, 2 * moved_by + 1, (copies - 1, 2, len(x[0]), 1))
    return [np.concatenate([x[0], *(shift(x[0], moved, moved_by).numpy() for moved in corners)])]
