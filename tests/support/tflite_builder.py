"""Builds small .tflite files for tests, straight from the schema: no TensorFlow, milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.draft import pack

Array = np.ndarray[Any, np.dtype[Any]]


class Net:
    """A model under construction; `tensor` and `operator` return indices."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT(tensors=[], operators=[], name=b"main")
        self.model = schema.ModelT(
            version=3,
            operatorCodes=[],
            subgraphs=[self.graph],
            description=b"made by a test",
            buffers=[schema.BufferT()],
            metadata=[],
            signatureDefs=[],
        )

    def buffer(self, data: Array) -> int:
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.model.buffers.append(schema.BufferT(data=raw))
        return len(self.model.buffers) - 1

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "float32",
        data: Array | None = None,
        scales: Sequence[float] = (),
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        quantization = None
        if scales:
            quantization = schema.QuantizationParametersT(
                scale=np.array(scales, np.float32),
                zeroPoint=np.full(len(scales), zero_point, np.int64),
                quantizedDimension=axis,
            )
        self.graph.tensors.append(
            schema.TensorT(
                shape=np.array(shape, np.int32),
                type=getattr(schema.TensorType, dtype.upper()),
                buffer=0 if data is None else self.buffer(data),
                name=name.encode(),
                quantization=quantization,
            )
        )
        return len(self.graph.tensors) - 1

    def constant(self, name: str, data: Array, **quantization: Any) -> int:
        return self.tensor(name, data.shape, data.dtype.name, data, **quantization)

    def operator(
        self,
        op: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        version: int = 1,
        options: Any = None,
        custom_code: bytes | None = None,
    ) -> None:
        builtin = getattr(schema.BuiltinOperator, op)
        code = schema.OperatorCodeT(min(builtin, 127), custom_code, version, builtin)
        self.model.operatorCodes.append(code)
        kind = type(options).__name__.removesuffix("T")
        self.graph.operators.append(
            schema.OperatorT(
                opcodeIndex=len(self.model.operatorCodes) - 1,
                inputs=np.array(inputs, np.int32),
                outputs=np.array(outputs, np.int32),
                builtinOptionsType=getattr(schema.BuiltinOptions, kind, 0),
                builtinOptions=options,
            )
        )

    def metadata(self, name: str, content: bytes) -> None:
        data = np.frombuffer(content, np.uint8)
        self.model.metadata.append(schema.MetadataT(name.encode(), self.buffer(data)))

    def save(self, path: Path, inputs: Sequence[int], outputs: Sequence[int]) -> Path:
        self.graph.inputs = np.array(inputs, np.int32)
        self.graph.outputs = np.array(outputs, np.int32)
        ends = [(inputs, b"x"), (outputs, b"y")]
        maps = [
            [schema.TensorMapT(b"%s%d" % (name, i), index) for i, index in enumerate(indices)]
            for indices, name in ends
        ]
        self.model.signatureDefs = [schema.SignatureDefT(maps[0], maps[1], b"serving_default", 0)]
        path.write_bytes(pack(self.model))
        return path


def prune(weights: Array, sparsity: float, block: Sequence[int], seed: int = 0) -> Array:
    """Sets whole blocks to zero; `block` has one length per axis, each dividing the shape."""
    grid = [length // size for length, size in zip(weights.shape, block, strict=True)]
    mask = np.random.default_rng(seed).random(grid) >= sparsity
    for axis, size in enumerate(block):
        mask = mask.repeat(size, axis)
    return np.where(mask, weights, 0).astype(weights.dtype)


def dense_net(
    path: Path,
    weights: Array,
    kind: str = "float32",
    *,
    per_channel: bool = False,
    bias: bool = True,
) -> Path:
    """One FULLY_CONNECTED of `weights` `[out, in]`.

    `kind`: "float32", "float16" (weights and bias behind DEQUANTIZE), "int8" or "dynamic-range".
    """
    out, in_ = weights.shape
    net = Net()
    integer = kind == "int8"
    dtype = "int8" if integer else "float32"
    scales = [0.02] if integer else []
    x = net.tensor("x", (1, in_), dtype, scales=scales)
    scale = [0.01] * (out if per_channel else 1)
    if kind == "float16":
        half = net.constant("w", weights.astype(np.float16))
        w = net.tensor("w32", weights.shape)
        net.operator("DEQUANTIZE", [half], [w], version=3)
    elif kind == "float32":
        w = net.constant("w", weights.astype(np.float32))
    else:
        w = net.constant("w", weights.astype(np.int8), scales=scale)
    shift = np.arange(out) % 7
    b = -1
    if bias and integer:
        b = net.constant("b", shift.astype(np.int32), scales=[0.0002] * len(scale))
    elif bias and kind == "float16":
        half = net.constant("b", shift.astype(np.float16))
        b = net.tensor("b32", shift.shape)
        net.operator("DEQUANTIZE", [half], [b], version=3)
    elif bias:
        b = net.constant("b", shift.astype(np.float32))
    y = net.tensor("y", (1, out), dtype, scales=[0.5] if integer else [])
    version = {"int8": 4, "dynamic-range": 12 if per_channel else 9}.get(kind, 1)
    options = schema.FullyConnectedOptionsT(asymmetricQuantizeInputs=kind == "dynamic-range")
    net.operator("FULLY_CONNECTED", [x, w, b], [y], version, options)
    net.metadata("note", b"kept as it is")
    return net.save(path, [x], [y])


def convolution_net(
    path: Path, weights: Array, *, depthwise: bool = False, dtype: str = "int8"
) -> Path:
    """One CONV_2D of `weights` `[out, h, w, in]`, or DEPTHWISE_CONV_2D of `[1, h, w, out]`.

    `dtype` "int8" (a scale per channel) or "float32"; stride 1, SAME, on 8x8 maps.
    """
    axis = 3 if depthwise else 0
    out, in_ = weights.shape[axis], weights.shape[3]
    net = Net()
    integer = dtype == "int8"
    x = net.tensor("x", (1, 8, 8, in_), dtype, scales=[0.02] if integer else [])
    scales = [0.01] * out if integer else []
    w = net.constant("w", weights.astype(dtype), scales=scales, axis=axis)
    bias = (np.arange(out) % 5).astype(np.int32 if integer else np.float32)
    b = net.constant("b", bias, scales=[0.0002] * out if integer else [])
    y = net.tensor("y", (1, 8, 8, out), dtype, scales=[0.3] if integer else [])
    if depthwise:
        options = schema.DepthwiseConv2DOptionsT(strideW=1, strideH=1, depthMultiplier=1)
    else:
        options = schema.Conv2DOptionsT(strideW=1, strideH=1)
    op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    net.operator(op, [x, w, b], [y], 3 if integer else 1, options)
    return net.save(path, [x], [y])
