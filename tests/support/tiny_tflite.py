"""Tiny .tflite files made field by field, so that tests of runtimes need no TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def _tensor(name: str, shape: tuple[int, ...], buffer: int, dtype: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer, tensor.type = (
        name.encode(),
        list(shape),
        buffer,
        dtype,
    )
    return tensor


def _buffer(values: Any = None) -> Any:
    buffer = schema.BufferT()
    if values is not None:
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    return buffer


def fully_connected(path: Path, weights: Any, *, version: int = 1) -> Path:
    """Writes a float FULLY_CONNECTED `[1, in] -> [1, out]` with `weights` `[out, in]`."""
    out, in_ = weights.shape
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = version
    operator = schema.OperatorT()
    operator.inputs, operator.outputs, operator.opcodeIndex = [0, 1], [2], 0
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    subgraph = schema.SubGraphT()
    float32 = schema.TensorType.FLOAT32
    subgraph.tensors = [
        _tensor("x", (1, in_), 0, float32),
        _tensor("weights", (out, in_), 1, float32),
        _tensor("y", (1, out), 0, float32),
    ]
    subgraph.inputs, subgraph.outputs, subgraph.operators = [0], [2], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [subgraph]
    model.buffers = [_buffer(), _buffer(weights.astype(np.float32))]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
