"""Rules for layers that pass each channel on: activations, normalisation, pooling, padding."""

from __future__ import annotations

import numpy as np

from edgeprune.pruning.channels.mixing import activation_freezes
from edgeprune.pruning.channels.rule import (
    CannotFollowError,
    ChannelTensor,
    Coupling,
    LayerCall,
    WeightAxis,
    channel_axis,
    only_input,
    require_axis,
)


def elementwise(call: LayerCall) -> Coupling:
    """A function of each value alone; the shape stays.

    Raises:
      CannotFollowError: the output has another shape than the input.
    """
    source = only_input(call)
    if call.outputs[0] != source.shape:
        raise CannotFollowError("its output has another shape than its input")
    return Coupling((source,))


def activation(call: LayerCall) -> Coupling:
    """An activation layer.

    Raises:
      CannotFollowError: the activation reads all channels at once, or is a custom one.
    """
    reason = activation_freezes(call.layer.activation)
    if reason:
        raise CannotFollowError(reason)
    return elementwise(call)


def rescaling(call: LayerCall) -> Coupling:
    """One scale and offset for all channels.

    Raises:
      CannotFollowError: the scale or the offset differs between channels.
    """
    if np.size(call.layer.scale) > 1 or np.size(call.layer.offset) > 1:
        raise CannotFollowError("it has a scale for each channel in its configuration")
    return elementwise(call)


def _own_axis(axis: int, rank: int) -> int:
    """Converts an axis of a Keras layer, which counts the batch axis, to one without it."""
    return axis % (rank + 1) - 1


def batch_normalization(call: LayerCall) -> Coupling:
    """Four vectors `[channels]`; each channel is normalised alone."""
    source = only_input(call)
    require_axis(source, _own_axis(call.layer.axis, len(source.shape)))
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return Coupling((source,), tuple(WeightAxis(name, 0, source.labels) for name in names))


def layer_normalization(call: LayerCall) -> Coupling:
    """Scale and offset along the normalised axes, over the channels that are left."""
    return _normalized(call, ("gamma", "beta"))


def rms_normalization(call: LayerCall) -> Coupling:
    """A scale along the normalised axes, over the channels that are left."""
    return _normalized(call, ("scale",))


def _normalized(call: LayerCall, names: tuple[str, ...]) -> Coupling:
    source = only_input(call)
    given = call.layer.axis
    rank = len(source.shape)
    axes = [_own_axis(axis, rank) for axis in np.atleast_1d(given).tolist()]
    if source.axis not in axes:
        return Coupling((source,))
    at = sorted(axes).index(source.axis)
    return Coupling((source,), tuple(WeightAxis(name, at, source.labels) for name in names))


def group_normalization(call: LayerCall) -> Coupling:
    """Whole groups are removed, which keeps the statistics of the others.

    A single group is treated like layer normalisation.
    """
    source = only_input(call)
    require_axis(source, _own_axis(call.layer.axis, len(source.shape)))
    labels, groups = source.labels, call.layer.groups
    weights = tuple(WeightAxis(name, 0, labels) for name in ("gamma", "beta"))
    if groups == 1:
        return Coupling((source,), weights)
    members = labels.reshape(groups, -1)
    first = np.repeat(members[:, 0], members.shape[1])
    return Coupling((source,), weights, sizes={"groups": members[:, 0]}, united=((first, labels),))


def prelu(call: LayerCall) -> Coupling:
    """A slope for each value; along shared axes one for all positions."""
    source = only_input(call)
    if source.axis + 1 in (call.layer.shared_axes or ()):
        return Coupling((source,))
    return Coupling((source,), (WeightAxis("alpha", source.axis, source.labels),))


def layer_scale(call: LayerCall) -> Coupling:
    """A factor for each channel, as in Keras' ConvNeXt."""
    source = only_input(call)
    require_axis(source, len(source.shape) - 1)
    return Coupling(
        (source,),
        (WeightAxis("gamma", 0, source.labels),),
        sizes={"projection_dim": source.labels},
    )


def spatial(call: LayerCall) -> Coupling:
    """Pooling, padding, cropping, resizing: positions change, channels do not."""
    source = only_input(call)
    require_axis(source, channel_axis(call.layer, len(source.shape)))
    return Coupling((ChannelTensor(call.outputs[0], source.axis, source.labels),))


def global_pooling(call: LayerCall) -> Coupling:
    """One value for each channel; the other axes have size 1 or are dropped."""
    source = only_input(call)
    require_axis(source, channel_axis(call.layer, len(source.shape)))
    shape = call.outputs[0]
    return Coupling((ChannelTensor(shape, source.axis if len(shape) > 1 else 0, source.labels),))


def reduction(call: LayerCall) -> Coupling:
    """A mean, sum or extremum of `keras.ops`; over channels, over those that are left.

    Raises:
      CannotFollowError: it reduces over everything or over samples.
    """
    source = only_input(call)
    rank = len(source.shape)
    given = call.layer.axis
    axes = {_own_axis(axis, rank) for axis in np.atleast_1d(given).tolist() if axis is not None}
    if not axes or -1 in axes:
        raise CannotFollowError("it reduces over everything or over samples")
    if source.axis in axes:
        return _over_channels(call)
    gone = 0 if call.layer.keepdims else sum(axis < source.axis for axis in axes)
    return Coupling((ChannelTensor(call.outputs[0], source.axis - gone, source.labels),))


def _over_channels(call: LayerCall) -> Coupling:
    """What a reduction over the channels gives: as layer normalisation does inside, one value."""
    shape = call.outputs[0]
    if not shape or shape[-1] is None:
        raise CannotFollowError("it reduces to sizes that are not known")
    made = call.new(shape[-1])
    reason = "it is made of all channels"
    return Coupling((ChannelTensor(shape, len(shape) - 1, made),), frozen=((made, reason),))
