"""What a lifted model and its file are both run on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgeprune.conversion.lift.site import quantized, span_of
from edgeprune.core.arrays import Array
from edgeprune.targets.inputs import generated_inputs
from edgeprune.tflite.format.graph import Graph, Tensor
from edgeprune.tflite.format.signature import input_ports

GENERATED = 2
"""Samples that are made up."""
MOST_GIVEN = 8
"""Samples that are taken of many."""


def samples_for(graph: Graph, inputs: Sequence[Array] | None = None) -> list[Array]:
    """Samples as the file can hold them: where it takes quantized values, whole steps of its range.

    Args:
      graph: the file.
      inputs: `[n, ...]` for each input, in the order of the signature; of many, the first
        `MOST_GIVEN` are taken. None to make some up, over the whole of each input's range.

    Returns:
      One array `[n, ...]` of real values per input.

    Raises:
      DataError: as `generated_inputs`.
    """
    arrays = _made_up(graph) if inputs is None else (array[:MOST_GIVEN] for array in inputs)
    tensors = [graph.tensors[port.tensor] for port in input_ports(graph)]
    return [held(tensor, values) for tensor, values in zip(tensors, arrays, strict=True)]


def _made_up(graph: Graph) -> Iterator[Array]:
    arrays = generated_inputs(graph, GENERATED)
    for port, values in zip(input_ports(graph), arrays, strict=True):
        tensor = _stored_as(graph, port.tensor)
        if values.dtype.kind != "f" or tensor is None:
            yield values
            continue
        low, high = span_of(tensor)
        yield (low + (values + 1) / 2 * (high - low)).astype(np.float32)


def _stored_as(graph: Graph, index: int) -> Tensor | None:
    """The quantized tensor that holds an input: itself, or what it is quantized into."""
    readers = graph.subgraphs[0].readers.get(index, ())
    stored = [operator.outputs[0] for operator, _ in readers if operator.op == "QUANTIZE"]
    found = (graph.tensors[at] for at in (index, *stored) if quantized(graph.tensors[at]))
    return next(found, None)


def held(tensor: Tensor, values: Array) -> Array:
    """Real values as a tensor can hold them, rounded and cut where it is quantized."""
    if not quantized(tensor):
        return values
    step = float(tensor.scales[0])
    return np.asarray(np.rint(np.clip(values, *span_of(tensor)) / step) * step, np.float32)
