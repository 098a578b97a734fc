"""Scales of an int8 file that leave hardly any steps to nearly all of the values.

A tensor with a few values far out gets a range for those: where 99.9 % of the absolute values lie
within a hundredth of it, they share a step or two of the 127 on each side of zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.core.activation_tail import SHARE, ActivationTail
from edgeprune.core.arrays import Array
from edgeprune.core.finding import Finding
from edgeprune.tflite.format.graph import Graph, Operator, Subgraph, Tensor

TIMES = 100.0
"""From how many times the quantile on a range is suspicious."""
FEWEST_VALUES = 1000
"""With fewer a quantile of 99.9 % is one of the largest values."""
RULE = "suspicious-scale"
_TYPES = ("int8", "uint8")
_MOST = 127
"""Steps of an int8 weight on each side of zero."""
_OTHERWISE = "or export with --numerics float32 where the device runs that."
_WEIGHTS_REMEDY = (
    "Look at that layer for weights far out (a batch norm with a variance near 0 gives such), clip "
    f"or retrain them; {_OTHERWISE}"
)
_ACTIVATION_REMEDY = (
    "Look for outliers among the samples of --data and give typical ones; bound the activation, "
    f"such as by ReLU6 (`--activation relu6` of plan and prune); {_OTHERWISE}"
)


@dataclass(frozen=True)
class _Spread:
    """What the scale of some weights can hold, and what nearly all of them need."""

    where: str
    range: float
    quantile: float

    @property
    def times(self) -> float:
        return self.range / self.quantile


def scale_findings(graph: Graph, tails: Sequence[ActivationTail]) -> Iterator[Finding]:
    """Names weights and activations whose range is `TIMES` their 99.9 % quantile or more.

    Args:
      graph: what the file says.
      tails: of its activations, as the manifest beside it says.
    """
    main = graph.subgraphs[0]
    for tensor in main.tensors:
        worst = max(_spreads(tensor), key=lambda each: each.times, default=None)
        if worst is not None and worst.times >= TIMES:
            reader = next((operator for operator, _ in main.readers.get(tensor.index, ())), None)
            yield Finding(
                None if reader is None else reader.index,
                RULE,
                f"The scale of the weights {tensor.name!r}{_use(main, reader)}{worst.where} is for "
                f"values up to {worst.range:.3g}, {worst.times:.0f} times what {SHARE:.1%} of "
                f"them are within: {worst.quantile:.3g}. int8 leaves those hardly any steps.",
                _WEIGHTS_REMEDY,
            )
    makers = {main.tensors[index].name: maker for index, maker in main.makers.items() if index >= 0}
    for tail in tails:
        reach = max(abs(tail.low), abs(tail.high))
        if tail.quantile > 0 and reach / tail.quantile >= TIMES and tail.tensor in makers:
            yield Finding(
                makers[tail.tensor].index,
                RULE,
                f"The scale of {tail.tensor!r} is for values from {tail.low:.3g} to "
                f"{tail.high:.3g}, {reach / tail.quantile:.0f} times what {SHARE:.1%} of its "
                f"absolute values on calibration samples are within: {tail.quantile:.3g}. int8 "
                "leaves those hardly any steps.",
                _ACTIVATION_REMEDY,
            )


def _use(main: Subgraph, reader: Operator | None) -> str:
    """Which operator reads some weights; converters give names to what it makes, not to them."""
    if reader is None or not reader.outputs or reader.outputs[0] < 0:
        return ""
    return f" of {reader.op} {main.tensors[reader.outputs[0]].name!r}"


def _spreads(tensor: Tensor) -> Iterator[_Spread]:
    """The spread of a quantized weight as a whole, and of each channel with enough values.

    Sparse tensors are left out: what they keep is told from rounding by their encoding alone.
    """
    values = _real_steps(tensor)
    if values is None or not values.any():
        return
    scales = np.broadcast_to(tensor.scales.astype(np.float64), len(values))
    everything = (values * scales[:, None]).ravel()
    place = _place(everything.size)
    reach = float(scales[values.any(axis=1)].max() * _MOST)
    if everything.size >= FEWEST_VALUES:
        least = float(scales.min()) / 2
        yield _Spread("", reach, max(float(np.partition(everything, place)[place]), least))
    if values.shape[1] < FEWEST_VALUES or len(values) == 1:
        return
    place = _place(values.shape[1])
    quantiles = np.maximum(np.partition(values, place, axis=1)[:, place], 0.5)
    channel = int(np.argmin(np.where(values.any(axis=1), quantiles, np.inf)))
    scale = float(scales[channel])
    where = f" in channel {channel}"
    yield _Spread(where, scale * _MOST, float(quantiles[channel]) * scale)


def _place(count: int) -> int:
    """Where the quantile is among so many sorted values."""
    return math.floor(SHARE * (count - 1))


def _real_steps(tensor: Tensor) -> Array | None:
    """`[channels, values]`: steps from zero of each weight, one row if there is one scale."""
    axes = len(tensor.shape)
    usable = tensor.constant and not tensor.sparse and tensor.dtype in _TYPES and axes > 1
    scales = tensor.scales
    if not usable or not scales.size or not (np.isfinite(scales) & (scales > 0)).all():
        return None
    values = tensor.values()
    if values is None:
        return None
    rows = values[None] if tensor.scales.size == 1 else values
    if tensor.scales.size > 1:
        axis = tensor.quantized_dimension
        if not 0 <= axis < axes or tensor.shape[axis] != tensor.scales.size:
            return None
        rows = np.moveaxis(values, axis, 0)
    zeros = tensor.zero_points if tensor.zero_points.size == tensor.scales.size else np.zeros(1)
    flat = rows.reshape(len(rows), -1).astype(np.int16)
    return np.abs(flat - zeros.astype(np.int16).reshape(-1, 1)).astype(np.float64)
