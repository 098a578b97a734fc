"""Stores the sparse weights of a .tflite file densely again: the way back from `encode`.

It also reads what TensorFlow's own converter makes with EXPERIMENTAL_SPARSITY.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.errors import TfliteError
from edgeprune.tflite.decode.unpack import unpack_weights
from edgeprune.tflite.format.draft import DenseLater, Draft, code_index, load, reread, write_or_copy
from edgeprune.tflite.format.draft_indices import drop_tensors, named_by_signatures
from edgeprune.tflite.format.file import Operator, Subgraph, Tensor
from edgeprune.tflite.format.sparse_tensor import SparseTensor
from edgeprune.tflite.storage_plan import DIRECT_VERSION

Sparse: TypeAlias = tuple[tuple[int, frozenset[int]], ...]
"""Each subgraph's index, and its sparse tensors by theirs."""


@dataclass(frozen=True)
class DensifyResult:
    """What `densify_file` did: the sizes of both files, and the names of the tensors made dense."""

    source: Path
    output: Path
    bytes_before: int
    bytes_after: int
    tensors: tuple[str, ...]


def densify_file(source: Path, output: Path) -> DensifyResult:
    """Stores every sparse tensor densely, and removes the DENSIFY operators in front of them.

    What is packed behind TFLite Micro's DECODE is unpacked too. Where nothing is sparse or packed,
    `output` is an equal file.

    Raises:
      TfliteError: `source` is not a sound .tflite file.
      OutputError: `output` cannot be written.
    """
    opened = load(source)
    names = [*unpack_weights(opened)]
    draft = reread(opened) if names else opened
    sparse = make_dense(draft)
    names += [draft.graph.subgraphs[i].tensors[k].name for i, part in sparse for k in sorted(part)]
    remove_densify(draft, sparse)
    size = write_or_copy(draft, output, changed=bool(names))
    return DensifyResult(source, output, opened.graph.size_bytes, size, tuple(names))


def make_dense(draft: Draft) -> Sparse:
    """Gives sparse tensors their dense bytes, in place; DENSIFY operators stay until they are
    removed by `remove_densify`, and so do the indices of all tensors.

    Raises:
      TfliteError: a DENSIFY operator whose output is not what its input is when dense.
    """
    found = []
    for index, subgraph in enumerate(draft.graph.subgraphs):
        sparse = set()
        for tensor in subgraph.tensors:
            if tensor.encoding is not None:
                _store_dense(draft, index, tensor, tensor.encoding)
                sparse.add(tensor.index)
        found.append((index, frozenset(sparse)))
    return tuple(found)


def remove_densify(draft: Draft, sparse: Sparse) -> None:
    """Removes the DENSIFY operators of tensors that `make_dense` made dense, in place."""
    for index, tensors in sparse:
        _remove_densify(draft, index, tensors)


def _store_dense(draft: Draft, subgraph_index: int, tensor: Tensor, encoding: SparseTensor) -> None:
    """Gives a sparse tensor's dense bytes to the outputs of its DENSIFY operators and to itself."""
    subgraph = draft.graph.subgraphs[subgraph_index]
    tensors = draft.model.subgraphs[subgraph_index].tensors
    buffer = _own_buffer(draft, tensor)
    draft.model.buffers[buffer].data = DenseLater(encoding)
    tensors[tensor.index].sparsity = None
    tensors[tensor.index].buffer = buffer
    for operator, _ in subgraph.readers.get(tensor.index, ()):
        if operator.op == "DENSIFY":
            for output in operator.outputs:
                _check_same(draft, tensor, subgraph.tensors[output])
                tensors[output].buffer = buffer
        elif operator.op == "FULLY_CONNECTED" and operator.version == DIRECT_VERSION:
            code = schema.BuiltinOperator.FULLY_CONNECTED
            version = code_index(draft.model, code, _dense_version(subgraph, operator))
            draft.model.subgraphs[subgraph_index].operators[operator.index].opcodeIndex = version


def _own_buffer(draft: Draft, tensor: Tensor) -> int:
    """Returns the tensor's buffer, or a new one where others use the same bytes."""
    if draft.graph.buffer_owners[tensor.buffer] == 1:
        return tensor.buffer
    draft.model.buffers.append(schema.BufferT())
    return len(draft.model.buffers) - 1


def _check_same(draft: Draft, source: Tensor, output: Tensor) -> None:
    if output.variable:
        raise TfliteError(
            f"{draft.graph.path}: DENSIFY of {source.name!r}: expected an output that is computed "
            f"once. Received: the variable {output.name!r}. Convert the model again."
        )
    if (source.shape, source.dtype) != (output.shape, output.dtype) or output.constant:
        raise TfliteError(
            f"{draft.graph.path}: DENSIFY of {source.name!r}: expected an output of "
            f"{source.dtype} {list(source.shape)}. Received: {output.dtype} {list(output.shape)}. "
            "Convert the model again."
        )


def _dense_version(subgraph: Subgraph, operator: Operator) -> int:
    """Returns the version that TensorFlow's converter gives a dense FULLY_CONNECTED.

    Source: `GetBuiltinOperatorVersion` in TensorFlow Lite's `op_version.cc`; 12, for float inputs
    and weights with a scale per channel, is what TensorFlow 2.20 writes.
    """
    weights = subgraph.tensors[operator.inputs[1]]
    computes_in = subgraph.tensors[operator.inputs[0]].dtype
    if len(operator.inputs) == 2:
        return 6
    if getattr(operator.options, "keepNumDims", False):
        return 5
    if weights.dtype == "int8" and computes_in == "int8":
        return 4
    if weights.dtype == "int8" and computes_in == "float32":
        asymmetric = getattr(operator.options, "asymmetricQuantizeInputs", False)
        return 12 if weights.scales.size > 1 else 9 if asymmetric else 3
    return 1


def _remove_densify(draft: Draft, subgraph_index: int, sparse: frozenset[int]) -> None:
    """Removes DENSIFY operators of the given tensors, and tensors that nothing else refers to."""
    subgraph = draft.model.subgraphs[subgraph_index]
    before = draft.graph.subgraphs[subgraph_index]
    removed = [o for o in before.operators if o.op == "DENSIFY" and sparse & {*o.inputs}]
    kept = sorted({*before.operators} - {*removed}, key=lambda operator: operator.index)
    needed = {index for operator in kept for index in operator.inputs} | before.ends
    needed |= named_by_signatures(draft.graph, subgraph_index)
    subgraph.operators = [subgraph.operators[operator.index] for operator in kept]
    sources = {index for operator in removed for index in operator.inputs}
    drop_tensors(draft.model, subgraph_index, {*(sparse & sources - needed)})
