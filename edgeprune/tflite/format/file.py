"""Reads .tflite files into frozen values (see `graph`).

A file is untrusted input: `read` checks every offset, size, index and count before it is used, so
that a damaged or hostile file ends in a `TfliteError` that names the file and the place.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table as RawTable

from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError
from edgeprune.core.files import require_file
from edgeprune.core.first_bytes import ENOUGH, TFLITE_MARK, described
from edgeprune.tflite.format import sparse_tensor
from edgeprune.tflite.format.decode_operator import unpacked_bytes
from edgeprune.tflite.format.flatbuffer import ByteReader, Record, read_table
from edgeprune.tflite.format.graph import (
    Graph,
    Operator,
    Signature,
    Subgraph,
    Tensor,
    item_bits,
)
from edgeprune.tflite.format.soundness import check_subgraph, pick
from edgeprune.tflite.format.sparse_tensor import CsrLevel, DenseLevel, Level, SparseTensor
from edgeprune.tflite.format.tables import MODEL_TABLE

__all__ = [
    "Graph",
    "Operator",
    "Signature",
    "Subgraph",
    "Tensor",
    "buffer_bytes",
    "check_bytes",
    "dense_bytes_allowed",
    "graph_of",
    "open_checked",
    "read",
]

_CUSTOM = schema.BuiltinOperator.CUSTOM
_SPARSE_TYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "float64")
_MOST_AXES = 32
_DENSE_BYTES_ALLOWED = 128 << 20
_DENSE_EXPANSION_ALLOWED = 128


def read(path: Path) -> Graph:
    """Reads a .tflite file.

    Raises:
      TfliteError: the file is missing, or is not a sound TFLite model; names file and place.
    """
    return graph_of(path, *open_checked(path))


def graph_of(path: Path, reader: ByteReader, model: Record) -> Graph:
    """Builds the graph from a file's tables, and checks every index between them.

    Raises:
      TfliteError: the tables contradict each other.
    """
    buffers = [
        buffer_bytes(reader, record, f"buffer {i}") for i, record in enumerate(model["buffers"])
    ]
    reader.spend(sum(r["size"] for r in model["buffers"] if r["offset"] > 1), "buffers")
    codes = [_operator_code(record) for record in model["operator_codes"]]
    subgraphs = tuple(
        _subgraph(reader, record, f"subgraph {i}", buffers, codes)
        for i, record in enumerate(model["subgraphs"])
    )
    if not subgraphs:
        raise reader.fail("subgraphs", "at least one", 0)
    _check_expansion(reader, subgraphs)
    return Graph(
        path=path,
        size_bytes=reader.size,
        description=_text(model["description"]),
        subgraphs=subgraphs,
        signatures=tuple(_signature(reader, r, subgraphs) for r in model["signature_defs"]),
        metadata=_metadata(reader, model["metadata"], buffers),
        metadata_buffers=tuple(record["buffer"] for record in model["metadata"]),
    )


def _metadata(
    reader: ByteReader, records: Sequence[Record], buffers: Sequence[Array]
) -> Mapping[str, bytes]:
    """Returns the values by name; entries that name one buffer share its bytes."""
    used = [record["buffer"] for record in records]
    values = {index: pick(reader, buffers, index, "metadata").tobytes() for index in {*used}}
    return {_text(record["name"]): values[record["buffer"]] for record in records}


def open_checked(path: Path) -> tuple[ByteReader, Record]:
    """Reads and checks all of a file's tables; no index between them has been looked at yet.

    Raises:
      TfliteError: the file cannot be read, or has something outside its bytes.
    """
    return check_bytes(*_load(path), path)


def check_bytes(data: bytearray, size: int, path: Path) -> tuple[ByteReader, Record]:
    """Checks a file's tables as `open_checked` does.

    Args:
      data: the file, and eight zero bytes behind it.
      size: the number of bytes of the file.
      path: what errors name.
    """
    reader = ByteReader(memoryview(data).toreadonly(), size, str(path))
    if data[4:8] != TFLITE_MARK:
        first = bytes(data[: min(size, ENOUGH)])
        raise reader.fail("bytes 4 to 8", "the identifier TFL3", described(first))
    return reader, read_table(reader, reader.follow(0, "root"), MODEL_TABLE)


def _load(path: Path) -> tuple[bytearray, int]:
    """Returns the bytes, eight zero bytes behind them (see `ByteReader`), and their number.

    Of a file without the identifier only the first bytes are read: it may be of any size.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            known = file.read(ENOUGH)[4:] == TFLITE_MARK
            size = os.fstat(file.fileno()).st_size if known else ENOUGH
            data = bytearray(size + 8)
            file.seek(0)
            read = file.readinto(memoryview(data)[:size])
    except OSError as error:
        raise TfliteError(
            f"{path}: expected a .tflite file. Received: {error.strerror}. Check the path."
        ) from error
    return data, read


