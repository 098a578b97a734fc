"""Channel permutation for `NofM`: reorders input channels so that more weight is kept.

Which weights share a group of `m` depends on the order of the channels, and that is free inside a
network: the layer that makes the channels is reordered too, with all layers between, and the
network computes the same as before. Followed are the channels of a convolution or Dense layer
through layers that treat every channel alike or apart (batch normalisation, activations, pooling,
depthwise convolutions) to all the layers that mix them. Where anything else takes them, such as the
addition of a residual branch or an output of the model, they are left in their order.

Source: Pool and Yu, "Channel Permutations for N:M Sparsity", NeurIPS 2021; here groups are improved
two at a time, over all ways to split their channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from edgeprune.conversion.lift.layers import Saturate
from edgeprune.core.arrays import Array
from edgeprune.core.pattern import NofM
from edgeprune.core.plan import LayerPlan
from edgeprune.keras_model.calls import Call, CallGraph, read_calls
from edgeprune.keras_model.layers import Layer, LayerMap, Model, has_graph

Order = npt.NDArray[np.intp]

PAIRS_PER_GROUP = 30
"""Number of pairs of groups that are tried, per group."""
MAX_JUDGED_ROWS = 512
"""Most rows of weights that an order is evaluated on; of more, evenly spaced ones are taken."""
_MIXING = ("Dense", "Conv1D", "Conv2D")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_ALIKE = (
    keras.layers.Activation,
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.LeakyReLU,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.ReLU,
    keras.layers.SpatialDropout2D,
    keras.layers.UpSampling2D,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    Saturate,
)


@dataclass(frozen=True)
class Passage:
    """Channels from the layer that makes them to those that mix them."""

    producer: Layer
    between: tuple[Layer, ...]
    """Layers with weights per channel: batch normalisation, depthwise convolutions."""
    consumers: tuple[Layer, ...]


def permute_channels(mapped: LayerMap, rows: Mapping[str, LayerPlan]) -> list[str]:
    """Reorders channels in front of layers that get an `NofM`, in place; outputs stay the same.

    Args:
      mapped: a built Keras model; only the order of its weights changes.
      rows: the layers to be pruned, by path.

    Returns:
      The paths of the layers whose channels were reordered.
    """
    patterns = {
        id(mapped.layers[path]): row.pattern
        for path, row in rows.items()
        if isinstance(row.pattern, NofM)
    }
    changed = []
    for passage in passages(mapped.model) if patterns else ():
        pruned = [layer for layer in passage.consumers if id(layer) in patterns]
        if not pruned:
            continue
        pattern = patterns[id(pruned[0])]
        weights = np.concatenate([_by_channel(layer) for layer in pruned])
        order = best_order(weights, pattern)
        if (order != np.arange(len(order))).any():
            _reorder(passage, order)
            changed += [mapped.paths[id(layer)] for layer in pruned]
    return changed


def passages(model: Model) -> tuple[Passage, ...]:
    """The channels of a model whose order is free."""
    if not has_graph(model):
        return ()
    graph = read_calls(model)
    found = (
        _follow(graph, call)
        for call in graph.calls
        if _is_mixing(call.operation) and not _has_softmax(call.operation)
    )
    return tuple(
        passage
        for passage in found
        if passage is not None
        and all(
            len(graph.calls_of(layer)) == 1
            for layer in (passage.producer, *passage.between, *passage.consumers)
        )
    )


def _follow(graph: CallGraph, producer: Call) -> Passage | None:
    """Where the output channels of a layer go; None if anything ties them to an order."""
    between: list[Layer] = []
    consumers: list[Layer] = []
    waiting = list(producer.outputs)
    while waiting:
        value = waiting.pop()
        takers = graph.takers.get(value, ())
        if value in graph.outputs or not takers:
            return None
        for call in takers:
            if _is_mixing(call.operation):
                consumers.append(call.operation)
            elif len(call.inputs) == 1 and _passes(call.operation):
                between += [call.operation] if call.operation.weights else []
                waiting += call.outputs
            else:
                return None
    return Passage(producer.operation, tuple(between), tuple(consumers))


def _is_mixing(operation: Any) -> bool:
    return (
        type(operation).__name__ in _MIXING
        and getattr(operation, "groups", 1) == 1
        and getattr(operation, "data_format", None) != "channels_first"
    )


def _has_softmax(operation: Any) -> bool:
    return getattr(operation, "activation", None) is keras.activations.softmax


def _passes(operation: Any) -> bool:
    """Whether a layer treats all channels alike, or each apart from the others."""
    if getattr(operation, "data_format", None) == "channels_first" or _has_softmax(operation):
        return False
    if isinstance(operation, keras.layers.BatchNormalization):
        return bool(operation.axis == -1)
    if type(operation).__name__ in _DEPTHWISE:
        return bool(operation.depth_multiplier == 1)
    return type(operation) in _ALIKE


def _by_channel(layer: Layer) -> Array:
    """`[rows, channels]`: magnitudes; outputs and kernel positions are rows."""
    kernel = np.abs(np.asarray(layer.kernel, np.float64))
    return np.moveaxis(kernel, -2, -1).reshape(-1, kernel.shape[-2])


def _reorder(passage: Passage, order: Order) -> None:
    producer = passage.producer
    producer.kernel.assign(np.asarray(producer.kernel)[..., order])
    if producer.use_bias:
        producer.bias.assign(np.asarray(producer.bias)[order])
    for layer in passage.between:
        for variable in layer.weights:
            values = np.asarray(variable)
            variable.assign(values[..., order, :] if values.ndim > 1 else values[order])
    for layer in passage.consumers:
        layer.kernel.assign(np.asarray(layer.kernel)[..., order, :])


def best_order(weights: Array, pattern: NofM) -> Order:
    """An order of channels in which an `NofM` keeps more weight.

    Args:
      weights: magnitudes `[rows, channels]`.
      pattern: the pattern along the channels.

    Returns:
      `[channels]`, indices; the given order if `channels` is not a multiple of `pattern.m`.
    """
    channels = weights.shape[1]
    order = np.arange(channels)
    groups = channels // pattern.m
    if channels % pattern.m or groups < 2:
        return order
    judged = weights[:: -(-len(weights) // MAX_JUDGED_ROWS)]
    splits = _splits(pattern.m)
    generator = np.random.default_rng(0)
    for _ in range(PAIRS_PER_GROUP * groups):
        first, second = generator.choice(groups, 2, replace=False)
        places = np.concatenate(
            [np.arange(group * pattern.m, (group + 1) * pattern.m) for group in (first, second)]
        )
        members = judged[:, order[places]]
        best = int(np.argmax(_kept_by_splits(members, splits, pattern)))
        order[places] = order[places][splits[best]]
    return order


def _splits(m: int) -> Order:
    """`[splits, 2 m]`: every way to split `2 m` channels into two groups, the given one first."""
    everything = range(2 * m)
    splits = [
        [*chosen, *(other for other in everything if other not in chosen)]
        for chosen in combinations(everything, m)
        if 0 in chosen
    ]
    return np.array(splits)


def _kept_by_splits(members: Array, splits: Order, pattern: NofM) -> Array:
    """`[splits]`: the weight that each split keeps."""
    parts = members[:, splits].reshape(len(members), len(splits), 2, pattern.m)
    top = np.partition(parts, pattern.m - pattern.n, axis=-1)[..., -pattern.n :]
    total: Array = top.sum(axis=(0, 2, 3))
    return total
