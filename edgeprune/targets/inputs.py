"""What a file is run on when nobody gives data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.data import InputSpec
from edgeprune.core.errors import DataError
from edgeprune.tflite.format.file import Graph
from edgeprune.tflite.format.signature import signature_specs

_INTEGERS = (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_NUMBERS = frozenset({"bool", "float32", "float64", *_INTEGERS})
_MOST_ITEMS = 1 << 27


def generated_inputs(graph: Graph, samples: int) -> list[Array]:
    """Inputs to run a file on when no data is given.

    Uniform in [-1, 1] for real values; 0 and 1 for integers, which may be indices.

    Returns:
      One array `[samples, ...]` per input, in the order of `signature`; sizes that the file leaves
      open are 1.

    Raises:
      DataError: there is no input, or one takes no numbers, such as text, or more of them than
        memory should hold.
    """
    return generated_samples(str(graph.path), signature_specs(graph), samples)


def generated_samples(model: str, inputs: Sequence[InputSpec], samples: int) -> list[Array]:
    """As `generated_inputs`, for the inputs of any model.

    Args:
      model: its name, for messages.
      inputs: what it takes.
      samples: how many.

    Raises:
      DataError: as `generated_inputs`.
    """
    if not inputs:
        raise DataError(
            f"{model}: expected a file with an input. Received: one without, which computes the "
            "same every time and cannot be tried on samples."
        )
    generator = np.random.default_rng(0)
    arrays: list[Array] = []
    for spec in inputs:
        shape = (samples, *(1 if size is None else size for size in spec.shape))
        _require_small(model, spec, math.prod(shape))
        if spec.dtype in ("float32", "float64"):
            arrays.append(generator.uniform(-1, 1, shape).astype(spec.dtype))
        else:
            arrays.append(generator.integers(0, 2, shape).astype(spec.dtype))
    return arrays


def _require_small(model: str, spec: InputSpec, items: int) -> None:
    if spec.dtype not in _NUMBERS:
        raise DataError(
            f"{model}: input {spec.name!r}: expected numbers, which can be made up. Received: "
            f"{spec.dtype}. Run the file with data of its own."
        )
    if items > _MOST_ITEMS:
        raise DataError(
            f"{model}: input {spec.name!r}: expected at most {_MOST_ITEMS} values to make up. "
            f"Received: {items}. Convert the model with a smaller input."
        )
