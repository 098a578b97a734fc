"""The samples that one shot looks at."""

from __future__ import annotations

import math

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.pruning.training.feed import shift

RECONSTRUCTION_SAMPLES = 1024
"""Of more samples than that, as many are taken, evenly spread."""
MAX_COPIES = 4
"""What images are made up to by moving them: themselves and up to three more."""
MAX_PIXELS = 5_000_000
"""Pixels of all images together up to which they are copied, since copies take time.

Moved images tell nearly as much as new ones. 2:4 on 1,024 images of 16x16, the network of
scripts/bench_accuracy: the mean squared distance of the logits from the dense model's was 0.244
with the images alone, 0.218 with three moved copies of each, 0.218 with 4,096 images.
"""
MIN_SIDE = 16
MAX_CHANNELS = 4
FEW_SAMPLES = 32
"""Fewer samples than that are warned of."""


def calibration_samples(x: list[Array]) -> list[Array]:
    """The samples to look at, of one array `[n, ...]` per input."""
    count = len(x[0])
    if count <= RECONSTRUCTION_SAMPLES:
        return x
    chosen = np.arange(RECONSTRUCTION_SAMPLES) * count // RECONSTRUCTION_SAMPLES
    return [array[chosen] for array in x]


def max_shift(x: list[Array]) -> int:
    """Pixels by which images may be moved at random; 0 for samples that are not taken for images.

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
    """Images followed by copies that are moved at random by a few pixels; other samples as given.

    The copies need no labels: what is learned from them is what the dense model makes of them.
    """
    moved_by = max_shift(x)
    copies = min(MAX_COPIES, MAX_PIXELS // math.prod(x[0].shape[:3])) if moved_by else 1
    if copies < 2:
        return x
    generator = np.random.default_rng(0)
    corners = generator.integers(0, 2 * moved_by + 1, (copies - 1, 2, len(x[0]), 1))
    return [np.concatenate([x[0], *(shift(x[0], moved, moved_by).numpy() for moved in corners)])]
