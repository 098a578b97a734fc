"""Rules for layers that move values: flatten, reshape, permute, repeat."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgeprune.pruning.channels.rule import (
    CannotFollowError,
    ChannelTensor,
    Coupling,
    Labels,
    LayerCall,
    SampleShape,
    Size,
    channel_axis,
    only_input,
    require_axis,
)

MAX_POSITIONS = 1 << 24
"""Most values of one sample that are followed one by one through a reshape."""


def flatten(call: LayerCall) -> Coupling:
    """Channels repeat for every position, in memory order.

    Raises:
      CannotFollowError: as `reshape`, or channels come first.
    """
    if getattr(call.layer, "data_format", None) == "channels_first":
        raise CannotFollowError("it flattens channels that lie first")
    return reshape(call)


def reshape(call: LayerCall) -> Coupling:
    """Follows values one by one; the new shape may split channels over several axes.

    Then all that share a position on the last of those axes are coupled, as is necessary when
    groups of channels are shuffled. Where rows of channels become samples or samples rows, channels
    stay what they are.

    Raises:
      CannotFollowError: a size is not known, there are more than `MAX_POSITIONS` values, or
        samples are split or joined with channels.
    """
    source = only_input(call)
    before, after = _known(source.shape), _known(call.outputs[0])
    if math.prod(before) != math.prod(after):
        if source.axis != len(before) - 1 or before[-1] != after[-1]:
            raise CannotFollowError("it splits or joins samples")
        rows = ChannelTensor(after, len(after) - 1, source.labels)
        return Coupling((rows,), sizes=_shapes(call.layer, rows))
    spread = [1] * len(before)
    spread[source.axis] = -1
    everywhere = np.broadcast_to(source.labels.reshape(spread), before).reshape(after)
    axes = [axis for axis in range(len(after)) if _varies(everywhere, axis)]
    axis = axes[-1] if axes else len(after) - 1
    labels, united = _along(everywhere, axis, len(axes) > 1)
    made = ChannelTensor(after, axis, labels)
    return Coupling((made,), sizes=_shapes(call.layer, made), united=united)


def _shapes(layer: Any, made: ChannelTensor) -> dict[str, Size]:
    """The shape in a configuration: that of a layer, or with a batch axis of an operation."""
    if hasattr(layer, "target_shape"):
        return {"target_shape": made}
    if hasattr(layer, "newshape"):
        sizes: list[Size] = [layer.newshape[0], *made.shape]
        sizes[made.axis + 1] = made.labels
        return {"newshape": tuple(sizes)}
    return {}


def _known(shape: SampleShape) -> tuple[int, ...]:
    known = tuple(size for size in shape if size is not None)
    if len(known) < len(shape) or math.prod(known) > MAX_POSITIONS or not known:
        raise CannotFollowError(f"it reshapes {list(shape)}, whose size is not known or too large")
    return known


def _varies(labels: Labels, axis: int) -> bool:
    return bool((labels != np.take(labels, [0], axis=axis)).any())


def _along(
    everywhere: Labels, axis: int, several: bool
) -> tuple[Labels, tuple[tuple[Labels, Labels], ...]]:
    """The labels along one axis, and the pairs of labels that are coupled."""
    rows = np.moveaxis(everywhere, axis, -1).reshape(-1, everywhere.shape[axis])
    if not several:
        return rows[0].copy(), ()
    distinct = np.unique(rows, axis=0)
    first = np.broadcast_to(rows[0], distinct.shape)
    return rows[0].copy(), ((first.reshape(-1), distinct.reshape(-1)),)


def permute(call: LayerCall) -> Coupling:
    """Permutes the axes, the channel axis among them."""
    return _permuted(call, list(call.layer.dims))


def transpose(call: LayerCall) -> Coupling:
    """`keras.ops.transpose`, which permutes the axes, the channel axis among them.

    Raises:
      CannotFollowError: it permutes samples too.
    """
    axes = list(call.layer.axes or ())
    if axes[:1] != [0]:
        raise CannotFollowError("it permutes samples with other axes")
    return _permuted(call, axes[1:])


def _permuted(call: LayerCall, dims: list[int]) -> Coupling:
    source = only_input(call)
    axis = dims.index(source.axis + 1)
    return Coupling((ChannelTensor(call.outputs[0], axis, source.labels),))


def squeeze(call: LayerCall) -> Coupling:
    """Drops axes of size 1 that are named.

    Raises:
      CannotFollowError: as `reshape`, or the axes are not named.
    """
    if call.layer.axis is None:
        raise CannotFollowError("it drops every axis of size 1, whichever that is")
    return reshape(call)


def depth_to_space(call: LayerCall) -> Coupling:
    """Channels lie in `block * block` rows, which lose the same positions.

    Raises:
      CannotFollowError: channels lie along another axis.
    """
    source = only_input(call)
    require_axis(source, channel_axis(call.layer, len(source.shape)))
    rows = source.labels.reshape(call.layer.block_size**2, -1)
    first = np.broadcast_to(rows[0], rows.shape)
    return Coupling(
        (ChannelTensor(call.outputs[0], source.axis, rows[0]),),
        united=((first.reshape(-1), rows.reshape(-1)),),
    )


def space_to_depth(call: LayerCall) -> Coupling:
    """Channels occur once for every position of a block.

    Raises:
      CannotFollowError: channels lie along another axis.
    """
    source = only_input(call)
    require_axis(source, channel_axis(call.layer, len(source.shape)))
    labels = np.tile(source.labels, call.layer.block_size**2)
    return Coupling((ChannelTensor(call.outputs[0], source.axis, labels),))


def repeat(call: LayerCall) -> Coupling:
    """Repeats `[channels]` to `[n, channels]`."""
    return Coupling((ChannelTensor(call.outputs[0], 1, only_input(call).labels),))
