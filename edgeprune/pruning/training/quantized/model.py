"""A model in training whose forward pass is that of its int8 file.

Kernels are rounded to the steps of their scale, and so are the values that are tensors of the file.
Their ranges follow what the values are in training, as an exponential moving average of the least
and the largest value of each batch, which lags behind weights that move. So they are measured again
before an epoch is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import CallGraph, Tensor, read_calls
from edgeprune.keras_model.interface import PREDICT_BATCH
from edgeprune.keras_model.layers import Layer, Model, functional, layers_inside
from edgeprune.pruning.training.masked_kernel import KERAS_PACKAGE
from edgeprune.pruning.training.quantized.fake_quantization import (
    channel_axes,
    fake_quantize,
    fake_quantize_kernel,
)
from edgeprune.pruning.training.quantized.walk import Place, walk

MOMENTUM = 0.99
"""What is kept of a range with each batch."""


@dataclass(frozen=True)
class Point:
    """A value that the file rounds, and the range by which it does."""

    place: Place
    row: int
    """Number of the range; several values may share one."""
    watched: bool
    """Whether the range follows this value."""


@keras.saving.register_keras_serializable(package=KERAS_PACKAGE)
class QuantizedModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """Trains a model, wrapped for pruning or not, as its int8 file will compute.

    `strip_pruning` returns the plain model.

    Args:
      model: Sequential or Functional; not copied.
      points: the values that are rounded.
      ranges: `[rows, 2]`, the least and the largest value of each range at first.
      per_channel_dense: whether Dense kernels have a scale per output channel.
      **kwargs: arguments of `keras.Model`.
    """

    def __init__(
        self,
        model: Model,
        points: Sequence[Point],
        ranges: Array,
        *,
        per_channel_dense: bool,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", model.name)
        super().__init__(**kwargs)
        self.model = model
        names = getattr(model, "output_names", None)
        if names:
            # Losses and metrics may be given by output name.
            self.output_names = names
        self._setup = _Setup(tuple(points), per_channel_dense)
        self.ranges = self.add_weight(
            shape=(len(ranges), 2),
            initializer=keras.initializers.Constant(np.asarray(ranges, np.float32)),
            trainable=False,
            aggregation="mean",
            name="ranges",
        )
        self.built = True

    @property
    def points(self) -> tuple[Point, ...]:
        """The values that are rounded."""
        return self._setup.points

    @cached_property
    def _graph(self) -> CallGraph:
        return read_calls(self.model)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Calls the model with rounded kernels and values."""
        scope = keras.StatelessScope(
            list(self._rounded_kernels()), collect_losses=True, initialize_variables=False
        )
        following = _Following(self._setup, self.ranges.value, bool(training))
        structure = functional(self.model)
        with scope:
            given = structure._standardize_inputs(inputs)
            outputs = walk(self._graph, given, following.visit, training=bool(training))
        # The scope collects updates of moving averages and seeds, and losses; apply them here.
        for variable in self.model.variables:
            new = scope.get_current_value(variable)
            if new is not None and not variable.trainable:
                variable.assign(new)
        for loss in scope.losses:
            self.add_loss(loss)
        if following.seen:
            self.ranges.assign(following.new_ranges())
        return keras.tree.pack_sequence_as(structure._outputs_struct, outputs)

    def measure(self, x: Sequence[Array]) -> None:
        """Sets the ranges to what values span on samples, for inference, with rounded kernels.

        Args:
          x: one array `[n, ...]` per input.
        """
        spans = _Spans(self._setup)
        inputs = list(zip(x, functional(self.model).inputs, strict=True))
        for start in range(0, len(x[0]), PREDICT_BATCH):
            given = [
                keras.ops.convert_to_tensor(array[start : start + PREDICT_BATCH], tensor.dtype)
                for array, tensor in inputs
            ]
            with keras.StatelessScope(list(self._rounded_kernels()), initialize_variables=False):
                walk(self._graph, given, spans.visit, training=False)
        ranges = np.array(self.ranges)
        for row, (low, high) in spans.found.items():
            ranges[row] = (low, high) if low < high else (0.0, 1.0)
        self.ranges.assign(ranges)

    def _rounded_kernels(self) -> Iterator[tuple[Any, Tensor]]:
        for kernel, axes in kernels_in(self.model, per_channel_dense=self._setup.per_channel_dense):
            yield kernel, fake_quantize_kernel(kernel.value, axes)

    def get_config(self) -> dict[str, Any]:
        """The Keras configuration, which includes the model's."""
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "points": [asdict(point) for point in self.points],
            "rows": int(self.ranges.shape[0]),
            "per_channel_dense": self._setup.per_channel_dense,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> QuantizedModel:
        """Restores a model from what `get_config` returned; the ranges come with its weights."""
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects)
        points = [
            Point(**{**point, "place": Place(**point["place"])}) for point in config["points"]
        ]
        return cls(
            model,
            points,
            np.zeros((config["rows"], 2)),
            per_channel_dense=config["per_channel_dense"],
            name=config["name"],
        )


