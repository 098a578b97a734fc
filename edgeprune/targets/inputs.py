"""What a file is run on when nobody gives data."""

from __future__ import annotations

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.tflite.format.file import Graph
from edgeprune.tflite.format.signature import signature_specs


def generated_inputs(graph: Graph, samples: int, seed: int = 0) -> list[Array]:
    """Inputs to run a file on when no data is given.

    Uniform in [-1, 1] for real values; 0 and 1 for integers, which may be indices.

    Returns:
      One array `[samples, ...]` per input, in the order of `signature`; sizes that the file leaves
      open are 1.
    """
    generator = np.random.default_rng(seed)
    arrays: list[Array] = []
    for spec in signature_specs(graph):
        shape = (samples, *(size or 1 for size in spec.shape))
        if spec.dtype.startswith("float"):
            arrays.append(generator.uniform(-1, 1, shape).astype(spec.dtype))
        else:
            arrays.append(generator.integers(0, 2, shape).astype(spec.dtype))
    return arrays
