"""A quantized file with other ranges of some activations; biases follow, weights stay.

before   x (step s) --> CONV w (step v), b (step s v) --> y
after    x (step r) --> CONV w (step v), b (step r v) --> y
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.int8.layers import DATA_AT
from edgeprune.conversion.int8.ranges import Range
from edgeprune.conversion.lift.mend.groups import own_bias
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.draft import Draft, raw_bytes, reread
from edgeprune.tflite.format.graph import Operator

Proposal = tuple[tuple[int, ...], Range]
"""A set of activations, and the range that all of them would have."""
MOST_BIAS = 2**30
"""Largest bias in steps; sums of products are added to it in 32 bits."""


def step_of(dtype: str, ends: Range) -> tuple[np.float32, int]:
    """The scale and zero point with which a type of 8 bits holds a range, and 0 exactly."""
    limits = np.iinfo(dtype)
    low, high = min(ends.low, 0.0), max(ends.high, 0.0)
    scale = np.float32((high - low) / (int(limits.max) - int(limits.min)))
    zero = round(int(limits.min) - low / float(scale))
    return scale, int(np.clip(zero, limits.min, limits.max))


def rescaled(draft: Draft, ranges: Mapping[int, Range]) -> Draft:
    """The file with other ranges.

    Args:
      draft: the file; not used any more.
      ranges: by the index of an activation, the same for all of one of `groups.free_groups`.

    Raises:
      ValueError: a bias is not a number of 32 bits in its new steps.
    """
    main, tensors = draft.graph.subgraphs[0], draft.model.subgraphs[0].tensors
    for index, ends in ranges.items():
        scale, zero = step_of(main.tensors[index].dtype, ends)
        tensors[index].quantization = schema.QuantizationParametersT(
            scale=np.array([scale], np.float32), zeroPoint=np.array([zero], np.int64)
        )
    for operator in main.operators:
        given = operator.inputs[DATA_AT.get(operator.op, 0)] if operator.inputs else -1
        if given in ranges and own_bias(main, operator) is not None:
            step = tensors[given].quantization.scale[0]
            put_bias(draft, operator, step * tensors[operator.inputs[1]].quantization.scale)
    return reread(draft)


def put_bias(draft: Draft, operator: Operator, scales: Array) -> None:
    """Puts the bias of an operator in other steps, in place.

    Args:
      draft: the file.
      operator: of its main subgraph, with a bias of its own.
      scales: the new steps, `[channels]` or `[1]`.

    Raises:
      ValueError: as `rescaled`.
    """
    bias = own_bias(draft.graph.subgraphs[0], operator)
    if bias is None:
        return
    tensor: Any = draft.model.subgraphs[0].tensors[bias.index]
    now = integers(draft, bias.index)
    steps = np.round(now * (tensor.quantization.scale.astype(np.float64) / scales))
    if np.abs(steps).max(initial=0) > MOST_BIAS:
        raise ValueError(f"{bias.name!r} needs more than 32 bits")
    tensor.quantization.scale = scales.astype(np.float32)
    put_data(draft, bias.index, steps.astype(np.int32))


def integers(draft: Draft, index: int) -> Array:
    """What a constant of whole numbers holds by now, `[n]` of its type."""
    tensor: Any = draft.model.subgraphs[0].tensors[index]
    data = bytes(draft.model.buffers[tensor.buffer].data)
    return np.frombuffer(data, np.dtype(draft.graph.tensors[index].dtype))


def put_data(draft: Draft, index: int, values: Array) -> None:
    """Gives a constant other bytes, in place; what shares its bytes keeps them."""
    draft.model.buffers.append(schema.BufferT(data=raw_bytes(values)))
    draft.model.subgraphs[0].tensors[index].buffer = len(draft.model.buffers) - 1
