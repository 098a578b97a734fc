"""Builds the small networks whose instruction counts tell what each kernel costs.

Every probe is a stem, layers, and the mean that ends a network in XNNPACK's sparse mode. Sparse
weights are stored as `edgeprune encode` stores them, so that the kernels counted are those that a
pruned network meets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.arrays import Array
from edgeprune.core.mask import make_mask
from edgeprune.core.pattern import Block
from edgeprune.tflite.format.draft import pack, raw_bytes
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file

_ENCODING = EncodingRules(sparse_networks=True)


@dataclass(frozen=True)
class PointwiseProbe:
    """A 1x1 convolution to `outputs` channels, with a fraction of zeros in blocks of outputs."""

    outputs: int
    sparsity: float = 0.0
    block: int = 1


@dataclass(frozen=True)
class DepthwiseProbe:
    """A depthwise convolution that pads alike on all sides."""

    kernel: int
    stride: int = 1


@dataclass(frozen=True)
class Probe:
    """A network: the height and width behind its stem, the stem's channels, and its layers."""

    height: int
    width: int
    channels: int
    layers: tuple[PointwiseProbe | DepthwiseProbe, ...]

    def write(self, path: Path, *, sparse: bool) -> Path:
        """Writes the network as a .tflite file; with `sparse`, for the sparse kernels."""
        path.write_bytes(_build(self))
        if sparse:
            encode_file(path, _ENCODING, path)
        return path


class _Builder:
    """A model under construction; every method returns the index of the tensor that it makes."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.rng = np.random.default_rng(0)
        self.graph = schema.SubGraphT(tensors=[], operators=[], name=b"main")
        self.model = schema.ModelT(
            version=3,
            operatorCodes=[],
            subgraphs=[self.graph],
            description=b"probe",
            buffers=[schema.BufferT()],
            metadata=[],
            signatureDefs=[],
        )
        self.shape = tuple(shape)
        self.current = self.tensor(self.shape)
        self.graph.inputs = np.array([self.current], np.int32)

    def tensor(self, shape: Sequence[int], data: Array | None = None) -> int:
        """Adds a tensor; a constant one if there is data."""
        buffer = 0
        if data is not None:
            self.model.buffers.append(schema.BufferT(data=raw_bytes(data)))
            buffer = len(self.model.buffers) - 1
        integer = data is not None and data.dtype == np.int32
        self.graph.tensors.append(
            schema.TensorT(
                shape=np.array(shape, np.int32),
                type=schema.TensorType.INT32 if integer else schema.TensorType.FLOAT32,
                buffer=buffer,
                name=b"t%d" % len(self.graph.tensors),
            )
        )
        return len(self.graph.tensors) - 1

    def constant(self, data: Array) -> int:
        """Adds a constant."""
        return self.tensor(data.shape, data)

    def append(self, op: str, constants: Sequence[int], shape: Sequence[int], options: Any) -> None:
        """Adds an operator on the last tensor."""
        code = getattr(schema.BuiltinOperator, op)
        self.model.operatorCodes.append(schema.OperatorCodeT(min(code, 127), None, 1, code))
        out = self.tensor(shape)
        self.graph.operators.append(
            schema.OperatorT(
                opcodeIndex=len(self.model.operatorCodes) - 1,
                inputs=np.array([self.current, *constants], np.int32),
                outputs=np.array([out], np.int32),
                builtinOptionsType=getattr(
                    schema.BuiltinOptions, type(options).__name__.removesuffix("T")
                ),
                builtinOptions=options,
            )
        )
        self.current, self.shape = out, tuple(shape)

    def pad(self, amount: int) -> None:
        """Pads a map alike on all sides."""
        batch, height, width, channels = self.shape
        pads = self.constant(np.array([[0, 0], *[[amount] * 2] * 2, [0, 0]], np.int32))
        shape = (batch, height + 2 * amount, width + 2 * amount, channels)
        self.append("PAD", [pads], shape, schema.PadOptionsT())

    def convolve(self, weights: Array, stride: int) -> None:
        """Adds a convolution; depthwise if the weights `[n, h, w, c]` have n = 1 and c outputs."""
        depthwise = weights.shape[0] == 1 and weights.shape[3] == self.shape[3]
        channels = weights.shape[3] if depthwise else weights.shape[0]
        options: Any = (
            schema.DepthwiseConv2DOptionsT(depthMultiplier=1)
            if depthwise
            else schema.Conv2DOptionsT()
        )
        options.padding = schema.Padding.VALID
        options.strideH = options.strideW = stride
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        batch, *sides, _ = self.shape
        rows, columns = ((side - weights.shape[1]) // stride + 1 for side in sides)
        inputs = [self.constant(weights), self.constant(np.zeros(channels, np.float32))]
        op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        self.append(op, inputs, (batch, rows, columns, channels), options)

    def random(self, *shape: int) -> Array:
        """Weights without a zero."""
        return self.rng.uniform(0.1, 1, shape).astype(np.float32)


def _build(probe: Probe) -> bytes:
    net = _Builder((1, 2 * probe.height, 2 * probe.width, 3))
    net.pad(1)
    net.convolve(net.random(probe.channels, 3, 3, 3), 2)
    for layer in probe.layers:
        channels = net.shape[3]
        match layer:
            case DepthwiseProbe(kernel, stride):
                net.pad(kernel // 2)
                net.convolve(net.random(1, kernel, kernel, channels), stride)
            case PointwiseProbe(outputs, sparsity, block):
                scores = net.rng.uniform(size=(outputs, channels)).astype(np.float32)
                kept = make_mask(scores, Block(block, 1), sparsity)
                weights = net.random(outputs, channels) * kept
                net.convolve(weights.astype(np.float32).reshape(outputs, 1, 1, channels), 1)
    axes = net.constant(np.array([1, 2], np.int32))
    net.append("MEAN", [axes], (1, net.shape[3]), schema.ReducerOptionsT(keepDims=False))
    net.graph.outputs = np.array([net.current], np.int32)
    return bytes(pack(net.model))
