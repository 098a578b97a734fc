"""The layers of a pruned file whose weights are rounded and whose biases are corrected.

Weights that stand in the file exactly as the pruned network has them stay; the others are moved on
the grid so that what the layer gives on samples stays near, see `int8.rounding`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprune.conversion.int8.layers import ROUNDED
from edgeprune.conversion.int8.patches import as_matrix, from_matrix
from edgeprune.conversion.int8.refine import (
    MOST_INPUTS,
    channel_sums,
    corrected_bias,
    input_products,
)
from edgeprune.conversion.int8.rounding import (
    LARGEST,
    best_of,
    round_weights,
    shrunk,
)
from edgeprune.conversion.int8.segments import Stream, real
from edgeprune.conversion.lift.mend.groups import BYTES, own_bias
from edgeprune.conversion.lift.mend.rescale import MOST_BIAS, integers, put_bias, put_data
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Operator, Subgraph, Tensor


@dataclass(frozen=True, eq=False)
class MendedLayer:
    """What a layer is mended by."""

    sums: Array
    """`[2, channels]` of its output in the pruned network, see `watch.Watched`."""
    weights: Array | None
    """Its weights there, float32 in the order of the file; None where they are not rounded."""


def correctable(main: Subgraph) -> Iterator[Operator]:
    """The operators with a bias of their own and results of 8 bits."""
    for operator in main.operators:
        if own_bias(main, operator) is not None:
            output = main.tensors[operator.outputs[0]]
            if output.dtype in BYTES and output.scales.size == 1:
                yield operator


def may_be_rounded(main: Subgraph, operator: Operator) -> bool:
    """Whether the weights of an operator are its own, of 8 bits, and what it reads is known."""
    if operator.op not in ROUNDED or own_bias(main, operator) is None:
        return False
    given, weights = (main.tensors[index] for index in operator.inputs[:2])
    grouped = operator.op == "CONV_2D" and weights.shape[-1] != given.shape[-1]
    return (
        weights.dtype in BYTES
        and given.dtype in BYTES
        and weights.constant
        and not weights.sparse
        and len(main.readers[weights.index]) == 1
        and as_matrix(operator.op, np.empty(weights.shape, bool)).shape[1] <= MOST_INPUTS
        and not grouped
    )


def mend_layers(stream: Stream, layers: Mapping[int, MendedLayer], *, rounding: bool) -> None:
    """Mends a file layer after layer, each behind those that are mended already, in place.

    Args:
      stream: at the beginning of the file.
      layers: by the tensor that each gives.
      rounding: whether weights are rounded anew; biases are corrected in any case.
    """
    for operator in stream.main.operators:
        layer = layers.get(operator.outputs[0]) if operator.outputs else None
        if layer is not None:
            if rounding and layer.weights is not None:
                _round(stream, operator, layer.weights)
            _correct(stream, operator, layer.sums)
        stream.step(operator)


def _round(stream: Stream, operator: Operator, weights: Array) -> None:
    draft, tensor = stream.draft, stream.main.tensors[operator.inputs[1]]
    zero = int(tensor.zero_points[0]) if tensor.zero_points.size else 0
    stored = tensor.values()
    if stored is None:
        return
    wanted = as_matrix(operator.op, weights).astype(np.float64)
    steps = as_matrix(operator.op, stored.astype(np.int64) - zero)
    scales = np.resize(tensor.scales, len(steps)).astype(np.float32)
    kept = (steps * scales[:, None].astype(np.float64)).astype(np.float32) == wanted
    if kept.all():
        return
    sums = input_products(stream, operator, tensor)
    limits = _limits(tensor.dtype, zero, steps)
    tried = _tried(draft, operator, tensor, wanted, kept, scales)
    scales = best_of(sums, wanted, tried, shared=tensor.scales.size == 1, limits=limits)
    found = round_weights(sums, wanted, scales, limits=limits, kept=kept)
    values = from_matrix(operator.op, found.stored + zero, tensor.shape)
    put_data(draft, tensor.index, values.astype(tensor.dtype))
    new = scales[: tensor.scales.size]
    edited: Any = draft.model.subgraphs[0].tensors[tensor.index]
    edited.quantization.scale = new
    put_bias(draft, operator, stream.main.tensors[operator.inputs[0]].scales * new)


def _limits(dtype: str, zero: int, steps: Array) -> tuple[int, int]:
    """The least and the largest step from the zero point; symmetric weights leave one out."""
    ends = np.iinfo(dtype)
    low = -LARGEST if dtype == "int8" and not zero else int(ends.min) - zero
    return min(low, int(steps.min())), int(ends.max) - zero


def _tried(
    draft: Draft, operator: Operator, tensor: Tensor, wanted: Array, kept: Array, scales: Array
) -> Array:
    """`[n, outputs]`: scales of weights that are tried, those of the file first.

    Outputs with weights that stay as they are keep their scale.
    """
    loose = ~np.any(kept & (wanted != 0), axis=1)
    loose = np.full_like(loose, loose.all()) if tensor.scales.size == 1 else loose
    whole = scales
    if not tensor.zero_points.any():
        largest = np.abs(wanted).max(axis=1)
        largest = np.full_like(largest, largest.max()) if tensor.scales.size == 1 else largest
        whole = np.where(largest > 0, largest / LARGEST, scales).astype(np.float32)
    least = _least_scales(draft, operator)
    tried = np.maximum(shrunk(whole), least)
    every: Array = np.concatenate([scales[None], np.where(loose, tried, scales)])
    return every.astype(np.float32)


def _least_scales(draft: Draft, operator: Operator) -> Array:
    """The scales of weights with which the bias of a layer is a number of 32 bits."""
    bias = own_bias(draft.graph.subgraphs[0], operator)
    if bias is None:
        return np.zeros(1)
    step = float(draft.graph.tensors[operator.inputs[0]].scales[0])
    real = integers(draft, bias.index) * _scales(draft, bias).astype(np.float64)
    found: Array = np.abs(real) / (step * MOST_BIAS)
    return found


def _correct(stream: Stream, operator: Operator, sums: Array) -> None:
    """Corrects the bias of a layer by what it gives on the samples."""
    bias = own_bias(stream.main, operator)
    if bias is None:
        return
    output = operator.outputs[0]
    found = real(stream.main.tensors[output], stream.run(operator)[0])
    excess = channel_sums(found, -np.inf, np.inf)[0] - sums[0]
    now, scales = integers(stream.draft, bias.index), _scales(stream.draft, bias)
    put_data(stream.draft, bias.index, corrected_bias(now, excess, sums[1], scales))


def _scales(draft: Draft, tensor: Tensor) -> Array:
    """The scales of a constant by now."""
    edited: Any = draft.model.subgraphs[0].tensors[tensor.index]
    return np.asarray(edited.quantization.scale, np.float32)