def buffer_bytes(reader: ByteReader, record: Record, place: str) -> Array:
    """Returns a buffer's bytes, wherever they are.

    Files above 2 GB hold them behind the flatbuffer, at a file offset (`Buffer.offset` and `size`
    in the schema; offset 0 and 1 mean inside).

    Raises:
      TfliteError: the bytes lie outside the file, or there are two kinds of them: runtimes take
        those inside, other readers those at the offset.
    """
    if record["offset"] > 1:
        if record["data"] is not None:
            received = f"{record['data'].size} bytes inside, {record['size']} at the offset"
            raise reader.fail(place, "data inside the model or at an offset, not both", received)
        end = record["offset"] + record["size"]
        if end > reader.size:
            raise reader.fail(place, f"an end within {reader.size} bytes", end)
        return np.frombuffer(reader.data, np.uint8, record["size"], record["offset"])
    return _or_empty(record["data"], "u1")


def _or_empty(vector: Array | None, dtype: str) -> Array:
    return np.empty(0, dtype) if vector is None else vector


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "backslashreplace")


def _operator_code(record: Record) -> tuple[str, bool, int]:
    """Returns name, whether it is a custom operator, and version.

    The builtin code is the larger of two fields: old files know only the one of 8 bits, new ones
    put a placeholder there for codes that do not fit.
    """
    code = max(record["deprecated_builtin_code"], record["builtin_code"])
    if code == _CUSTOM:
        return _text(record["custom_code"]) or "CUSTOM", True, record["version"]
    return _operator_names().get(code, f"BUILTIN_{code}"), False, record["version"]


@cache
def _operator_names() -> Mapping[int, str]:
    return _enum_names(schema.BuiltinOperator)


@cache
def _dtype_names() -> Mapping[int, str]:
    return {value: name.lower() for value, name in _enum_names(schema.TensorType).items()}


