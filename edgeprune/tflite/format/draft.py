"""Edits .tflite files: opens a checked file as schema objects, packs and writes them again.

What an edit does not touch comes out as it went in: order of tensors and operators, names,
signatures, metadata, description, and files appended behind the model. Packing is done with the
classes that ship with LiteRT, except for the weights: they are aligned to 16 bytes, as kernels want
them, and copied once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.arrays import Array
from edgeprune.core.errors import OutputError
from edgeprune.core.files import write_file
from edgeprune.tflite.format.archive import find_archive, move_archive
from edgeprune.tflite.format.file import (
    Graph,
    buffer_bytes,
    check_bytes,
    graph_of,
    open_checked,
)
from edgeprune.tflite.format.flatbuffer import ByteReader, Record
from edgeprune.tflite.format.sparse_tensor import SparseTensor, decode_into
from edgeprune.tflite.format.tables import LAST_OPTIONS, LAST_OPTIONS_2

_WEIGHT_ALIGNMENT = 16
_LARGEST_FILE = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Draft:
    """A file opened for editing.

    `graph` is what was read and stays as it was; `model` is the schema's `ModelT`, to be edited in
    place. `appended` is a ZIP archive behind the model, where metadata tools keep label files;
    empty where there is none. `raw` are the bytes of the whole file.
    """

    graph: Graph
    model: Any
    appended: bytes
    raw: memoryview


def load(path: Path) -> Draft:
    """Opens a .tflite file for editing.

    Raises:
      TfliteError: the file is not sound, or uses parts of a newer schema, which would be lost.
    """
    reader, record = open_checked(path)
    raw = reader.data[: reader.size]
    return Draft(*_unpack(path, reader, record), find_archive(raw), raw)


def reread(draft: Draft) -> Draft:
    """Returns the edited file as if it had been written and opened again.

    What is appended behind the model, and the bytes that were read, stay those of `draft`.
    """
    made = from_bytes(pack(draft.model), draft.graph.path)
    return replace(made, appended=draft.appended, raw=draft.raw)


def from_bytes(content: bytes | memoryview, path: Path) -> Draft:
    """Opens the bytes of a .tflite file for editing; `path` is what errors name, and its graph.

    Raises:
      TfliteError: as `load`.
    """
    reader, record = check_bytes(bytearray(content) + bytes(8), len(content), path)
    raw = reader.data[: reader.size]
    return Draft(*_unpack(path, reader, record), find_archive(raw), raw)


def _unpack(path: Path, reader: ByteReader, record: Record) -> tuple[Graph, Any]:
    graph = graph_of(path, reader, record)
    _refuse_newer(reader, record)
    model = schema.ModelT.InitFromPackedBuf(reader.data, 0)
    _fill_absent_lists(model)
    _take_in(reader, record, model)
    return graph, model


def write(draft: Draft, path: Path) -> int:
    """Writes the edited file in one step: `path` holds the old or the new file, never a part.

    Returns:
      The number of bytes written.

    Raises:
      OutputError: the place cannot be written to, or the model is larger than 2 GB.
    """
    packed = pack(draft.model)
    archive = move_archive(draft.appended, len(packed))
    write_file(path, packed, archive)
    return len(packed) + len(archive)


def write_or_copy(draft: Draft, output: Path, *, changed: bool) -> int:
    """Writes the edited file, or, where nothing was changed, the bytes that were read.

    Operator codes that the edit left without operators are dropped.

    Returns and raises as `write`.
    """
    if changed:
        drop_unused_codes(draft.model)
        return write(draft, output)
    write_file(output, draft.raw)
    return len(draft.raw)


def pack(model: Any) -> memoryview:
    """Packs a `ModelT` into the bytes of a .tflite file.

    The data of a buffer, a NumPy array of uint8 or a `DenseLater`, are aligned to 16 bytes
    (`force_align` of `Buffer.data` in the schema). Equal vectors of numbers, such as the zero
    points of tensors with as many channels, are written once.

    Raises:
      OutputError: the result would be larger than 2 GB, which a flatbuffer cannot be.
    """
    expected_bytes = _expected_bytes(model)
    if expected_bytes > _LARGEST_FILE:
        raise OutputError(
            f"Expected a model of at most 2 GB. Received: about {expected_bytes} bytes. "
            "Split the model."
        )
    # A builder that has to grow copies everything, and holds twice as much for a while.
    builder = _SharingBuilder(expected_bytes)
    buffers, model.buffers = model.buffers, [_Aligned(buffer) for buffer in model.buffers]
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    finally:
        model.buffers = buffers
    return memoryview(builder.Bytes)[builder.head :]


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes equal vectors of numbers once; tables may refer to the same one."""

    def __init__(self, expected_bytes: int) -> None:
        super().__init__(expected_bytes)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Array) -> int:  # noqa: N802 (the name that `Pack` calls)
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def _expected_bytes(model: Any) -> int:
    """Estimates the packed size from above: all large vectors, and room for the tables."""
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors]
    operators = sum(len(subgraph.operators) for subgraph in model.subgraphs)
    vectors: int = sum(buffer.data.nbytes for buffer in model.buffers if buffer.data is not None)
    for tensor in tensors:
        for level in tensor.sparsity.dimMetadata if tensor.sparsity else ():
            parts = (level.arraySegments, level.arrayIndices)
            vectors += sum(part.values.nbytes for part in parts if part is not None)
    return vectors + 512 * (len(tensors) + operators) + 64 * len(model.buffers) + (1 << 16)


