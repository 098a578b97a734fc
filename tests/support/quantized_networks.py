"""Small networks with quantized activations, straight from the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.tflite_builder import Net

Kind = Literal["int8", "uint8"]


class QuantizedNet(Net):
    """int8 with a scale per channel, or uint8 with one scale and a zero point per tensor."""

    def __init__(self, kind: Kind, seed: int = 0) -> None:
        super().__init__()
        self.kind = kind
        self.random = np.random.default_rng(seed)

    def activation(self, name: str, *shape: int, low: float, high: float) -> int:
        """A tensor that holds values from `low` to `high`."""
        least = np.iinfo(self.kind).min
        step = (high - low) / 255
        zero = round(least - low / step)
        return self.tensor(name, shape, self.kind, scales=[step], zero_point=zero)

    def step(self, index: int) -> float:
        """The scale of a tensor."""
        return float(self.graph.tensors[index].quantization.scale[0])

    def weight(self, name: str, *shape: int, axis: int = 0) -> int:
        """Random weights."""
        values = self.random.normal(0, 0.4, shape)
        if self.kind == "uint8":
            step = float(np.ptp(values)) / 255
            zero = round(-float(values.min()) / step)
            integers = np.clip(np.rint(values / step) + zero, 0, 255).astype(np.uint8)
            return self.constant(name, integers, scales=[step], zero_point=zero)
        others = tuple(at for at in range(len(shape)) if at != axis)
        steps = np.abs(values).max(axis=others, keepdims=True) / 127
        integers = np.rint(values / steps).astype(np.int8)
        return self.constant(name, integers, scales=steps.reshape(-1).tolist(), axis=axis)

    def bias(self, name: str, source: int, weight: int) -> int:
        """Random biases, in steps of input and weights."""
        steps = self.step(source) * self.graph.tensors[weight].quantization.scale
        length = self.graph.tensors[weight].shape[self._axis(weight)]
        integers = np.rint(self.random.normal(0, 0.3, length) / steps).astype(np.int32)
        return self.constant(name, integers, scales=steps.tolist())

    def _axis(self, weight: int) -> int:
        shape = self.graph.tensors[weight].shape
        return 3 if len(shape) == 4 and shape[0] == 1 else 0

    def layer(self, op: str, source: int, weight: int, output: int, options: Any) -> int:
        """An operator with weights and a bias."""
        name = self.graph.tensors[output].name.decode()
        inputs = [source, weight, self.bias(f"{name}/b", source, weight)]
        self.operator(op, inputs, [output], options=options, version=3)
        return output


def quantized_net(path: Path, kind: Kind = "int8", seed: int = 0, width: int = 16) -> Path:
    """A convolution, a depthwise one, another around which channels are padded, and a matrix.

    `[1, 8, 8, 3]` to `[1, 5]`, real values from -1 to 1 come in. `width` is the last convolution's.
    """
    net = QuantizedNet(kind, seed)
    conv = {"strideW": 1, "strideH": 1, "padding": 0}
    conv |= {"dilationWFactor": 1, "dilationHFactor": 1}
    x = net.activation("image", 1, 8, 8, 3, low=-1, high=1)
    stem = net.layer(
        "CONV_2D",
        x,
        net.weight("stem/w", 8, 3, 3, 3),
        net.activation("stem", 1, 8, 8, 8, low=0, high=4),
        schema.Conv2DOptionsT(**conv, fusedActivationFunction=1),
    )
    deep = net.layer(
        "DEPTHWISE_CONV_2D",
        stem,
        net.weight("deep/w", 1, 3, 3, 8, axis=3),
        net.activation("deep", 1, 8, 8, 8, low=-5, high=5),
        schema.DepthwiseConv2DOptionsT(**conv, depthMultiplier=1),
    )
    wide = net.layer(
        "CONV_2D",
        deep,
        net.weight("wide/w", width, 1, 1, 8),
        net.activation("wide", 1, 8, 8, width, low=-6, high=6),
        schema.Conv2DOptionsT(**conv),
    )
    pool = net.activation("pool", 1, 1, 1, width, low=-6, high=6)
    window = schema.Pool2DOptionsT(
        padding=1, strideW=8, strideH=8, filterWidth=8, filterHeight=8, fusedActivationFunction=0
    )
    net.operator("AVERAGE_POOL_2D", [wide], [pool], 2, window)
    length = net.constant("length", np.array([1, width], np.int32))
    flat = net.activation("flat", 1, width, low=-6, high=6)
    net.operator("RESHAPE", [pool, length], [flat], options=schema.ReshapeOptionsT())
    scores = net.layer(
        "FULLY_CONNECTED",
        flat,
        net.weight("scores/w", 5, width),
        net.activation("scores", 1, 5, low=-4, high=4),
        schema.FullyConnectedOptionsT(),
    )
    return net.save(path, [x], [scores])
