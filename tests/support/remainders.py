"""Files that end in operators which no runtime has, behind others that all have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.islands import pointwise
from tests.support.lift_cases import values
from tests.support.quantized_networks import QuantizedNet
from tests.support.tflite_builder import Net

MYSTERY = b"Mystery"
OPTIONS = bytes(range(16))


def decoded(path: Path, *, remainder: bool = True) -> Path:
    """Convolutions; the last two are read by a custom operator, and one of them is an output.

    The custom operator reads a float16 constant behind DEQUANTIZE too; RELU reads its result.

    Args:
      path: the file to write.
      remainder: whether it has the custom operator and what comes behind; else what that reads is
        an output in its place.
    """
    net = Net()
    x = net.tensor("x", (1, 4, 4, 3))
    features = pointwise(net, x, "features", 24, activation=1)
    scores = pointwise(net, pointwise(net, features, "between", 16), "scores", 5)
    offsets = pointwise(net, features, "offsets", 6)
    if not remainder:
        return net.save(path, [x], [scores, offsets])
    half, whole = net.constant("anchors", values(4, 2).astype(np.float16)), net.tensor("a", (4, 2))
    net.operator("DEQUANTIZE", [half], [whole])
    poses, kept = net.tensor("poses", (1, 4, 2)), net.tensor("kept", (1, 4, 2))
    net.operator("CUSTOM", [scores, offsets, whole], [poses], custom_code=MYSTERY)
    net.graph.operators[-1].customOptions = np.frombuffer(OPTIONS, np.uint8)
    net.operator("RELU", [poses], [kept])
    net.metadata("note", b"kept as it is")
    return net.save(path, [x], [kept, scores])


def quantized_decoded(path: Path) -> Path:
    """A convolution of int8 values, read by the custom operator."""
    net = QuantizedNet("int8")
    x = net.activation("x", 1, 8, 8, 16, low=-1, high=1)
    options = schema.Conv2DOptionsT(padding=1, strideH=1, strideW=1)
    options.dilationHFactor = options.dilationWFactor = 1
    made = net.activation("scores", 1, 8, 8, 32, low=-4, high=4)
    scores = net.layer("CONV_2D", x, net.weight("w", 32, 1, 1, 16), made, options)
    poses = net.tensor("poses", (1, 4))
    net.operator("CUSTOM", [scores], [poses], custom_code=MYSTERY)
    return net.save(path, [x], [poses])
