"""Files that end in operators which no runtime has, behind others that all have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.islands import pointwise
from tests.support.lift_cases import values
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