def raw_bytes(values: Array) -> Array:
    """Returns the bytes of an array in C order, as `Buffer.data` takes them: uint8, 1-D."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def code_index(model: Any, builtin: int, version: int) -> int:
    """Returns the index of an operator code, which is added where the model has none."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.deprecatedBuiltinCode, code.builtinCode) == builtin and code.version == version:
            return index
    model.operatorCodes.append(schema.OperatorCodeT(builtin, None, version, builtin))
    return len(model.operatorCodes) - 1


def empty_buffer(model: Any) -> int:
    """Returns the index of a buffer without bytes; by convention that is the first one."""
    if model.buffers[0].data is None or not len(model.buffers[0].data):
        return 0
    model.buffers.append(schema.BufferT())
    return len(model.buffers) - 1


@dataclass(frozen=True, eq=False)
class DenseLater:
    """A placeholder in `BufferT.data`: a sparse tensor's dense bytes are made while packing."""

    sparse: SparseTensor

    @property
    def nbytes(self) -> int:
        """The number of dense bytes."""
        return math.prod(self.sparse.shape) * self.sparse.values.itemsize


@dataclass(frozen=True)
class _Aligned:
    """Replaces a `BufferT` while packing; `Pack` is the name that `ModelT.Pack` calls."""

    buffer: Any

    def Pack(self, builder: Any) -> int:  # noqa: N802
        data = self.buffer.data
        vector = None if data is None else _aligned_vector(builder, data)
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        end: int = schema.BufferEnd(builder)
        return end


def _aligned_vector(builder: Any, data: Array | DenseLater) -> int:
    builder.StartVector(1, data.nbytes, _WEIGHT_ALIGNMENT)
    head = builder.head - data.nbytes
    place = np.frombuffer(builder.Bytes, np.uint8)[head : builder.head]
    if isinstance(data, DenseLater):
        decode_into(data.sparse, place.view(data.sparse.values.dtype))
    else:
        place[:] = data
    builder.head = head
    end: int = builder.EndVector()
    return end


def _refuse_newer(reader: ByteReader, record: Record) -> None:
    """Checks that nothing in the file is unknown to the schema and would be left out on writing."""
    for i, subgraph in enumerate(record["subgraphs"]):
        for j, operator in enumerate(subgraph["operators"]):
            known = (
                operator["builtin_options_type"] <= LAST_OPTIONS
                and operator["builtin_options_2_type"] <= LAST_OPTIONS_2
            )
            if not known:
                raise reader.fail(
                    f"subgraph {i}, operator {j}, options",
                    f"a type up to {LAST_OPTIONS} (or {LAST_OPTIONS_2} in the second field), as "
                    "newer ones would be lost when the file is written",
                    (operator["builtin_options_type"], operator["builtin_options_2_type"]),
                )


def _fill_absent_lists(model: Any) -> None:
    """Puts empty lists where a file leaves a vector of tables out, so that edits need not ask."""
    model.operatorCodes = model.operatorCodes or []
    model.buffers = model.buffers or []
    model.signatureDefs = model.signatureDefs or []
    for signature in model.signatureDefs:
        signature.inputs = signature.inputs or []
        signature.outputs = signature.outputs or []
    for subgraph in model.subgraphs:
        subgraph.tensors = subgraph.tensors or []
        subgraph.operators = subgraph.operators or []


def _take_in(reader: ByteReader, record: Record, model: Any) -> None:
    """Turns data kept behind the flatbuffer, as in files above 2 GB, into data inside it."""
    for i, (buffer, said) in enumerate(zip(model.buffers, record["buffers"], strict=True)):
        if said["offset"] > 1:
            buffer.data = buffer_bytes(reader, said, f"buffer {i}")
        buffer.offset = buffer.size = 0
    for i, (subgraph, said) in enumerate(zip(model.subgraphs, record["subgraphs"], strict=True)):
        pairs = zip(subgraph.operators, said["operators"], strict=True)
        for j, (operator, options) in enumerate(pairs):
            offset, size = (options[f"large_custom_options_{k}"] for k in ("offset", "size"))
            if offset > 1:
                place = f"subgraph {i}, operator {j}"
                reader.spend(size, place)
                behind = {"offset": offset, "size": size, "data": options["custom_options"]}
                operator.customOptions = buffer_bytes(reader, behind, place)
            operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0


def drop_unused_codes(model: Any) -> None:
    """Drops operator codes without operators: runtimes want a kernel for every code in the list."""
    operators = [o for subgraph in model.subgraphs for o in subgraph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    new_index = {index: i for i, index in enumerate(used)}
    for operator in operators:
        operator.opcodeIndex = new_index[operator.opcodeIndex]
