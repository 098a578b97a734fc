"""What the values of a pruned network are on samples, before its file rounds and cuts them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from edgeprune.conversion.int8.refine import channel_sums
from edgeprune.conversion.lift.layers import Saturate
from edgeprune.core.arrays import Array
from edgeprune.keras_model.interface import infer
from edgeprune.keras_model.layers import Model

_PIXELS = 200_000
"""Most pixels in one batch, 4 images of 224x224: all activations of a batch are kept."""
_MOST_BATCH = 32
_KEPT = 1 << 17
"""Values of one tensor that are kept, spread over all."""

Span = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Watched:
    """The values of one tensor on samples."""

    low: float
    """The least, before the ends of its range cut it."""
    high: float
    """The largest."""
    values: Array
    """`[k]`: some of them, spread over all."""
    sums: Array
    """`[2, channels]` behind the ends of the range: the mean, and the share between the ends; `[2,
    0]` where it is not asked for."""


def watch(
    model: Model,
    places: Mapping[int, Any],
    spans: Mapping[int, Span],
    x: Sequence[Array],
    summed: Collection[int],
) -> Mapping[int, Watched]:
    """Runs a pruned network in Keras and looks at its activations.

    Args:
      model: the network.
      places: its Keras tensors by the index of the tensor in the file.
      spans: between what values the tensor of the file can hold.
      x: samples `[n, ...]` for each input.
      summed: indices of the tensors whose channels are summed up.
    """
    exposed = keras.Model(model.inputs, [_before_its_ends(places[index]) for index in spans])
    share = max(1, _KEPT // len(x[0]))

    def seen(index: int, values: Array) -> Watched:
        found = values.reshape(len(values), -1)
        spread = found[:, :: max(1, found.shape[1] // share)].reshape(-1)
        low, high = spans[index]
        cut = np.clip(values, low, high)
        sums = channel_sums(cut, low, high) if index in summed else np.empty((2, 0))
        return Watched(float(found.min()), float(found.max()), spread, sums)

    parts: dict[int, list[tuple[int, Watched]]] = {index: [] for index in spans}
    for batch in _batches(x):
        made = infer(exposed, batch)
        for index, values in zip(spans, made, strict=True):
            parts[index].append((len(batch[0]), seen(index, np.asarray(values))))
    return {index: _together(each) for index, each in parts.items()}


def _before_its_ends(tensor: Any) -> Any:
    """What a layer that stands for the ends of a range reads; other tensors themselves."""
    operation = tensor._keras_history.operation
    return operation.input if isinstance(operation, Saturate) else tensor


def _batches(x: Sequence[Array]) -> Iterator[list[Array]]:
    pixels = max(math.prod(array.shape[1:-1]) for array in x)
    size = min(_MOST_BATCH, max(1, _PIXELS // pixels))
    for start in range(0, len(x[0]), size):
        yield [array[start : start + size] for array in x]


def _together(parts: Sequence[tuple[int, Watched]]) -> Watched:
    """What was seen in several batches, by how many samples each has."""
    total = sum(count for count, _ in parts)
    return Watched(
        min(part.low for _, part in parts),
        max(part.high for _, part in parts),
        np.concatenate([part.values for _, part in parts]),
        np.sum([part.sums * (count / total) for count, part in parts], axis=0),
    )
