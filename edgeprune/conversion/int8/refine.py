"""Mends an int8 file layer after layer, each behind those that are mended already.

Two things are done to a layer by what it gives on calibration samples. Its weights are rounded with
each other in view (`rounding`). Then its bias takes off what every channel gives too much in the
mean: rounding shifts means, and all that follows is computed from them. Source of that: Nagel et
al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, arXiv:1906.04721,
the empirical form of bias correction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from edgeprune.conversion.int8.layers import Layer, find_layers, positions_of
from edgeprune.conversion.int8.patches import as_matrix, from_matrix, patches
from edgeprune.conversion.int8.rounding import Grid, best_scales, products, round_weights
from edgeprune.conversion.int8.segments import Stream, real, stored
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.draft import Draft, raw_bytes
from edgeprune.tflite.format.graph import Operator, Tensor
from edgeprune.tflite.format.signature import input_ports

_LEAST_OPEN = 0.1
"""A channel that is open less often than this is corrected as if it were open this often."""
_POSITIONS = 4096
"""Positions of a layer's output that its mean is taken over, where as many samples have them."""
_FEWEST_ROWS = 8
"""Samples that a mean is taken over at least; positions of one image resemble each other."""
_PATCHES = {"CONV_2D": 8192, "DEPTHWISE_CONV_2D": 2048, "FULLY_CONNECTED": 8192}
"""Positions that weights are rounded by, over all samples; few inputs per output need fewer."""
MOST_INPUTS = 2304
"""Layers with more inputs per output are rounded to nearest, since their sums take minutes."""
_STEADY = 0.02
"""See `products`."""
_INT32 = np.iinfo(np.int32)

Seen = TypeVar("Seen")


def corrected_bias(stored: Array, excess: Array, open_share: Array, scales: Array) -> Array:
    """The int32 bias that takes off what every channel gives too much in the mean.

    A bias moves a value only where the activation does not clip it, so that the mean moves by that
    share of a change.

    Args:
      stored: the bias in the file, `[channels]` of int32.
      excess: mean of int8 minus mean of float, behind the activation, `[channels]`, real values.
      open_share: the share of values that the activation does not clip, `[channels]`.
      scales: of the bias, `[channels]` or `[1]`: scale of the input times that of the weight.
    """
    step = np.round(excess / np.maximum(open_share, _LEAST_OPEN) / scales)
    return _as_int32(stored.astype(np.float64) - step)


def _as_int32(values: Array) -> Array:
    clipped: Array = np.clip(values, _INT32.min, _INT32.max).astype(np.int32)
    return clipped


def channel_sums(value: Array, low: float, high: float) -> Array:
    """`[2, channels]`: the mean over all axes but the last, and the share between two limits."""
    rows = value.reshape(-1, value.shape[-1]).astype(np.float64)
    inside: Array = (rows > low) & (rows < high)
    return np.stack([rows.mean(axis=0), inside.mean(axis=0)])


def stream_of(draft: Draft, samples: Mapping[str, Array], *, delegates: bool) -> Stream:
    """A stream over samples `[n, ...]` by the input's name in the signature."""
    tensors, ports = draft.graph.tensors, input_ports(draft.graph)
    given = {port.tensor: stored(tensors[port.tensor], samples[port.name]) for port in ports}
    return Stream(draft, given, runtime="LiteRT", delegates=delegates)


class FloatLayers(Generic[Seen]):
    """The float file, run as far as somebody asks for one of its layers.

    `look` takes what is asked for of a layer, when its output is there.
    """

    def __init__(
        self, stream: Stream, layers: Sequence[Layer], look: Callable[[Stream, Layer], Seen]
    ) -> None:
        self._stream, self._look = stream, look
        self._layers = {layer.floating.index: layer for layer in layers}
        self._seen: dict[int, Seen] = {}
        self._operators = iter(stream.main.operators)

    def of(self, layer: Layer) -> Seen:
        """What was seen of a layer; asked for once per layer."""
        while layer.floating.index not in self._seen:
            operator = next(self._operators)
            self._stream.step(operator)
            asked = self._layers.get(operator.index)
            if asked is not None:
                self._seen[operator.index] = self._look(self._stream, asked)
        return self._seen.pop(layer.floating.index)


def _float_sums(stream: Stream, layer: Layer) -> Array:
    values = stream.real(layer.floating.outputs[0], _mean_rows(layer, stream.count))
    return channel_sums(values, *layer.limits)


def _mean_rows(layer: Layer, count: int) -> int:
    """How many samples a layer's mean takes: fewer where each has many positions."""
    return min(count, max(_FEWEST_ROWS, math.ceil(_POSITIONS / positions_of(layer.output))))


