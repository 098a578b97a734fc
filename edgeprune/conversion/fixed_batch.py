"""Files that take several samples at a time: what becomes of their first axis in another format."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from edgeprune.conversion.given import Given
from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError
from edgeprune.keras_model.interface import infer, input_specs
from edgeprune.keras_model.layers import Model
from edgeprune.targets.inputs import generated_samples

_MOST_APART = 1e-4
"""Largest difference of a sample by itself from the same among others, of the largest value."""


def fixed_lengths(given: Given) -> tuple[int, ...]:
    """The lengths that the first axis of each input has in a file; empty where it may have any."""
    if given.lifted is None:
        return ()
    lengths = [tensor.shape[0] for tensor in given.model.inputs if tensor.shape]
    every = len(lengths) == len(given.model.inputs) and None not in lengths
    return tuple(lengths) if every and set(lengths) != {1} else ()


def require_single_samples(given: Given) -> int:
    """Checks that the samples which a file takes at a time do not depend on each other.

    Returns:
      How many it takes.

    Raises:
      TfliteError: they do, or its inputs and outputs have no such axis in common.
    """
    lengths = {tensor.shape[0] for tensor in (*given.model.inputs, *given.model.outputs)}
    count = max(fixed_lengths(given))
    if lengths != {count} or not _are_apart(given, count):
        raise TfliteError(
            f"{given.name}: expected a file whose samples are each computed by themselves, which "
            "int8 files take one at a time. Received: inputs "
            f"{', '.join(str(list(tensor.shape)) for tensor in given.model.inputs)}, computed "
            "together. Keep the file's number format, or convert the original model with a batch "
            "of 1."
        )
    return count


def _are_apart(given: Given, count: int) -> bool:
    """Whether each of some samples gives alone what it gives among the others."""
    arrays = generated_samples(given.name, input_specs(given.model), count)
    try:
        together = _outputs(given.model, arrays)
        alone = [_outputs(given.model, [x[k : k + 1] for x in arrays]) for k in range(count)]
    except (tf.errors.OpError, ValueError, TypeError):
        return False
    return all(
        rows.shape == many.shape
        and np.abs(rows - many).max(initial=0) <= _MOST_APART * np.abs(many).max(initial=1)
        for many, rows in zip(together, map(np.concatenate, zip(*alone, strict=True)), strict=True)
    )


def _outputs(model: Model, arrays: list[Array]) -> list[Array]:
    return [np.asarray(made, np.float32) for made in infer(model, arrays)]
