"""Finds the values of a Keras model that are tensors of its int8 file, by comparing values.

The float file tells what the converter fuses: a convolution, its batch normalisation and its
activation are one tensor there. A few samples run through the model and through the file, and a
value of the model that equals a tensor of the file is that tensor; of several, the first, since
those behind it hold the same numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from edgeprune.conversion.from_keras import (
    calibration,
    convert,
    quantized,
)
from edgeprune.conversion.int8.measure import measure_ranges
from edgeprune.conversion.int8.ranges import Range, Ranges
from edgeprune.conversion.int8.values import activation_values, shared_ranges
from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import Tensor, read_calls
from edgeprune.keras_model.converter_copy import for_converter
from edgeprune.keras_model.layers import Model, functional
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.training.quantized.model import Point
from edgeprune.pruning.training.quantized.walk import Place, Visit, name_of, walk
from edgeprune.tflite.format import draft as tflite_draft

COMPARED = 2
"""Samples by which values are told apart."""
TOLERANCE = 1e-3
"""Largest difference of equal values, relative to the largest: folding changes the last digits."""
_PASSING = frozenset(
    (
        *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "MAX_POOL_2D", "PAD"),
        *("SLICE", "STRIDED_SLICE", "CONCATENATION", "GATHER", "SPLIT", "PACK", "UNPACK"),
    )
)
"""Operators that give nothing but numbers that they read: rounded once, these stay as they are."""


@dataclass(frozen=True, eq=False)
class FilePoints:
    """The values of a model that its int8 file rounds."""

    points: tuple[Point, ...]
    rows: Mapping[Place, int]
    """The range of each value that is a tensor of the file, rounded again or not."""
    fixed: Mapping[int, Range]
    """The ranges that are always the same, such as that of a softmax."""
    names: Mapping[Place, str]
    """What people call these values."""

    def fixed_ranges(self) -> Array:
        """`[rows, 2]`: the ranges that never change; from 0 to 1 where they are to be measured."""
        rows = {*self.rows.values(), *(point.row for point in self.points)}
        found = np.tile([0.0, 1.0], (max(rows, default=-1) + 1, 1))
        for row, span in self.fixed.items():
            found[row] = span.low, span.high
        return found

    def ranges_in_file(
        self, model: Model, profile: DeviceProfile, x: Sequence[Array], now: Array
    ) -> tuple[Ranges, dict[str, str]]:
        """The ranges for the int8 file of a trained model, by the tensors of its float file.

        Weights may change how the converter names tensors, so they are looked for again.

        Args:
          model: the plain model.
          profile: the device.
          x: samples, which measure those tensors that are not values of the model.
          now: `[rows, 2]`, the ranges after training.

        Returns:
          The ranges, and what people call the tensors that are values of the model.
        """
        file = _FileTensors.of(model, profile, x, set(self.rows))
        measured = measure_ranges(file.floating, calibration(model, x))
        rows = {name: self.rows[place] for name, place in file.places.items()}
        ends = {name: Range(*map(float, now[row])) for name, row in rows.items()}
        shared = {
            name: ends[source]
            for name, source in file.shared.items()
            if isinstance(source, str) and source in ends
        }
        names = {name: self.names[place] for name, place in file.places.items()}
        return {**measured, **shared, **ends}, names


def find_points(model: Model, profile: DeviceProfile, x: Sequence[Array]) -> FilePoints:
    """Finds what the int8 file of a model rounds.

    Args:
      model: a plain model, Sequential or Functional.
      profile: the device, on an int8 route.
      x: samples, one array `[n, ...]` per input.

    Raises:
      ModelError: the converter does not take the model.
      WorkerError: the runtime does not run its float file.
    """
    file = _FileTensors.of(model, profile, x)
    order = {key: row for row, key in enumerate(dict.fromkeys(file.keys.values()))}
    passed = set(file.passed_on())
    kept = [name for name in file.keys if name not in passed]
    points: dict[Place, Point] = {}
    for name in kept:
        # A range whose own tensor is not rounded again follows those that share it.
        source, place = file.shared[name], file.places[name]
        watched = isinstance(source, str) and (source == name or source not in kept)
        points.setdefault(place, Point(place, order[file.keys[name]], watched))
    rows: dict[Place, int] = {}
    for name, key in file.keys.items():
        rows.setdefault(file.places[name], order[key])
    spans = ((name, file.shared[name]) for name in file.keys)
    fixed = {order[name]: span for name, span in spans if isinstance(span, Range)}
    graph = read_calls(model)
    return FilePoints(
        tuple(points.values()), rows, fixed, {place: name_of(graph, place) for place in rows}
    )


@dataclass(frozen=True, eq=False)
class _FileTensors:
    """The tensors of a float file, and which values of its model they are."""

    floating: bytes
    shared: Mapping[str, str | Range]
    """As `shared_ranges` gives them."""
    places: Mapping[str, Place]
    """The tensors that are values of the model and have a range in int8."""

    @staticmethod
    def of(
        model: Model,
        profile: DeviceProfile,
        x: Sequence[Array],
        among: Collection[Place] | None = None,
    ) -> _FileTensors:
        """Converts a model and compares its values, or those `among` them that are given."""
        floating = convert(model, profile, "int8")
        shared = shared_ranges(floating, lambda file, given: quantized(model, profile, file, given))
        few = [array[:COMPARED] for array in x]
        values = {
            place: value
            for place, value in _values(model, few).items()
            if among is None or place in among
        }
        places = _matched(values, activation_values(floating, calibration(model, few)))
        known = {name: place for name, place in places.items() if name in shared}
        return _FileTensors(floating, shared, known)

    @property
    def keys(self) -> dict[str, str]:
        """By tensor, the name of the one whose range it takes; itself where that never changes."""
        sources = {name: self.shared[name] for name in self.places}
        return {n: n if isinstance(source, Range) else source for n, source in sources.items()}

    def passed_on(self) -> Iterator[str]:
        """The tensors whose operator gives numbers it reads, all of which are rounded likewise."""
        keys = self.keys
        main = tflite_draft.from_bytes(self.floating, Path("float.tflite")).graph.subgraphs[0]
        for operator in main.operators:
            read = [main.tensors[index] for index in operator.inputs if index >= 0]
            given = {keys.get(tensor.name) for tensor in read if not tensor.constant}
            for index in operator.outputs:
                name = main.tensors[index].name
                if operator.op in _PASSING and name in keys and given == {keys[name]}:
                    yield name


def _values(model: Model, x: Sequence[Array]) -> dict[Place, Array]:
    """Every value of a model in float32 on some samples, flat: `[n, size]`."""
    found: dict[Place, Array] = {}

    def visit(place: Place, value: Tensor) -> Tensor:
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype)):
            array = np.asarray(value)
            if array.ndim and len(array) == len(x[0]):
                found[place] = array.reshape(len(array), -1)
        return value

    _run(for_converter(model, unroll=False), x, visit)
    return found


def _run(model: Model, x: Sequence[Array], visit: Visit) -> None:
    given = [
        keras.ops.convert_to_tensor(array, tensor.dtype)
        for array, tensor in zip(x, functional(model).inputs, strict=True)
    ]
    walk(read_calls(model), given, visit)


def _matched(values: Mapping[Place, Array], tensors: Mapping[str, Array]) -> dict[str, Place]:
    """The first value that each tensor equals, by the tensor's name."""
    found = {}
    for name, tensor in tensors.items():
        flat = tensor.reshape(len(tensor), -1)
        equal = (place for place, value in values.items() if _are_equal(value, flat))
        place = next(equal, None)
        if place is not None:
            found[name] = place
    return found


def _are_equal(value: Array, tensor: Array) -> bool:
    if value.shape != tensor.shape or not value.size:
        return False
    largest = float(np.abs(value).max())
    return bool(np.abs(value - tensor).max() <= TOLERANCE * largest)
