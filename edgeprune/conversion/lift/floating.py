"""A file whose weights of whole numbers are floats: what a lift of it computes with.

Hybrid operators round activations to whole numbers as well. That is a speed-up of the runtime, and
no part of what the file says; a lifted model has to be compared without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.operators.folding import FOLDS
from edgeprune.conversion.lift.operators.table import LIFTS
from edgeprune.conversion.lift.site import quantized, restored
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft, raw_bytes
from edgeprune.tflite.format.graph import RESTORING, Graph, Operator, Subgraph, Tensor

_TABLES = {"GATHER": 0, "EMBEDDING_LOOKUP": 1}
"""Operators that take rows of a table, and at which of their inputs it stands."""


def hybrid_weights(graph: Graph) -> tuple[int, ...]:
    """The quantized constants of the main subgraph that operators read beside real values.

    Those of operators that are never lifted stay as they are: the interpreter runs them.
    """
    subgraph = graph.subgraphs[0]
    return tuple(
        tensor.index
        for tensor in subgraph.tensors
        if tensor.constant and quantized(tensor) and _is_hybrid(subgraph, tensor)
    )


def _is_hybrid(subgraph: Subgraph, tensor: Tensor) -> bool:
    readers = [operator for operator, _ in subgraph.readers.get(tensor.index, ())]
    return all(operator.op in (*LIFTS, *FOLDS) for operator in readers) and any(
        operator.op not in RESTORING and not in_steps(subgraph, operator) for operator in readers
    )


def in_steps(subgraph: Subgraph, operator: Operator) -> bool:
    """Whether an operator makes quantized values, of quantized ones."""
    return any(quantized(subgraph.tensors[index]) for index in operator.outputs if index >= 0)


def computes_in_steps(graph: Graph) -> bool:
    """Whether the main subgraph takes or makes quantized values.

    Rows of a quantized table that are turned into floats do not count: nothing computes with them.
    """
    main = graph.subgraphs[0]
    takes = any(quantized(main.tensors[index]) for index in main.inputs)
    return takes or any(
        in_steps(main, operator) and not _looks_up_floats(main, operator)
        for operator in main.operators
    )


def _looks_up_floats(main: Subgraph, operator: Operator) -> bool:
    """Whether an operator takes rows of a constant table, which DEQUANTIZE reads alone."""
    place = _TABLES.get(operator.op)
    if place is None or not main.tensors[operator.inputs[place]].constant:
        return False
    made = operator.outputs[0]
    readers = {reader.op for reader, _ in main.readers.get(made, ())}
    return made not in main.outputs and readers <= {"DEQUANTIZE"}


def with_float_weights(draft: Draft) -> Draft:
    """Turns hybrid weights into floats, in place; returns the draft."""
    for index in hybrid_weights(draft.graph):
        _make_float(draft, draft.graph.tensors[index])
    return draft


def _make_float(draft: Draft, tensor: Tensor) -> None:
    model = draft.model
    edited: Any = model.subgraphs[0].tensors[tensor.index]
    values = restored(draft.graph.subgraphs[0], tensor.index)
    if values is None:
        return
    model.buffers.append(schema.BufferT(data=raw_bytes(np.asarray(values, np.float32))))
    edited.buffer = len(model.buffers) - 1
    edited.type = schema.TensorType.FLOAT32
    edited.quantization = edited.sparsity = None


def write_exposed(draft: Draft, tensors: Sequence[int], path: Path) -> None:
    """Writes a file whose outputs are the given tensors, and which has no signature."""
    draft.model.subgraphs[0].outputs = np.array(tensors, np.int32)
    draft.model.signatureDefs = []
    tflite_draft.write(draft, path)
