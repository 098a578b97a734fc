"""Rules for layers that move values: flatten, reshape, permute, repeat."""

from __future__ import annotations

import math

import numpy as np

from edgeprune.pruning.channels.rule import (
    CannotFollowError,
    ChannelTensor,
    Coupling,
    Labels,
    LayerCall,
    SampleShape,
    only_input,
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
    groups of channels are shuffled.

    Raises:
      CannotFollowError: a size is not known, or there are more than `MAX_POSITIONS` values.
    """
    source = only_input(call)
    before, after = _known(source.shape), _known(call.outputs[0])
    spread = [1] * len(before)
    spread[source.axis] = -1
    everywhere = np.broadcast_to(source.labels.reshape(spread), before).reshape(after)
    axes = [axis for axis in range(len(after)) if _varies(everywhere, axis)]
    axis = axes[-1] if axes else len(after) - 1
    labels, united = _along(everywhere, axis, len(axes) > 1)
    made = ChannelTensor(after, axis, labels)
    sizes = {"target_shape": made} if hasattr(call.layer, "target_shape") else {}
    return Coupling((made,), sizes=sizes, united=united)


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
    source = only_input(call)
    axis = list(call.layer.dims).index(source.axis + 1)
    return Coupling((ChannelTensor(call.outputs[0], axis, source.labels),))


def repeat(call: LayerCall) -> Coupling:
    """Repeats `[channels]` to `[n, channels]`."""
    return Coupling((ChannelTensor(call.outputs[0], 1, only_input(call).labels),))
