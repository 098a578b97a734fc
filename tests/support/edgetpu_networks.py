"""Small .tflite files in 8 bits, for the rules of the Edge TPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.file import Graph, read
from tests.support.tflite_builder import Array, Net

CONVOLUTION = schema.Conv2DOptionsT(strideW=1, strideH=1, dilationWFactor=1, dilationHFactor=1)


class Net8(Net):
    """A network under construction whose tensors are of 8 bits unless told otherwise."""

    def map8(self, shape: Sequence[int], dtype: str = "int8", data: Array | None = None) -> int:
        name = f"t{len(self.graph.tensors)}"
        quantized = dtype in ("int8", "uint8")
        return self.tensor(name, shape, dtype, data, scales=[0.02] if quantized else [])

    def constant8(self, data: Array, **quantization: Any) -> int:
        return self.constant(f"c{len(self.graph.tensors)}", data, **quantization)

    def step(self, op: str, x: int, shape: Sequence[int], *more: int, options: Any = None) -> int:
        """Adds an operator of one output; returns that."""
        y = self.map8(shape)
        self.operator(op, [x, *more], [y], options=options)
        return y

    def convolution(
        self,
        x: int,
        outputs: int,
        kernel: int = 1,
        *,
        per_channel: bool = False,
        depthwise: bool = False,
        activation: bool = False,
    ) -> int:
        """Adds a convolution with a bias, stride 1 and SAME padding; returns its output."""
        *leading, inputs = self.shapes[x]
        fused = schema.ActivationFunctionType.RELU6 if activation else 0
        one = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
        if depthwise:
            shape = (1, kernel, kernel, outputs)
            options: Any = schema.DepthwiseConv2DOptionsT(
                **one, depthMultiplier=1, fusedActivationFunction=fused
            )
        else:
            shape = (outputs, kernel, kernel, inputs)
            options = schema.Conv2DOptionsT(**one, fusedActivationFunction=fused)
        scales = [0.01] * (outputs if per_channel else 1)
        weights = self.constant8(
            np.zeros(shape, np.int8), scales=scales, axis=3 if depthwise else 0
        )
        bias = self.constant8(np.zeros(outputs, np.int32), scales=[0.01])
        op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self.step(op, x, (*leading, outputs), weights, bias, options=options)

    def dense(self, x: int, outputs: int, *, per_channel: bool = False, version: int = 4) -> int:
        """Adds a Dense layer without a bias; returns its output."""
        inputs = self.shapes[x][-1]
        scales = [0.01] * (outputs if per_channel else 1)
        weights = self.constant8(np.zeros((outputs, inputs), np.int8), scales=scales)
        y = self.map8((1, outputs))
        options = schema.FullyConnectedOptionsT()
        self.operator("FULLY_CONNECTED", [x, weights, -1], [y], version, options)
        return y

    def flatten(self, x: int) -> int:
        """Adds the RESHAPE of a map to one row."""
        length = int(np.prod(self.shapes[x]))
        shape = self.constant8(np.array([1, length], np.int32))
        return self.step("RESHAPE", x, (1, length), shape)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of every tensor so far."""
        return [tuple(int(size) for size in tensor.shape) for tensor in self.graph.tensors]

    def graph_at(self, path: Path, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
        """Writes the file and reads it."""
        return read(self.save(path, inputs, outputs))


def lone_operator(
    path: Path,
    op: str,
    shapes: Sequence[Sequence[int]],
    made: Sequence[int],
    *,
    options: Any = None,
    constants: Mapping[int, Array] | None = None,
    version: int = 1,
    dtypes: tuple[str, str] = ("int8", "int8"),
    custom_code: bytes | None = None,
) -> Graph:
    """A network of one operator.

    Args:
      path: of the file.
      op: the operator's name.
      shapes: of the computed inputs, in order.
      made: shape of the output.
      options: of the operator.
      constants: constant inputs by position; the computed ones fill what is left.
      version: of the operator.
      dtypes: of the computed inputs and of the output.
      custom_code: name of a custom operator.
    """
    net = Net8()
    given = {position: net.constant8(data) for position, data in (constants or {}).items()}
    computed = [net.map8(shape, dtypes[0]) for shape in shapes]
    rest = iter(computed)
    inputs = [
        given[position] if position in given else next(rest)
        for position in range(len(given) + len(computed))
    ]
    y = net.map8(made, dtypes[1])
    net.operator(op, inputs, [y], version, options, custom_code)
    return net.graph_at(path, computed, [y])
