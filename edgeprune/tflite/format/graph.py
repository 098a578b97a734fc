"""What a .tflite file says, as frozen values: tensors, operators and the graph between them.

`file.read` makes them, and everything that analyses a file takes them. Weights stay views of
the file's bytes until somebody asks for their values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.tflite.format import sparse_tensor
from edgeprune.tflite.format.sparse_tensor import SparseTensor

_SUB_BYTE = {"int4": 4, "uint4": 4, "int2": 2}
_OPAQUE = {"string", "resource", "variant"}
RESTORING = ("DENSIFY", "DEQUANTIZE")
"""Operators through which constants pass that are stored in another form."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a subgraph.

    `shape_signature` has -1 for an axis whose length is set at run time, and equals `shape` where
    the file has none. `dtype` is TFLite's name in lower case ("float32", "int8", "string", ...).
    `scales` and `zero_points` are 1-D and empty for a tensor without quantization; one entry is
    per-tensor, several are per slice along `quantized_dimension`. `data` is what the file stores
    as values: uint8, empty unless `constant`. `encoding` is None for a dense tensor.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    dtype: str
    buffer: int
    data: Array
    encoding: SparseTensor | None
    scales: Array
    zero_points: Array
    quantized_dimension: int
    variable: bool

    @property
    def constant(self) -> bool:
        """Whether the file holds the tensor's values."""
        return self.data.size > 0

    @property
    def sparse(self) -> bool:
        """Whether the file stores the values sparsely."""
        return self.encoding is not None

    @property
    def stored_bytes(self) -> int:
        """How many bytes of the file hold the values, with the positions of a sparse tensor."""
        return int(self.data.size) + (self.encoding.index_bytes if self.encoding else 0)

    def values(self) -> Array | None:
        """Returns the constant values as a dense, read-only array of `shape`.

        int4, uint4 and int2 come as one int8 or uint8 each; bfloat16 comes as float32; an 8-bit
        float as its raw byte. None for a tensor that is computed at run time, and for types
        without a fixed size (string, resource, variant) or unknown ones.
        """
        if not self.constant or item_bits(self.dtype) is None:
            return None
        if self.encoding is not None:
            values = sparse_tensor.decode_tensor(self.encoding)
        else:
            items = _decode_items(self.data, self.dtype, math.prod(self.shape))
            values = items.reshape(self.shape)
        values.flags.writeable = False
        return values


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator: `op` is the builtin's name ("CONV_2D") or the code of a custom operator.

    `inputs`, `outputs` and `intermediates` are tensor indices, -1 for one left out. `options` is
    the unpacked options object of the TFLite schema (for CONV_2D a `Conv2DOptionsT` with
    `strideH`, ...), None where the operator has none or they come from a newer schema.
    `custom_options` are the bytes that a custom operator reads by itself, uint8, None without any.
    """

    index: int
    op: str
    custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any
    intermediates: tuple[int, ...] = ()
    custom_options: Array | None = None


@dataclass(frozen=True, eq=False)
class Subgraph:
    """Tensors and the operators between them, in the order of execution."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def readers(self) -> Mapping[int, Sequence[tuple[Operator, int]]]:
        """For each tensor that is read: the operators, and at which of their inputs."""
        readers: dict[int, list[tuple[Operator, int]]] = {}
        for operator in self.operators:
            for position, index in enumerate(operator.inputs):
                readers.setdefault(index, []).append((operator, position))
        return readers

    @cached_property
    def makers(self) -> Mapping[int, Operator]:
        """For each tensor that is computed: the operator that computes it."""
        return {index: operator for operator in self.operators for index in operator.outputs}

    def constant_behind(self, index: int) -> tuple[Tensor | None, tuple[str, ...]]:
        """Returns the constant that a tensor is restored from when the model is loaded.

        Operators pass weights through DENSIFY (sparse) and DEQUANTIZE (float16) on the way.

        Returns:
          The constant, None where there is none; and the operators passed, nearest first.
        """
        passed: tuple[str, ...] = ()
        while index >= 0 and not self.tensors[index].constant:
            maker = self.makers.get(index)
            if maker is None or maker.op not in RESTORING or len(passed) == 2:
                return None, passed
            passed = (*passed, maker.op)
            index = maker.inputs[0] if maker.inputs else -1
        return (self.tensors[index] if index >= 0 else None), passed

    @cached_property
    def restores_floats(self) -> bool:
        """Whether a float tensor goes through DENSIFY, which turns XNNPACK's sparse mode on."""
        return any(
            operator.op == "DENSIFY" and self.tensors[index].dtype.startswith("float")
            for operator in self.operators
            for index in operator.outputs
            if index >= 0
        )

    @cached_property
    def ends(self) -> frozenset[int]:
        """The tensors that are inputs or outputs of the subgraph."""
        return frozenset(self.inputs + self.outputs)


@dataclass(frozen=True)
class Signature:
    """A named entry: from the argument names that a caller uses to tensor indices."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Graph:
    """What a .tflite file says. `subgraphs[0]` is the main one, also reached directly.

    `metadata_buffers` are the indices of the buffers that hold the values of `metadata`.
    """

    path: Path
    size_bytes: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: Mapping[str, bytes]
    metadata_buffers: tuple[int, ...] = ()

    @cached_property
    def buffer_owners(self) -> Mapping[int, int]:
        """How many tensors of all subgraphs, and metadata, use each buffer."""
        tensors = (t.buffer for subgraph in self.subgraphs for t in subgraph.tensors)
        return Counter(self.metadata_buffers) + Counter(tensors)

    @property
    def keeps_state(self) -> bool:
        """Whether running it may leave something behind for the next run, in variables."""
        return any(
            tensor.variable or tensor.dtype == "resource"
            for subgraph in self.subgraphs
            for tensor in subgraph.tensors
        )

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


def item_bits(dtype: str) -> int | None:
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
    if dtype.startswith("float8"):
        return data
    return data.view(np.dtype(dtype).newbyteorder("<"))


def _unpack_bits(data: Array, dtype: str, count: int) -> Array:
    """Spreads items below 8 bits over a byte each; the first item is in the lowest bits."""
    bits = _SUB_BYTE[dtype]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    high = (data[:, None] >> shifts << (8 - bits)).reshape(-1)[:count]
    return high.view(np.int8 if dtype.startswith("int") else np.uint8) >> (8 - bits)
