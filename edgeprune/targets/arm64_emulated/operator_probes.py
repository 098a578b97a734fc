"""The networks of one or two operators that tell what operators cost in each number format.

An operator that stands twice in a network tells its cost from that of starting the network, and of
reading its inputs and writing its outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.terms import Numerics
from edgeprune.profiles.operation_costs import DEPTHWISE
from edgeprune.targets.arm64_emulated.probe_network import ProbeNetwork

_SIDES = (1, 2, 4, 7, 8, 10, 14, 28)
_POINTWISE = ((64, 8), (96, 16), (144, 24), (40, 40), (64, 64), (24, 96), (256, 128), (80, 200))
_MOST_PRODUCTS = 7_000_000
_WINDOWS = (
    (3, 1, 32, 64),
    (3, 2, 64, 64),
    (5, 1, 16, 32),
    (3, 1, 64, 40),
    (1, 2, 64, 128),
    (1, 2, 40, 48),
    (7, 1, 8, 16),
)
"""Kernel, stride, inputs and outputs of convolutions."""
_STEMS = ((3, 2, 16), (3, 2, 32), (3, 1, 24), (7, 2, 32))
_DENSE = ((64, 10), (128, 1000), (1280, 1000), (576, 144), (1024, 24))
_UNARY = ("LOGISTIC", "TANH", "HARD_SWISH", "RELU", "RELU6", "LEAKY_RELU", "ELU")
_OPTIONS: dict[str, Callable[[], object]] = {
    "HARD_SWISH": schema.HardSwishOptionsT,
    "LEAKY_RELU": lambda: schema.LeakyReluOptionsT(alpha=0.1),
    "ADD": schema.AddOptionsT,
    "SUB": schema.SubOptionsT,
    "MUL": schema.MulOptionsT,
}
_POOLS = (("MAX_POOL_2D", 3, 2), ("MAX_POOL_2D", 2, 2), ("AVERAGE_POOL_2D", 3, 1))
_FEW, _MANY = 40, 96
"""Channels: of half vectors too, and of whole ones."""


def operator_probes(numerics: Numerics) -> Iterator[ProbeNetwork]:
    """Yields the networks to count in a number format."""
    yield from _matrices(numerics)
    yield from _depthwise(numerics)
    for side in (1, 7, 14, 28):
        for channels in (_FEW, _MANY):
            shape = (1, side, side, channels)
            for times in (1, 2):
                yield from _elementwise(shape, numerics, times)
            yield from _maps(shape, numerics)
    for outputs in (10, 1000):
        net = ProbeNetwork((1, outputs), numerics)
        net.append("SOFTMAX", schema.SoftmaxOptionsT(beta=1.0))
        yield net
    if numerics != "float16-arithmetic":  # there they run outside XNNPACK, which converts nothing
        for side, channels in ((14, _FEW), (28, 3), (112, 3)):
            yield from _moved((1, side, side, channels), numerics)
    if numerics == "int8":
        yield from _borders()


def _matrices(numerics: Numerics) -> Iterator[ProbeNetwork]:
    for side in _SIDES:
        for inputs, outputs in _POINTWISE:
            if side * side * inputs * outputs < _MOST_PRODUCTS:
                yield _convolution(numerics, side, inputs, outputs, 1, 1)
    for side in (7, 14, 28):
        for kernel, stride, inputs, outputs in _WINDOWS:
            yield _convolution(numerics, side, inputs, outputs, kernel, stride)
    for side in (16, 28, 56):
        for kernel, stride, outputs in _STEMS:
            yield _convolution(numerics, side, 3, outputs, kernel, stride)
    for inputs, outputs in _DENSE:
        net = ProbeNetwork((1, inputs), numerics)
        net.connect(outputs)
        yield net


def _convolution(
    numerics: Numerics, side: int, inputs: int, outputs: int, kernel: int, stride: int
) -> ProbeNetwork:
    net = ProbeNetwork((1, side * stride, side * stride, inputs), numerics)
    net.convolve(net.random(outputs, kernel, kernel, inputs), stride, same=True)
    return net


def _depthwise(numerics: Numerics) -> Iterator[ProbeNetwork]:
    for side in (1, 2, 4, 7, 14, 28):
        for kernel, stride in DEPTHWISE:
            for channels in (16, 40, 128):
                net = ProbeNetwork((1, side * stride, side * stride, channels), numerics)
                net.convolve(net.random(1, kernel, kernel, channels), stride, same=True)
                yield net


def _elementwise(
    shape: tuple[int, int, int, int], numerics: Numerics, times: int
) -> Iterator[ProbeNetwork]:
    for op in _UNARY if times == 1 else ():
        net = ProbeNetwork(shape, numerics)
        net.append(op, _OPTIONS.get(op, lambda: None)())
        yield net
    if times == 1:
        net = ProbeNetwork(shape, numerics)
        value = net.current
        net.append("LOGISTIC")
        net.append("MUL", schema.MulOptionsT(), others=[value])
        yield net
    for op in ("ADD", "SUB", "MUL"):
        for second in (shape, (1, 1, 1, shape[3])):
            net = ProbeNetwork(shape, numerics)
            other = net.activation(second)
            net.graph.inputs = np.array([net.current, other], np.int32)
            for _ in range(times):
                net.append(op, _OPTIONS[op](), others=[other])
            yield net


def _maps(shape: tuple[int, int, int, int], numerics: Numerics) -> Iterator[ProbeNetwork]:
    """Yields what takes a map and gives one of another shape."""
    _, side, _, channels = shape
    for keep in (False, True):
        net = ProbeNetwork(shape, numerics)
        net.average(keep=keep)
        yield net
    net = ProbeNetwork(shape, numerics)
    net.pad(1)
    yield net
    net.pad(1)
    yield net
    for depthwise in (False, True):
        net = ProbeNetwork(shape, numerics)
        net.pad(1)
        weights = net.random(1 if depthwise else 8, 3, 3, channels)
        net.convolve(weights, 1)
        yield net
    net = ProbeNetwork(shape, numerics)
    joined = (*shape[:3], 2 * channels)
    net.append("CONCATENATION", schema.ConcatenationOptionsT(axis=3), joined, [net.current])
    yield net
    net = ProbeNetwork(shape, numerics)
    flat = net.constant(np.array([1, side * side * channels], np.int32))
    net.append("RESHAPE", schema.ReshapeOptionsT(), (1, side * side * channels), [flat])
    yield net
    for op, options in (
        ("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT),
        ("RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT),
    ):
        net = ProbeNetwork(shape, numerics)
        size = net.constant(np.array([2 * side, 2 * side], np.int32))
        net.append(op, options(), (1, 2 * side, 2 * side, channels), [size])
        yield net
    if side > 1:
        for op, window, stride in (*_POOLS, ("AVERAGE_POOL_2D", side, 1)):
            yield _pool(shape, numerics, op, window, stride)


def _pool(
    shape: tuple[int, int, int, int], numerics: Numerics, op: str, window: int, stride: int
) -> ProbeNetwork:
    net = ProbeNetwork(shape, numerics)
    options = schema.Pool2DOptionsT()
    options.filterHeight = options.filterWidth = window
    options.strideH = options.strideW = stride
    options.padding = schema.Padding.VALID
    side = (shape[1] - window) // stride + 1
    net.append(op, options, (1, side, side, shape[3]))
    return net


def _moved(shape: tuple[int, int, int, int], numerics: Numerics) -> Iterator[ProbeNetwork]:
    """Yields what moves the pixels of a map or an image."""
    net = ProbeNetwork(shape, numerics)
    turned = net.constant(np.array([0, 2, 1, 3], np.int32))
    net.append("TRANSPOSE", schema.TransposeOptionsT(), None, [turned])
    yield net
    net = ProbeNetwork(shape, numerics)
    axis = net.constant(np.array([1], np.int32))
    net.append("REVERSE_V2", schema.ReverseV2OptionsT(), None, [axis])
    yield net


def _borders() -> Iterator[ProbeNetwork]:
    """Yields what leads from int8 to float32 and back."""
    for side in (1, 7, 28):
        net = ProbeNetwork((1, side, side, _MANY), "int8")
        net.to_float()
        yield net
        net = ProbeNetwork((1, side, side, _MANY), "float32")
        net.to_int8()
        yield net
