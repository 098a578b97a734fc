"""Reads .tflite files into frozen values, and writes edited ones.

A file is untrusted input: `read` checks every offset, size, index and count before it is used, so
that a damaged or hostile file ends in a `TfliteError` that names the file and the place. Weights
stay views of the file's bytes until somebody asks for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table as RawTable

from edgeprune.errors import TfliteError
from edgeprune.flatbuffer import Reader, Record, read_table
from edgeprune.tflite_schema import MODEL

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_IDENTIFIER = b"TFL3"
_CUSTOM = schema.BuiltinOperator.CUSTOM
_SUB_BYTE = {"int4": 4, "uint4": 4, "int2": 2}
_OPAQUE = {"string", "resource", "variant"}


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a subgraph.

    `shape_signature` has -1 for an axis whose length is set at run time, and equals `shape` where
    the file has none. `dtype` is TFLite's name in lower case ("float32", "int8", "string", ...).
    `scales` and `zero_points` are 1-D and empty for a tensor without quantization; one entry is
    per-tensor, several are per slice along `quantized_dimension`. `data` is what the file stores:
    uint8, empty unless `constant`.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    dtype: str
    buffer: int
    data: Array
    scales: Array
    zero_points: Array
    quantized_dimension: int
    variable: bool

    @property
    def constant(self) -> bool:
        """Whether the file holds the tensor's values."""
        return self.data.size > 0

    @property
    def stored_bytes(self) -> int:
        """How many bytes the tensor's values take in the file."""
        return int(self.data.size)

    def values(self) -> Array | None:
        """Returns the constant values as a dense, read-only array of `shape`.

        int4, uint4 and int2 come as one int8 or uint8 each; bfloat16 comes as float32; an 8-bit
        float as its raw byte. None for a tensor that is computed at run time, and for types
        without a fixed size (string, resource, variant).
        """
        if not self.constant or self.dtype in _OPAQUE:
            return None
        return _decode_items(self.data, self.dtype, math.prod(self.shape)).reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator: `op` is the builtin's name ("CONV_2D") or the code of a custom operator.

    `inputs` and `outputs` are tensor indices, -1 for an input left out. `options` is the unpacked
    options object of the TFLite schema (for CONV_2D a `Conv2DOptionsT` with `strideH`, ...), None
    where the operator has none or they come from a newer schema.
    """

    index: int
    op: str
    custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class Subgraph:
    """Tensors and the operators between them, in the order of execution."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """A named entry: from the argument names that a caller uses to tensor indices."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True)
class Graph:
    """What a .tflite file says. `subgraphs[0]` is the main one, also reached directly."""

    path: Path
    size_bytes: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: Mapping[str, bytes]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The main subgraph's tensors."""
        return self.subgraphs[0].tensors

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The main subgraph's operators in the order of execution."""
        return self.subgraphs[0].operators

    @property
    def inputs(self) -> tuple[int, ...]:
        """Indices of the main subgraph's input tensors."""
        return self.subgraphs[0].inputs

    @property
    def outputs(self) -> tuple[int, ...]:
        """Indices of the main subgraph's output tensors."""
        return self.subgraphs[0].outputs


def read(path: Path) -> Graph:
    """Reads a .tflite file.

    Raises:
      TfliteError: the file is missing, or is not a sound TFLite model; names file and place.
    """
    reader, model = _open(path)
    buffers = [_buffer_bytes(reader, record, i) for i, record in enumerate(model["buffers"])]
    codes = [_operator_code(record) for record in model["operator_codes"]]
    subgraphs = tuple(
        _subgraph(reader, record, f"subgraph {i}", buffers, codes)
        for i, record in enumerate(model["subgraphs"])
    )
    if not subgraphs:
        raise reader.fail("subgraphs", "at least one", 0)
    return Graph(
        path=path,
        size_bytes=reader.size,
        description=_text(model["description"]),
        subgraphs=subgraphs,
        signatures=tuple(_signature(reader, r, subgraphs) for r in model["signature_defs"]),
        metadata={
            _text(record["name"]): _pick(reader, buffers, record["buffer"], "metadata").tobytes()
            for record in model["metadata"]
        },
    )


def _open(path: Path) -> tuple[Reader, Record]:
    """Reads and checks all of a file's tables; no index between them has been looked at yet."""
    data, size = _load(path)
    reader = Reader(memoryview(data).toreadonly(), size, str(path))
    if size < 8 or bytes(data[4:8]) != _IDENTIFIER:
        raise reader.fail("bytes 4 to 8", "the identifier TFL3", bytes(data[4:8]))
    return reader, read_table(reader, reader.follow(0, "root"), MODEL)


