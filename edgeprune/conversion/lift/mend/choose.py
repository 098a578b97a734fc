"""Which parts of a change are kept: those that bring outputs nearer by more than chance."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.format.signature import output_ports

_TRIED = 12
"""Parts of one change that are tried."""
_SURE = 2.0
"""Standard errors by which each has to be better: of many that are tried, one may seem so."""

T = TypeVar("T")


def judging_outputs(graph: Graph) -> list[int]:
    """The outputs that are real numbers, by their place in the order of names; no classes."""
    ports = sorted(output_ports(graph), key=lambda port: port.name)
    tensors = [graph.tensors[port.tensor] for port in ports]
    return [
        place
        for place, tensor in enumerate(tensors)
        if tensor.scales.size or tensor.dtype.startswith("float")
    ]


def sample_errors(found: Sequence[Array], wanted: Sequence[Array]) -> Array:
    """`[n]`: each sample's squared error over the mean square of what is wanted, over all outputs.

    Args:
      found: `[n, ...]` of every output.
      wanted: likewise.
    """
    each = []
    for a, b in zip(found, wanted, strict=True):
        rows = ((a - b) ** 2).reshape(len(b), -1).sum(axis=1)
        each.append(rows / max(float(np.sum(b**2)) / len(b), 1e-30))
    mean: Array = np.mean(each, axis=0)
    return mean


def is_better(errors: Array, before: Array, sure: float = 1.0) -> bool:
    """Whether the errors of samples fall by more than their mean varies by chance.

    Args:
      errors: `[n]`.
      before: `[n]`, of the same samples.
      sure: by how many standard errors of the gain.
    """
    if not np.isfinite(errors).all():
        return False
    gain = before - errors
    return float(gain.mean()) > sure * float(gain.std()) / math.sqrt(len(gain))


def best_parts(
    parts: Sequence[T], before: Array, measure: Callable[[Sequence[T]], Array]
) -> tuple[list[T], Array]:
    """The parts that bring outputs nearer: all of them, else halves, and halves of those.

    Args:
      parts: of one change.
      before: the errors of samples without it.
      measure: the errors with some of the parts.

    Returns:
      The parts, and the errors with them.
    """
    kept: list[T] = []
    waiting = deque([list(parts)])
    for _ in range(_TRIED):
        if not waiting:
            break
        part = waiting.popleft()
        errors = measure([*kept, *part])
        if is_better(errors, before, _SURE):
            kept, before = [*kept, *part], errors
        elif len(part) > 1:
            middle = len(part) // 2
            waiting += [part[:middle], part[middle:]]
    return kept, before