@dataclass(frozen=True)
class _Setup:
    """Holds the points in an attribute of a model; Keras would track a bare tuple."""

    points: tuple[Point, ...]
    per_channel_dense: bool

    @cached_property
    def by_place(self) -> dict[Place, Point]:
        return {point.place: point for point in self.points}


class _Spans:
    """Collects what the values that are followed span, and rounds none."""

    def __init__(self, setup: _Setup) -> None:
        self._by_place = setup.by_place
        self.found: dict[int, tuple[float, float]] = {}

    def visit(self, place: Place, value: Tensor) -> Tensor:
        point = self._by_place.get(place)
        if point is not None and point.watched:
            array = np.asarray(value, np.float32)
            low, high = self.found.get(point.row, (0.0, 0.0))
            self.found[point.row] = min(low, float(array.min())), max(high, float(array.max()))
        return value


class _Following:
    """One forward pass: rounds values, and collects what those that are followed span."""

    def __init__(self, setup: _Setup, ranges: Tensor, follows: bool) -> None:
        self._by_place = setup.by_place
        self._ranges = ranges
        self._follows = follows
        self.seen: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def visit(self, place: Place, value: Tensor) -> Tensor:
        point = self._by_place.get(place)
        if point is None:
            return value
        if self._follows and point.watched:
            exact = keras.ops.stop_gradient(keras.ops.cast(value, "float32"))
            ends = keras.ops.min(exact), keras.ops.max(exact)
            self.seen.setdefault(point.row, []).append(ends)
        low, high = self._ranges[point.row, 0], self._ranges[point.row, 1]
        return fake_quantize(value, low, high)

    def new_ranges(self) -> Tensor:
        """The ranges `[rows, 2]` after this batch."""
        zero = keras.ops.zeros(())
        rows = []
        for row in range(self._ranges.shape[0]):
            now = self._ranges[row]
            lows, highs = zip(*self.seen.get(row, [(now[0], now[1])]), strict=True)
            low = keras.ops.min(keras.ops.stack([zero, *lows]))
            high = keras.ops.max(keras.ops.stack([zero, *highs]))
            rows.append(MOMENTUM * now + (1 - MOMENTUM) * keras.ops.stack([low, high]))
        return keras.ops.stack(rows)


def kernels_in(model: Model, *, per_channel_dense: bool) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """The variables of a model that the file holds in int8, each once, with the axes of scales."""
    done: set[int] = set()
    for layer in layers_inside(model):
        for kind, variable in _kernels(layer):
            if id(variable) not in done:
                done.add(id(variable))
                yield variable, channel_axes(kind, per_channel_dense=per_channel_dense)


def _kernels(layer: Layer) -> Iterator[tuple[str, Any]]:
    kind = type(layer).__name__
    if kind.startswith("Separable"):
        rank = kind.removeprefix("Separable")
        yield f"Depthwise{rank}", layer.depthwise_kernel
        yield rank, layer.pointwise_kernel
        return
    for variable in layer._trainable_variables:
        if len(variable.shape) > 1 and layer.built:
            yield kind, variable
