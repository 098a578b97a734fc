"""What a rule is: how one layer couples the channels of its inputs, weights and outputs.

Every channel has a label, a number. A rule is a pure function: it is given the labels that come in
and says which labels go out, which weight axes carry them, and which of them stand or fall
together. It knows one kind of layer and nothing of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Labels: TypeAlias = npt.NDArray[np.int64]
"""`[channels]`, the label of the channel at each position; a label may stand at several."""
SampleShape: TypeAlias = tuple[int | None, ...]
"""Of a tensor, without its batch axis."""


class CannotFollowError(Exception):
    """A rule cannot say what becomes of channels; the message says why. They then stay."""


@dataclass(frozen=True)
class ChannelTensor:
    """What is known of a tensor: its shape, and the labels along its one channel axis."""

    shape: SampleShape
    axis: int
    """Of the channels, counted without the batch axis, never negative."""
    labels: Labels


@dataclass(frozen=True)
class WeightAxis:
    """An axis of a weight along which channels lie."""

    weight: str
    """Attribute of the layer that holds the `keras.Variable`; a missing or None one is skipped."""
    axis: int
    labels: Labels


@dataclass(frozen=True)
class Matrix:
    """A weight that makes each output channel a sum over input channels.

    It is what a device spends its multiplications and most of its bytes on, and where a channel
    that is removed is missed.
    """

    weight: str
    outputs: Labels
    output_axis: int
    inputs: Labels | None = None
    """Labels that the weight sums over; None for a depthwise weight, which sums over no channel."""
    input_axis: int = 0
    groups: int = 1
    window: int = 1
    """Kernel positions: `kh * kw`."""
    pixels: int = 1
    """Positions that the weight is applied at, for one sample."""
    source: int | None = 0
    """Which input of the layer it reads; None if it reads something in between."""


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer, as a rule sees it."""

    layer: Any
    inputs: tuple[ChannelTensor, ...]
    outputs: tuple[SampleShape, ...]
    arguments: tuple[Any, ...]
    """All that the layer was called with, flat, tensors and constants."""
    new: Callable[[int], Labels]
    """Gives labels for that many channels which the layer makes; at every call the same."""


@dataclass(frozen=True)
class Coupling:
    """What a rule says."""

    outputs: tuple[ChannelTensor, ...]
    weights: tuple[WeightAxis, ...] = ()
    sizes: Mapping[str, Labels | ChannelTensor] = field(default_factory=dict)
    """Entries of the layer's configuration that count channels: how many of these labels are left,
    or, of a tensor, its shape with the channels that are left."""
    united: tuple[tuple[Labels, Labels], ...] = ()
    """Pairs of arrays, position by position: channels that must be removed together."""
    frozen: tuple[tuple[Labels, str], ...] = ()
    """Channels that must stay, and why."""
    matrices: tuple[Matrix, ...] = ()


ChannelRule: TypeAlias = Callable[[LayerCall], Coupling]


def only_input(call: LayerCall) -> ChannelTensor:
    """The one tensor that a layer takes.

    Raises:
      CannotFollowError: it takes several.
    """
    if len(call.inputs) != 1:
        raise CannotFollowError(f"{len(call.inputs)} inputs where one is known how to be followed")
    return call.inputs[0]


def channel_axis(layer: Any, rank: int) -> int:
    """Where a layer with a `data_format` has its channels, in a tensor of `rank` without batch."""
    return 0 if getattr(layer, "data_format", None) == "channels_first" else rank - 1


def require_axis(tensor: ChannelTensor, axis: int) -> None:
    """Checks that channels lie along an axis.

    Raises:
      CannotFollowError: they lie along another one.
    """
    if tensor.axis != axis:
        raise CannotFollowError("channels lie along another axis than this layer's")


def pixels_of(shape: SampleShape, axis: int) -> int:
    """Positions of a tensor beside its channel axis; 1 for each size that is not known."""
    return int(np.prod([size or 1 for at, size in enumerate(shape) if at != axis], dtype=np.int64))
