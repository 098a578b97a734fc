"""The interface of rules: how one layer couples the channels of its inputs, weights and outputs.

Every channel has a label, an integer. A rule is a pure function from the labels of a layer's inputs
to those of its outputs, the weight axes along which they lie, and the channels that must be removed
together. It knows one kind of layer and nothing of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Labels: TypeAlias = npt.NDArray[np.int64]
"""`[channels]`, the label of the channel at each position; a label may occur several times."""
SampleShape: TypeAlias = tuple[int | None, ...]
"""The shape of a tensor without its batch axis; None for a size that is not known."""


class CannotFollowError(Exception):
    """A rule cannot follow channels, which then stay; the message gives the reason."""


@dataclass(frozen=True)
class ChannelTensor:
    """A tensor with its channels: its shape, and the labels along its one channel axis."""

    shape: SampleShape
    axis: int
    """The channel axis, counted without the batch axis, never negative."""
    labels: Labels


@dataclass(frozen=True)
class Window:
    """A `slice` along channels, whose ends move as channels are removed in front of them."""

    start: Size
    stop: Size
    step: int = 1


Size: TypeAlias = "Labels | ChannelTensor | Window | int | tuple[Size, ...] | None"
"""What depends on channels in a configuration or an argument: labels mean how many of them are
left, a tensor its shape then; numbers stay, and a tuple stands for a list of such entries."""


@dataclass(frozen=True)
class WeightAxis:
    """An axis of a weight along which channels lie."""

    weight: str
    """Attribute of the layer that holds the `keras.Variable`; a missing or None one is skipped."""
    axis: int
    labels: Labels
    """`[size of the axis]`."""


@dataclass(frozen=True)
class Matrix:
    """A weight that makes each output channel a sum over input channels.

    Matrices determine the cost of a layer, and the loss when one of its input channels is removed.
    """

    weight: str
    """Attribute of the layer that holds the `keras.Variable`."""
    outputs: Labels
    """`[outputs]`."""
    output_axis: int
    inputs: Labels | None = None
    """`[inputs]`, summed over; None for a depthwise weight, which sums over no channel."""
    input_axis: int = 0
    groups: int = 1
    window: int = 1
    """Number of kernel positions, `kh * kw`."""
    pixels: int = 1
    """Number of positions at which the weight is applied, for one sample."""
    source: int | None = 0
    """Index of the layer's input that it reads; None if it reads an intermediate result."""


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer, the argument of a rule."""

    layer: Any
    inputs: tuple[ChannelTensor, ...]
    outputs: tuple[SampleShape, ...]
    arguments: tuple[Any, ...]
    """All arguments of the call, flat, tensors and constants."""
    new: Callable[[int], Labels]
    """Gives the labels of that many channels which the layer makes; the same for every call."""


@dataclass(frozen=True)
class Coupling:
    """How a layer couples channels, the result of a rule."""

    outputs: tuple[ChannelTensor, ...]
    weights: tuple[WeightAxis, ...] = ()
    sizes: Mapping[str, Size] = field(default_factory=dict)
    """Entries of the layer's configuration that depend on channels."""
    arguments: Mapping[int, Size] = field(default_factory=dict)
    """Arguments of an operation's only call that depend on channels, by their index in
    `LayerCall.arguments`."""
    united: tuple[tuple[Labels, Labels], ...] = ()
    """Pairs of arrays of one shape; channels at the same position must be removed together."""
    frozen: tuple[tuple[Labels, str], ...] = ()
    """Channels that must stay, and why."""
    matrices: tuple[Matrix, ...] = ()


ChannelRule: TypeAlias = Callable[[LayerCall], Coupling]
"""Raises `CannotFollowError` where it cannot follow channels."""


def only_input(call: LayerCall) -> ChannelTensor:
    """The only input of a layer.

    Raises:
      CannotFollowError: the layer has several inputs.
    """
    if len(call.inputs) != 1:
        raise CannotFollowError(f"it has {len(call.inputs)} inputs instead of one")
    return call.inputs[0]


def channel_axis(layer: Any, rank: int) -> int:
    """The channel axis of a layer's tensors; axis and `rank` do not count the batch axis."""
    return 0 if getattr(layer, "data_format", None) == "channels_first" else rank - 1


def require_axis(tensor: ChannelTensor, axis: int) -> None:
    """Checks that the channels of a tensor lie along an axis.

    Raises:
      CannotFollowError: they lie along another axis.
    """
    if tensor.axis != axis:
        raise CannotFollowError("channels lie along another axis than this layer's")


def pixels_of(shape: SampleShape, axis: int) -> int:
    """The number of positions of a tensor without its channel axis; unknown sizes count as 1."""
    return int(np.prod([size or 1 for at, size in enumerate(shape) if at != axis], dtype=np.int64))
