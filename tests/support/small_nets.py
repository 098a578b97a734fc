"""Small int8 networks for compilers and microcontrollers, straight from the schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.tflite_builder import Array, Net


def two_of_four(shape: Sequence[int], seed: int = 0) -> Array:
    """int8 weights `[out, ..., in]` of which any two of four input channels are zero, `in` % 4 = 0.

    No kept weight is zero by itself.
    """
    generator = np.random.default_rng(seed)
    weights = generator.integers(1, 100, shape).astype(np.int8)
    groups = weights.reshape(-1, 4)
    for group in groups:
        group[generator.choice(4, 2, replace=False)] = 0
    return weights


def chain(path: Path, weights: Sequence[tuple[str, Array]], size: int = 16) -> Path:
    """Operators one behind the other, each named `layer_N`, int8, on maps of `size` x `size`.

    `weights` are of CONV_2D `[out, h, w, in]`, DEPTHWISE_CONV_2D `[1, h, w, out]` or, for any other
    operator, empty: it then takes the map alone and leaves its shape as it is.
    """
    net = Net()
    first = weights[0][1].shape[3]
    x = last = net.tensor("image", (1, size, size, first), "int8", scales=[0.02])
    channels = first
    for number, (op, values) in enumerate(weights):
        inputs = [last]
        if values.size:
            axis = 3 if op == "DEPTHWISE_CONV_2D" else 0
            channels = values.shape[axis]
            scales = [0.01] * channels
            inputs.append(net.constant(f"w{number}", values, scales=scales, axis=axis))
            bias = np.zeros(channels, np.int32)
            inputs.append(net.constant(f"b{number}", bias, scales=[0.0002] * channels))
        last = net.tensor(
            f"layer_{number}", (1, size, size, channels), "int8", scales=[0.02 * 8 ** (number + 1)]
        )
        net.operator(op, inputs, [last], 3 if values.size else 1, _options(op))
    return net.save(path, [x], [last])


def _options(op: str) -> Any:
    match op:
        case "CONV_2D":
            return schema.Conv2DOptionsT(strideW=1, strideH=1)
        case "DEPTHWISE_CONV_2D":
            return schema.DepthwiseConv2DOptionsT(strideW=1, strideH=1, depthMultiplier=1)
        case _:
            return None
