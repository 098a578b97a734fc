"""What a quantized .tflite file rounds, for training that computes as the file does.

The scales of activations stand in the file and stay as they are, so nothing is measured: what is
written back has to live with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeprune.conversion.int8.ranges import Range
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import read_calls
from edgeprune.keras_model.layers import Model
from edgeprune.pruning.training.quantized.model import Point
from edgeprune.pruning.training.quantized.walk import INPUTS, Place
from edgeprune.pruning.training.wrapper import unwrapped
from edgeprune.tflite.format.graph import Tensor

_BYTES = ("int8", "uint8")
"""The types whose 256 steps fake quantisation knows."""


@dataclass(frozen=True)
class FileGrid:
    """The ranges of a file's quantized activations, as the lifted model has them."""

    ranges: Mapping[tuple[str, int], Range]
    """By layer and output, as `Lifted.tensors` names values."""
    per_channel_dense: bool
    """Whether the matrix of a Dense layer has a scale for each output."""

    def points(self, model: Model) -> tuple[tuple[Point, ...], Array]:
        """The values that are rounded, none of which is followed, and their ranges `[rows, 2]`.

        Args:
          model: the lifted model, or what channels were removed from.
        """
        found = {
            place: self.ranges[name]
            for name, place in _places(model).items()
            if name in self.ranges
        }
        points = tuple(Point(place, row, watched=False) for row, place in enumerate(found))
        spans = [(span.low, span.high) for span in found.values()]
        return points, np.array(spans, np.float32).reshape(-1, 2)


def grid_of(lifted: Lifted | None) -> FileGrid | None:
    """The grid of a lifted file; None where none of its activations is quantized to 8 bits."""
    if lifted is None:
        return None
    ranges: dict[tuple[str, int], Range] = {}
    for index, name in lifted.tensors.items():
        tensor = lifted.graph.tensors[index]
        if tensor.dtype in _BYTES and tensor.scales.size == 1:
            ranges.setdefault(name, _span(tensor))
    if not ranges:
        return None
    matrices = [part.kernel for part in lifted.weights.values() if part.kind == "Dense"]
    per_channel = any(lifted.graph.tensors[kernel].scales.size > 1 for kernel in matrices)
    return FileGrid(ranges, per_channel)


def _span(tensor: Tensor) -> Range:
    """The least and the largest real value that a tensor can hold."""
    ends = np.iinfo(tensor.dtype)
    zero = int(tensor.zero_points[0]) if tensor.zero_points.size else 0
    scale = float(tensor.scales[0])
    return Range((ends.min - zero) * scale, (ends.max - zero) * scale)


def _places(model: Model) -> dict[tuple[str, int], Place]:
    """Every value by the name of its layer, and which output it is over all calls of it."""
    names = [tensor._keras_history.operation.name for tensor in model.inputs]
    found = {(name, 0): Place(INPUTS, number) for number, name in enumerate(names)}
    earlier: dict[str, int] = {}
    for number, call in enumerate(read_calls(model).calls):
        name, count = unwrapped(call.operation).name, len(call.outputs)
        before = earlier.get(name, 0)
        found |= {(name, before + index): Place(number, index) for index in range(count)}
        earlier[name] = before + count
    return found
