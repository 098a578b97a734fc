"""Labels as class numbers, in whatever form they came."""

from __future__ import annotations

import numpy as np

from edgeprune.core.arrays import Array


def class_numbers(y: Array | tuple[Array, ...] | None) -> Array | None:
    """Labels as class numbers, `[n]` or `[n, ...]` per place; None for anything else.

    Args:
      y: whole numbers, with a last axis of one or without, or one-hot rows along the last axis, as
        `categorical_crossentropy` takes them.
    """
    if y is None or isinstance(y, tuple) or y.dtype.kind not in "fiub" or y.ndim == 0:
        return None
    labels = y[..., 0] if y.ndim > 1 and y.shape[-1] == 1 else y
    one_hot = labels.ndim > 1 and bool(
        (labels.sum(-1) == 1).all() and np.isin(labels, (0, 1)).all()
    )
    labels = labels.argmax(-1) if one_hot else labels
    return labels.astype(np.int64) if bool(np.equal(labels, np.floor(labels)).all()) else None
