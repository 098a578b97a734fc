"""Borders of the lowest number in front of maximum pools, as PyTorch's `MaxPool2d(padding=1)` has.

    before   x --> PADV2 of -3.4e38 --> MAX_POOL_2D
    Keras    x --> zeros around x, if x is never negative --> MaxPooling2D
             x --> x mirrored at its border               --> MaxPooling2D

Where no window reaches farther out than into the map, a mirrored border holds only what the window
holds too, so that maxima stay. A border of -3.4e38 would give an int8 tensor a scale of 1e36.
"""

from __future__ import annotations

from typing import Literal

from edgeprune.conversion.lift.site import Site
from edgeprune.tflite.format.graph import Operator

LOWEST = -1e30
"""A border of less is one that no maximum takes."""
_SAME = 0
_NOT_NEGATIVE = frozenset({"RELU", "RELU6", "RELU_0_TO_1", "LOGISTIC", "SOFTMAX", "EXP", "SQUARE"})
_CLIPS = (1, 3)
"""The fused activations RELU and RELU6."""

Border = Literal["given", "zeros", "mirrored"]


def border_of(site: Site, pads: list[tuple[int, int]], value: float) -> Border:
    """What may stand around a map in the place of a value, so that the pools behind it agree."""
    subgraph = site.building.subgraph
    made = site.operator.outputs[0]
    pools = [reader for reader, _ in subgraph.readers.get(made, ())]
    if value > LOWEST or len(pads) != 4 or any(pads[0]) or any(pads[3]):
        return "given"
    if not pools or made in subgraph.outputs or not all(_covers(pool, pads) for pool in pools):
        return "given"
    maker = subgraph.makers.get(site.operator.inputs[0])
    if maker is not None and _never_negative(maker):
        return "zeros"
    small = any(max(pads[axis]) > site.shape(0)[axis] for axis in (1, 2))
    return "given" if small else "mirrored"


def _covers(pool: Operator, pads: list[tuple[int, int]]) -> bool:
    """Whether at least half of every window of a maximum pool lies on the map."""
    if pool.op != "MAX_POOL_2D" or pool.options.padding == _SAME:
        return False
    sizes = pool.options.filterHeight, pool.options.filterWidth
    return all(2 * max(pad) <= size for pad, size in zip(pads[1:3], sizes, strict=True))


def _never_negative(maker: Operator) -> bool:
    clips = getattr(maker.options, "fusedActivationFunction", 0) in _CLIPS
    return clips or maker.op in _NOT_NEGATIVE