def _load(path: Path) -> tuple[bytearray, int]:
    """Returns the bytes, eight zero bytes behind them (see `Reader`), and their number."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            data = bytearray(size + 8)
            read = file.readinto(memoryview(data)[:size])
    except OSError as error:
        raise TfliteError(
            f"{path}: expected a .tflite file. Received: {error.strerror}. Check the path."
        ) from error
    return data, read


def _buffer_bytes(reader: Reader, record: Record, index: int) -> Array:
    """Returns a buffer's bytes, wherever they are.

    Files above 2 GB hold them behind the flatbuffer, at a file offset (`Buffer.offset` and `size`
    in the schema; offset 0 and 1 mean inside).
    """
    if record["offset"] > 1:
        end = record["offset"] + record["size"]
        if end > reader.size:
            raise reader.fail(f"buffer {index}", f"an end within {reader.size} bytes", end)
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
    reader: Reader,
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
    for index in inputs + outputs:
        _pick(reader, tensors, index, f"{place}, inputs and outputs")
    _check_order(reader, place, tensors, operators)
    return Subgraph(_text(record["name"]), tensors, operators, inputs, outputs)


def _pick(reader: Reader, items: Sequence[Any], index: int, place: str) -> Any:
    if not 0 <= index < len(items):
        raise reader.fail(place, f"an index below {len(items)}", index)
    return items[index]


def _tensor(
    reader: Reader, record: Record, place: str, index: int, buffers: Sequence[Array]
) -> Tensor:
    quantization = record["quantization"] or {}
    shape = tuple(_or_empty(record["shape"], "i4").tolist())
    signature = record["shape_signature"]
    tensor = Tensor(
        index=index,
        name=_text(record["name"]),
        shape=shape,
        shape_signature=shape if signature is None else tuple(signature.tolist()),
        dtype=_dtype_names().get(record["type"], f"type{record['type']}"),
        buffer=record["buffer"],
        data=_pick(reader, buffers, record["buffer"], f"{place}, buffer"),
        scales=_or_empty(quantization.get("scale"), "f4"),
        zero_points=_or_empty(quantization.get("zero_point"), "i8"),
        quantized_dimension=quantization.get("quantized_dimension", 0),
        variable=bool(record["is_variable"]),
    )
    _check_tensor(reader, tensor, place)
    return tensor


def _check_tensor(reader: Reader, tensor: Tensor, place: str) -> None:
    if any(length < 0 for length in tensor.shape):
        raise reader.fail(f"{place}, shape", "lengths of 0 or more", list(tensor.shape))
    bits = _item_bits(tensor.dtype)
    if not tensor.constant or bits is None:
        return
    expected = (math.prod(tensor.shape) * bits + 7) // 8
    if expected != tensor.stored_bytes:
        raise reader.fail(
            f"{place} {tensor.name!r}",
            f"{expected} bytes for {tensor.dtype} {list(tensor.shape)}",
            tensor.stored_bytes,
        )


def _item_bits(dtype: str) -> int | None:
    """Returns the bits of one item; None where items have no fixed size or the type is unknown."""
    if dtype in _SUB_BYTE:
        return _SUB_BYTE[dtype]
    if dtype == "bfloat16":
        return 16
    if dtype.startswith("float8"):
        return 8
    return None if dtype in _OPAQUE or dtype.startswith("type") else np.dtype(dtype).itemsize * 8


def _decode_items(data: Array, dtype: str, count: int) -> Array:
    if dtype in _SUB_BYTE:
        return _unpack_bits(data, dtype, count)
    if dtype == "bfloat16":
        return (data.view("<u2").astype("<u4") << 16).view("<f4")
    if dtype.startswith(("float8", "type")):
        return data
    return data.view(np.dtype(dtype).newbyteorder("<"))


def _unpack_bits(data: Array, dtype: str, count: int) -> Array:
    """Spreads items below 8 bits over a byte each; the first item is in the lowest bits."""
    bits = _SUB_BYTE[dtype]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    high = (data[:, None] >> shifts << (8 - bits)).reshape(-1)[:count]
    return high.view(np.int8 if dtype.startswith("int") else np.uint8) >> (8 - bits)


def _operator(
    reader: Reader, record: Record, place: str, index: int, codes: Sequence[tuple[str, bool, int]]
) -> Operator:
    name, custom, version = _pick(reader, codes, record["opcode_index"], f"{place}, code")
    return Operator(
        index=index,
        op=name,
        custom=custom,
        version=version,
        inputs=tuple(_or_empty(record["inputs"], "i4").tolist()),
        outputs=tuple(_or_empty(record["outputs"], "i4").tolist()),
        options=_unpack_options(reader, record),
    )


def _unpack_options(reader: Reader, record: Record) -> Any:
    if record["builtin_options"]:
        raw = RawTable(reader.data, record["builtin_options"]["at"])
        return schema.BuiltinOptionsCreator(record["builtin_options_type"], raw)
    if record["builtin_options_2"]:
        raw = RawTable(reader.data, record["builtin_options_2"]["at"])
        return schema.BuiltinOptions2Creator(record["builtin_options_2_type"], raw)
    return None


def _check_order(
    reader: Reader, place: str, tensors: Sequence[Tensor], operators: Sequence[Operator]
) -> None:
    """Checks that indices exist and that no operator needs what it or a later one computes."""
    pending = {index for operator in operators for index in operator.outputs}
    for operator in operators:
        here = f"{place}, operator {operator.index} ({operator.op})"
        for index in _present(operator.inputs):
            if index in pending and not _pick(reader, tensors, index, here).variable:
                raise reader.fail(here, "inputs computed before", f"tensor {index}, computed later")
            _pick(reader, tensors, index, here)
        for index in _present(operator.outputs):
            _pick(reader, tensors, index, here)
            pending.discard(index)


def _present(indices: Sequence[int]) -> Iterator[int]:
    """Yields the indices that are not the schema's -1 for "left out"."""
    return (index for index in indices if index != -1)


def _signature(reader: Reader, record: Record, subgraphs: Sequence[Subgraph]) -> Signature:
    key = _text(record["signature_key"])
    place = f"signature {key!r}"
    subgraph: Subgraph = _pick(reader, subgraphs, record["subgraph_index"], place)
    inputs, outputs = (
        {_text(entry["name"]): entry["tensor_index"] for entry in record[side]}
        for side in ("inputs", "outputs")
    )
    for index in [*inputs.values(), *outputs.values()]:
        _pick(reader, subgraph.tensors, index, place)
    return Signature(key, record["subgraph_index"], inputs, outputs)
