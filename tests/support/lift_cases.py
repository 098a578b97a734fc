"""Files with one operator, or a few, for tests of the lift; straight from the schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.tflite_builder import Net

Array = np.ndarray[Any, np.dtype[Any]]
RELU, RELU_N1_TO_1, RELU6, TANH = 1, 2, 3, 4
SAME, VALID = 0, 1


def values(*shape: int, seed: int = 7) -> Array:
    """Random reals."""
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


def reals(*given: float) -> Array:
    """Given reals, `[n]`."""
    return np.array(given, np.float32)


def ints(*given: Any) -> Array:
    """Whole numbers, as shapes and axes are."""
    return np.array(given, np.int32)


def single(
    path: Path,
    op: str,
    given: Sequence[tuple[int, ...] | Array | None],
    made: Sequence[tuple[int, ...]],
    options: Any = None,
    version: int = 1,
    dtype: str | Sequence[str] = "float32",
) -> Path:
    """One operator.

    Args:
      path: of the file.
      op: its name.
      given: for each input a shape, the values of a constant, or None where it is left out.
      made: the shapes of the outputs.
      options: its options.
      version: of the operator.
      dtype: of the outputs, or one for each.
    """
    net = Net()
    inputs: list[int] = []
    free: list[int] = []
    for number, each in enumerate(given):
        if each is None:
            inputs.append(-1)
        elif isinstance(each, tuple):
            inputs.append(net.tensor(f"in/{number}", each))
            free.append(inputs[-1])
        else:
            inputs.append(net.constant(f"constant/{number}", each))
    dtypes = [dtype] * len(made) if isinstance(dtype, str) else dtype
    pairs = zip(made, dtypes, strict=True)
    outputs = [net.tensor(f"block/{op};and more", shape, each) for shape, each in pairs]
    net.operator(op, inputs, outputs, version, options)
    return net.save(path, free, outputs)


def span(size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    """How many places a window has on an axis."""
    reach = (kernel - 1) * dilation
    return -(-(size if padding == SAME else size - reach) // stride)


def convolution(
    path: Path,
    *,
    shape: tuple[int, int, int] = (7, 9, 4),
    kernel: tuple[int, int] = (3, 3),
    strides: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: int = SAME,
    activation: int = 0,
    depthwise: bool = False,
    groups: int = 1,
    multiplier: int = 2,
    bias: bool = True,
) -> Path:
    """A CONV_2D to 6 channels, or a DEPTHWISE_CONV_2D, of one sample."""
    height, width, channels = shape
    out = channels * multiplier if depthwise else 6
    weights = values(1, *kernel, out) if depthwise else values(out, *kernel, channels // groups)
    places = zip((height, width), kernel, strides, dilation, strict=True)
    made = (1, *(span(*axis, padding) for axis in places), out)
    common = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilation[0],
        "dilationWFactor": dilation[1],
        "fusedActivationFunction": activation,
    }
    if depthwise:
        options = schema.DepthwiseConv2DOptionsT(depthMultiplier=multiplier, **common)
    else:
        options = schema.Conv2DOptionsT(**common)
    op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    biases = [values(out, seed=8)] if bias else []
    given: list[tuple[int, ...] | Array | None] = [(1, *shape), weights, *biases]
    version = 2 if depthwise and max(dilation) > 1 else 1
    return single(path, op, given, [made], options, version)