def refine_all(drafts: Mapping[bool, Draft], floating: Draft, samples: Mapping[str, Array]) -> None:
    """Mends drafts of one file in place, with rounding of weights (True) and without (False).

    Args:
      drafts: int8 files, see `with_own_biases`.
      floating: the float32 file of the same model.
      samples: calibration data `[n, ...]` by the input's name in the signature.
    """
    streams = {key: stream_of(draft, samples, delegates=False) for key, draft in drafts.items()}
    layers = by_operator(next(iter(drafts.values())), floating)
    floats = FloatLayers(
        stream_of(floating, samples, delegates=True), list(layers.values()), _float_sums
    )
    for operator in next(iter(streams.values())).main.operators:
        layer = layers.get(operator.index)
        wanted = None if layer is None else floats.of(layer)
        for rounding, stream in streams.items():
            if layer is not None and wanted is not None:
                if rounding:
                    _round(stream, layer)
                _correct(stream, layer, wanted)
            stream.step(operator)


def by_operator(draft: Draft, floating: Draft) -> dict[int, Layer]:
    """The layers of an int8 file by the index of their operator."""
    return {layer.operator.index: layer for layer in find_layers(draft, floating.graph)}


def _round(stream: Stream, layer: Layer) -> None:
    """Rounds the weights of a layer in the draft of a stream that stands before it."""
    floats = None if layer.kept is None else layer.kept.values()
    if layer.weights is None or floats is None:
        return
    matrix = as_matrix(layer.operator.op, floats).astype(np.float64)
    if matrix.shape[1] > MOST_INPUTS:
        return
    sums = input_products(stream, layer.operator, layer.weights)
    scales = best_scales(sums, matrix, shared=layer.weights.scales.size == 1)
    write_weights(stream.draft, layer, round_weights(sums, matrix, scales))


def input_products(stream: Stream, operator: Operator, weights: Tensor) -> Array:
    """Sums of products of what a layer reads, see `products`.

    Args:
      stream: stands before the layer.
      operator: one of `ROUNDED`, not grouped.
      weights: its weights.
    """
    values = stream.real(operator.inputs[0])
    positions = _positions(operator, stream.main.tensors[operator.outputs[0]], stream.count)
    return products(patches(operator, weights, values, positions), steady=_STEADY)


def _positions(operator: Operator, output: Tensor, count: int) -> Array:
    """`[samples, positions]`: where the inputs of a layer are taken."""
    there = positions_of(output)
    each = min(there, math.ceil(_PATCHES[operator.op] / count))
    generator = np.random.default_rng(operator.index)
    return np.stack([generator.choice(there, each, replace=False) for _ in range(count)])


def write_weights(draft: Draft, layer: Layer, grid: Grid) -> None:
    """Puts weights and their scales into a draft, and the bias in the steps that follow of them."""
    weights, bias, before = layer.weights, layer.bias, layer.bias.values()
    if weights is None or before is None:
        return
    tensors, buffers = draft.model.subgraphs[0].tensors, draft.model.buffers
    given = draft.graph.tensors[layer.operator.inputs[0]]
    scales = grid.scales[: weights.scales.size]
    steps = (given.scales * scales).astype(np.float32)
    matrix = from_matrix(layer.operator.op, grid.stored.astype(np.int8), weights.shape)
    buffers[weights.buffer].data = raw_bytes(matrix)
    tensors[weights.index].quantization.scale = scales
    tensors[bias.index].quantization.scale = steps
    moved = np.round(before * bias.scales.astype(np.float64) / steps)
    buffers[bias.buffer].data = raw_bytes(_as_int32(moved))


def _correct(stream: Stream, layer: Layer, wanted: Array) -> None:
    """Corrects the bias of a layer by what it gives on some of the samples."""
    buffer = stream.draft.model.buffers[layer.bias.buffer]
    scales = stream.draft.model.subgraphs[0].tensors[layer.bias.index].quantization.scale
    found = stream.run(layer.operator, _mean_rows(layer, stream.count))[0]
    mean = channel_sums(real(layer.output, found), *layer.limits)[0]
    now = np.frombuffer(bytes(buffer.data), np.int32)
    bias = corrected_bias(now, mean - wanted[0], wanted[1], np.asarray(scales))
    buffer.data = raw_bytes(bias)


def signals(
    draft: Draft, floating: Draft, samples: Mapping[str, Array]
) -> Iterator[tuple[Layer, float | None]]:
    """The signal-to-noise ratio of every layer's output, in decibels.

    The noise includes that of all layers before it.
    """
    stream, layers = stream_of(draft, samples, delegates=False), by_operator(draft, floating)
    outputs = stream_of(floating, samples, delegates=True)
    floats = FloatLayers(outputs, list(layers.values()), _float_outputs)
    for operator in stream.main.operators:
        stream.step(operator)
        layer = layers.get(operator.index)
        if layer is not None:
            wanted = floats.of(layer).astype(np.float64)
            error = stream.real(operator.outputs[0]) - wanted
            yield layer, signal_to_noise(float(np.sum(wanted**2)), float(np.sum(error**2)))


def _float_outputs(stream: Stream, layer: Layer) -> Array:
    return stream.real(layer.floating.outputs[0])


def signal_to_noise(signal: float, noise: float) -> float | None:
    """The ratio of two sums of squares in decibels; None where one of them is 0."""
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
