"""Stores the weights of a .tflite file sparsely.

A tensor behind DENSIFY keeps its place: the tensor that operators read stays where it is, under
its name and with its quantization, and only its bytes move to a new sparse tensor at the end. So
`densify_file` finds everything where it was. Values are moved bit for bit in both directions, but
for -0.0, which is stored as 0.0 is: not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError
from edgeprune.tflite.format import sparse_tensor
from edgeprune.tflite.format.draft import (
    Draft,
    code_index,
    empty_buffer,
    load,
    raw_bytes,
    reread,
    write_or_copy,
)
from edgeprune.tflite.format.sparse_tensor import DenseLevel, Level, SparseTensor
from edgeprune.tflite.metadata import HALVES_NAME, asks_for_halves, drop_metadata
from edgeprune.tflite.rewrites import Applied, Rewritten, rewrite
from edgeprune.tflite.storage_plan import DIRECT_VERSION, EncodingRules, TensorPlan, plan_encoding

_SPARSE_NAME_SUFFIX = b"/sparse"
_INDEX_VECTORS: Mapping[str, tuple[int, type]] = {
    "int32": (schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
    "uint16": (schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
    "uint8": (schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
}


@dataclass(frozen=True)
class EncodingResult:
    """What `encode_file` did: both files' sizes, and how each weight is stored now and why.

    `rewrites` are the exact changes of the network that let sparse kernels run; `network` says what
    came of them, empty where the device has no sparse mode.
    """

    source: Path
    output: Path
    bytes_before: int
    bytes_after: int
    tensors: tuple[TensorPlan, ...]
    rewrites: tuple[Applied, ...] = ()
    network: str = ""


def encode_file(source: Path, rules: EncodingRules, output: Path) -> EncodingResult:
    """Rewrites a network for sparse kernels, and stores weights sparsely where that is right.

    Weights are stored sparsely where the rules and the runtimes' kernels allow it and it is
    smaller; the network is rewritten where that makes it run sparsely as a whole.

    Where nothing can be gained, `output` is an equal file.

    Raises:
      TfliteError: `source` is not a sound .tflite file.
      OutputError: `output` cannot be written.
    """
    opened = load(source)
    fitted = fit_network(opened, rules)
    plans = plan_encoding(fitted.draft.graph, rules)
    changed = apply_plans(fitted.draft, plans) or fitted.draft is not opened
    size = write_or_copy(fitted.draft, output, changed=changed)
    before = opened.graph.size_bytes
    return EncodingResult(source, output, before, size, plans, fitted.applied, fitted.reason)


def fit_network(draft: Draft, rules: EncodingRules) -> Rewritten:
    """Rewrites a network for the sparse mode of the runtimes, where the device has one.

    A file that asks for half precision loses that request where its network then runs sparsely, as
    runtimes compute NaN or crash with both; elsewhere it keeps it, and stays dense. Where no
    runtime skips zeros on the device's core nothing is rewritten: it would only cost there.
    """
    if not rules.sparse_networks or rules.no_gain:
        return Rewritten(draft, (), (), rules.no_gain)
    if not asks_for_halves(draft.graph.metadata):
        return rewrite(draft, rules.runtimes)
    fitted = rewrite(_without_halves(draft), rules.runtimes)
    if not fitted.on:
        return replace(fitted, draft=draft)
    dropped = f"and its request for half precision (metadata {HALVES_NAME!r}) is dropped"
    reason = f"{fitted.reason}, {dropped}: both at once compute NaN or crash"
    return replace(fitted, reason=reason)


def _without_halves(draft: Draft) -> Draft:
    changed = reread(draft)
    drop_metadata(changed.model, HALVES_NAME)
    return reread(changed)


def apply_plans(draft: Draft, plans: Sequence[TensorPlan]) -> bool:
    """Stores tensors of the main subgraph as planned; says whether any is not dense.

    Edits `draft.model` in place.
    """
    chosen = [plan for plan in plans if plan.storage != "dense"]
    for plan in chosen:
        _store_sparse(draft, plan)
    _set_versions(draft, {plan.tensor for plan in chosen if plan.storage == "direct"})
    _insert_densify(draft, [plan.tensor for plan in chosen if plan.storage == "densify"])
    return bool(chosen)


def _store_sparse(draft: Draft, plan: TensorPlan) -> None:
    """Encodes one tensor; with DENSIFY the encoded one is new and takes over the bytes."""
    tensor = draft.graph.tensors[plan.tensor]
    values = tensor.values()
    if values is None or plan.layout is None:
        raise TfliteError(
            f"{draft.graph.path}: {plan.name!r}: expected a constant and a layout for it. "
            "Received: a plan that is not of this file. Plan the encoding again."
        )
    sparse = sparse_tensor.encode_tensor(sparse_tensor.plain_zeros(values), plan.layout)
    subgraph = draft.model.subgraphs[0]
    draft.model.buffers[tensor.buffer].data = raw_bytes(sparse.values)
    target = subgraph.tensors[tensor.index]
    if plan.storage == "densify":
        target.buffer = empty_buffer(draft.model)
        target = schema.TensorT(
            shape=target.shape,
            type=target.type,
            buffer=tensor.buffer,
            name=(target.name or b"") + _SPARSE_NAME_SUFFIX,
            hasRank=target.hasRank,
        )
        subgraph.tensors.append(target)
    target.sparsity = _parameters(sparse)


def _parameters(sparse: SparseTensor) -> Any:
    return schema.SparsityParametersT(
        traversalOrder=np.array(sparse.traversal, np.int32),
        blockMap=np.array(sparse.block_map, np.int32) if sparse.block_map else None,
        dimMetadata=[_dimension(level) for level in sparse.levels],
    )


def _dimension(level: Level) -> Any:
    if isinstance(level, DenseLevel):
        return schema.DimensionMetadataT(schema.DimensionType.DENSE, level.size)
    kinds = [_index_vector(vector) for vector in (level.segments, level.indices)]
    (segments_type, segments), (indices_type, indices) = kinds
    return schema.DimensionMetadataT(
        format=schema.DimensionType.SPARSE_CSR,
        arraySegmentsType=segments_type,
        arraySegments=segments,
        arrayIndicesType=indices_type,
        arrayIndices=indices,
    )


def _index_vector(vector: Array) -> tuple[int, Any]:
    tag, make = _INDEX_VECTORS[vector.dtype.name]
    return tag, make(values=vector)


def _insert_densify(draft: Draft, tensors: Sequence[int]) -> None:
    """Puts a DENSIFY in front of the first reader of each tensor.

    The sparse sources are the last tensors of the subgraph, in the order of `tensors`.
    """
    if not tensors:
        return
    subgraph = draft.model.subgraphs[0]
    first_source = len(subgraph.tensors) - len(tensors)
    code = code_index(draft.model, schema.BuiltinOperator.DENSIFY, 1)
    waiting = {tensor: first_source + i for i, tensor in enumerate(tensors)}
    operators = []
    for operator in subgraph.operators:
        for index in operator.inputs if operator.inputs is not None else ():
            if index in waiting:
                operators.append(_densify_operator(code, waiting.pop(index), int(index)))
        operators.append(operator)
    subgraph.operators = operators


def _densify_operator(code: int, source: int, output: int) -> Any:
    return schema.OperatorT(
        opcodeIndex=code,
        inputs=np.array([source], np.int32),
        outputs=np.array([output], np.int32),
        builtinOptionsType=schema.BuiltinOptions.DensifyOptions,
        builtinOptions=schema.DensifyOptionsT(),
    )


def _set_versions(draft: Draft, tensors: Collection[int]) -> None:
    """Gives every FULLY_CONNECTED that takes one of the tensors as weights the direct version."""
    if not tensors:
        return
    code = code_index(draft.model, schema.BuiltinOperator.FULLY_CONNECTED, DIRECT_VERSION)
    for operator in draft.graph.operators:
        if operator.op == "FULLY_CONNECTED" and operator.inputs[1] in tensors:
            draft.model.subgraphs[0].operators[operator.index].opcodeIndex = code