def _enum_names(enum: type) -> Mapping[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def _subgraph(
    reader: ByteReader,
    record: Record,
    place: str,
    buffers: Sequence[Array],
    codes: Sequence[tuple[str, bool, int]],
) -> Subgraph:
    tensors = tuple(
        _tensor(reader, tensor, f"{place}, tensor {i}", i, buffers)
        for i, tensor in enumerate(record["tensors"])
    )
    operators = tuple(
        _operator(reader, operator, f"{place}, operator {i}", i, codes)
        for i, operator in enumerate(record["operators"])
    )
    inputs, outputs = (tuple(_or_empty(record[k], "i4").tolist()) for k in ("inputs", "outputs"))
    subgraph = Subgraph(_text(record["name"]), tensors, operators, inputs, outputs)
    check_subgraph(reader, subgraph, place)
    return subgraph


def _tensor(
    reader: ByteReader, record: Record, place: str, index: int, buffers: Sequence[Array]
) -> Tensor:
    quantization = record["quantization"] or {}
    shape = tuple(_or_empty(record["shape"], "i4").tolist())
    signature = record["shape_signature"]
    if record["external_buffer"]:
        received = f"external buffer {record['external_buffer']}"
        raise reader.fail(f"{place} {_text(record['name'])!r}", "data inside the file", received)
    data = pick(reader, buffers, record["buffer"], f"{place}, buffer")
    dtype = _dtype_names().get(record["type"], f"type{record['type']}")
    tensor = Tensor(
        index=index,
        name=_text(record["name"]),
        shape=shape,
        shape_signature=shape if signature is None else tuple(signature.tolist()),
        dtype=dtype,
        buffer=record["buffer"],
        data=data,
        encoding=_encoding(reader, record["sparsity"], shape, dtype, data, place),
        scales=_or_empty(quantization.get("scale"), "f4"),
        zero_points=_or_empty(quantization.get("zero_point"), "i8"),
        quantized_dimension=quantization.get("quantized_dimension", 0),
        variable=bool(record["is_variable"]),
    )
    _check_tensor(reader, tensor, place)
    return tensor


def _check_tensor(reader: ByteReader, tensor: Tensor, place: str) -> None:
    if len(tensor.shape) > _MOST_AXES:
        raise reader.fail(f"{place}, shape", f"at most {_MOST_AXES} axes", len(tensor.shape))
    if any(length < 0 for length in tensor.shape):
        raise reader.fail(f"{place}, shape", "lengths of 0 or more", list(tensor.shape))
    if tensor.variable and tensor.constant:
        received = f"{tensor.stored_bytes} bytes"
        raise reader.fail(f"{place} {tensor.name!r}", "a variable without data", received)
    bits = item_bits(tensor.dtype)
    if tensor.encoding is not None:
        sparse_tensor.check(tensor.encoding, f"{reader.subject}: {place} {tensor.name!r}")
        return
    if not tensor.constant or bits is None:
        return
    expected = (math.prod(tensor.shape) * bits + 7) // 8
    if expected != tensor.stored_bytes:
        raise reader.fail(
            f"{place} {tensor.name!r}",
            f"{expected} bytes for {tensor.dtype} {list(tensor.shape)}",
            tensor.stored_bytes,
        )


def _encoding(
    reader: ByteReader,
    record: Record | None,
    shape: tuple[int, ...],
    dtype: str,
    data: Array,
    place: str,
) -> SparseTensor | None:
    if record is None:
        return None
    if dtype not in _SPARSE_TYPES or data.size % np.dtype(dtype).itemsize:
        raise reader.fail(place, f"whole values of {', '.join(_SPARSE_TYPES)}", dtype)
    return SparseTensor(
        shape=shape,
        traversal=tuple(_or_empty(record["traversal_order"], "i4").tolist()),
        block_map=tuple(_or_empty(record["block_map"], "i4").tolist()),
        levels=tuple(_level(reader, level, place) for level in record["dim_metadata"]),
        values=data.view(np.dtype(dtype).newbyteorder("<")),
    )


def _level(reader: ByteReader, record: Record, place: str) -> Level:
    if record["format"] == schema.DimensionType.DENSE:
        return DenseLevel(record["dense_size"])
    if record["format"] != schema.DimensionType.SPARSE_CSR:
        raise reader.fail(f"{place}, sparsity", "a dense or CSR level", record["format"])
    segments, indices = (
        _or_empty((record[part] or {}).get("values"), "i4")
        for part in ("array_segments", "array_indices")
    )
    return CsrLevel(segments, indices)


def dense_bytes_allowed(file_bytes: int) -> int:
    """Returns how large the sparse and packed tensors of a file may be when they are dense.

    A few bytes can describe a sparse tensor of any shape. 128 MiB leave room for 33 million float
    weights that are all zero, and 128 times the file for larger ones of which 1 % is left.
    """
    return max(_DENSE_BYTES_ALLOWED, _DENSE_EXPANSION_ALLOWED * file_bytes)


def _check_expansion(reader: ByteReader, subgraphs: Sequence[Subgraph]) -> None:
    dense_bytes = sum(
        math.prod(tensor.shape) * tensor.encoding.values.itemsize
        for subgraph in subgraphs
        for tensor in subgraph.tensors
        if tensor.encoding is not None
    ) + sum(map(unpacked_bytes, subgraphs))
    allowed = dense_bytes_allowed(reader.size)
    if dense_bytes > allowed:
        raise reader.fail(
            "sparse and packed tensors", f"at most {allowed} bytes when dense", dense_bytes
        )


def _operator(
    reader: ByteReader,
    record: Record,
    place: str,
    index: int,
    codes: Sequence[tuple[str, bool, int]],
) -> Operator:
    name, custom, version = pick(reader, codes, record["opcode_index"], f"{place}, code")
    return Operator(
        index=index,
        op=name,
        custom=custom,
        version=version,
        inputs=tuple(_or_empty(record["inputs"], "i4").tolist()),
        outputs=tuple(_or_empty(record["outputs"], "i4").tolist()),
        intermediates=tuple(_or_empty(record["intermediates"], "i4").tolist()),
        options=_unpack_options(reader, record),
        custom_options=record["custom_options"],
    )


def _unpack_options(reader: ByteReader, record: Record) -> Any:
    if record["builtin_options"]:
        raw = RawTable(reader.data, record["builtin_options"]["at"])
        return schema.BuiltinOptionsCreator(record["builtin_options_type"], raw)
    if record["builtin_options_2"]:
        raw = RawTable(reader.data, record["builtin_options_2"]["at"])
        return schema.BuiltinOptions2Creator(record["builtin_options_2_type"], raw)
    return None


def _signature(reader: ByteReader, record: Record, subgraphs: Sequence[Subgraph]) -> Signature:
    key = _text(record["signature_key"])
    place = f"signature {key!r}"
    subgraph: Subgraph = pick(reader, subgraphs, record["subgraph_index"], place)
    inputs, outputs = (
        {_text(entry["name"]): entry["tensor_index"] for entry in record[side]}
        for side in ("inputs", "outputs")
    )
    for index in [*inputs.values(), *outputs.values()]:
        pick(reader, subgraph.tensors, index, place)
    return Signature(key, record["subgraph_index"], inputs, outputs)
