"""Small float networks that writing back has to mind much of, straight from the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.tflite_builder import Array, Net

Kind = Literal["float32", "float16", "dynamic-range"]


class LiftNet(Net):
    """Weights in a number format, with what restores them."""

    def __init__(self, kind: Kind, seed: int = 0) -> None:
        super().__init__()
        self.kind = kind
        self.random = np.random.default_rng(seed)

    def weight(self, name: str, *shape: int, axis: int | None = 0) -> int:
        """Random values that an operator reads as floats, stored in the format.

        Integers have a scale for each channel along `axis`, or one for all.
        """
        values = self.random.normal(0, 0.5, shape).astype(np.float32)
        if self.kind == "float32":
            return self.constant(name, values)
        if self.kind == "float16":
            return self.restored(name, values.astype(np.float16))
        others = tuple(i for i in range(len(shape)) if i != axis)
        scale = np.abs(values).max(axis=others, keepdims=True) / 127
        integers = np.rint(values / scale).astype(np.int8)
        return self.constant(name, integers, scales=scale.reshape(-1).tolist(), axis=axis or 0)

    def restored(self, name: str, half: Array) -> int:
        """A float16 constant behind DEQUANTIZE."""
        stored = self.constant(name, half)
        made = self.tensor(f"{name}/floats", half.shape)
        self.operator("DEQUANTIZE", [stored], [made], version=3)
        return made

    def bias(self, name: str, length: int) -> int:
        """Random biases."""
        return self.constant(name, self.random.normal(0, 0.5, length).astype(np.float32))

    def made(self, op: str, inputs: Any, name: str, *shape: int, options: Any = None) -> int:
        """The output of an operator."""
        output = self.tensor(name, shape)
        self.operator(op, inputs, [output], options=options)
        return output


def residual(path: Path, kind: Kind = "float32") -> Path:
    """A stem, a block around which channels are padded, a reshape and two matrices; 8 by 8 pixels.

    `[1, 8, 8, 3]` to `[1, 5]`. The stem's 12 channels are padded to 16, and the sum is scaled by a
    constant for each channel. `stem` and `fc1` share their bytes of bias, `narrow` is free of all.
    """
    net = LiftNet(kind)
    conv = {"strideW": 1, "strideH": 1, "padding": 0}
    x = net.tensor("image", (1, 8, 8, 3))
    shared = net.bias("shared_bias", 12)
    stem = net.made(
        "CONV_2D",
        [x, net.weight("stem/w", 12, 3, 3, 3), shared],
        "stem",
        *(1, 8, 8, 12),
        options=schema.Conv2DOptionsT(**conv, fusedActivationFunction=1),
    )
    deep = net.made(
        "DEPTHWISE_CONV_2D",
        [stem, net.weight("deep/w", 1, 3, 3, 12, axis=3), net.bias("deep/b", 12)],
        "deep",
        *(1, 8, 8, 12),
        options=schema.DepthwiseConv2DOptionsT(**conv, depthMultiplier=1),
    )
    wide = net.made(
        "CONV_2D",
        [deep, net.weight("wide/w", 16, 1, 1, 12), net.bias("wide/b", 16)],
        "wide",
        *(1, 8, 8, 16),
        options=schema.Conv2DOptionsT(**conv),
    )
    amounts = net.constant("amounts", np.array([[0, 0], [0, 0], [0, 0], [0, 4]], np.int32))
    padded = net.made("PAD", [stem, amounts], "padded", 1, 8, 8, 16)
    added = net.made("ADD", [wide, padded], "added", 1, 8, 8, 16, options=schema.AddOptionsT())
    scale = net.constant("scale", np.linspace(0.5, 1.5, 16).astype(np.float32))
    scaled = net.made("MUL", [added, scale], "scaled", 1, 8, 8, 16, options=schema.MulOptionsT())
    narrow = net.made(
        "CONV_2D",
        [scaled, net.weight("narrow/w", 16, 1, 1, 16), net.bias("narrow/b", 16)],
        "narrow",
        *(1, 8, 8, 16),
        options=schema.Conv2DOptionsT(**conv, fusedActivationFunction=1),
    )
    length = net.constant("length", np.array([-1, 1024], np.int32))
    flat = net.made("RESHAPE", [narrow, length], "flat", 1, 1024, options=schema.ReshapeOptionsT())
    fc1 = net.made(
        "FULLY_CONNECTED",
        [flat, net.weight("fc1/w", 12, 1024, axis=None), shared],
        "fc1",
        *(1, 12),
        options=schema.FullyConnectedOptionsT(fusedActivationFunction=1),
    )
    y = net.made(
        "FULLY_CONNECTED",
        [fc1, net.weight("fc2/w", 5, 12, axis=None), net.bias("fc2/b", 5)],
        "scores",
        *(1, 5),
        options=schema.FullyConnectedOptionsT(),
    )
    net.metadata("note", b"kept as it is")
    return net.save(path, [x], [y])
