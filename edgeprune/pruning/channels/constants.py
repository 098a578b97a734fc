"""Rules for layers that hold a constant of a file: operands, padded channels."""

from __future__ import annotations

import numpy as np

from edgeprune.pruning.channels.rule import (
    CannotFollowError,
    ChannelTensor,
    Coupling,
    LayerCall,
    WeightAxis,
    only_input,
    require_axis,
)


def constant_operand(call: LayerCall) -> Coupling:
    """An array `value` that lines up with the last axes of the input, such as a number per channel.

    Raises:
      CannotFollowError: the constant is larger than the input.
    """
    source = only_input(call)
    if call.outputs[0] != source.shape:
        raise CannotFollowError("its constant is larger than its input")
    shape = tuple(call.layer.shape)
    axis = source.axis - len(source.shape) + len(shape)
    if axis < 0 or shape[axis] == 1:
        return Coupling((source,))
    return Coupling(
        (source,),
        (WeightAxis("value", axis, source.labels),),
        sizes={"shape": ChannelTensor(shape, axis, source.labels)},
    )


def held_constant(call: LayerCall) -> Coupling:
    """An array `value` with channels of its own; those of the input are not looked at.

    Raises:
      CannotFollowError: it has no axis for samples, or no other one.
    """
    shape = call.outputs[0]
    if call.layer.whole or not shape:
        raise CannotFollowError("its constant has no channels")
    last = len(shape) - 1
    made = ChannelTensor(shape, last, call.new(int(shape[-1] or 1)))
    return Coupling((made,), (WeightAxis("value", last, made.labels),), sizes={"shape": made})


def channel_pad(call: LayerCall) -> Coupling:
    """Channels of one value before and behind those of the input, which may go like any other.

    Raises:
      CannotFollowError: channels lie along another axis.
    """
    source, layer = only_input(call), call.layer
    require_axis(source, len(source.shape) - 1)
    front, back = np.split(call.new(layer.before + layer.after), [layer.before])
    labels = np.concatenate([front, source.labels, back])
    return Coupling(
        (ChannelTensor(call.outputs[0], source.axis, labels),),
        sizes={"before": front, "after": back},
    )


def past(call: LayerCall) -> Coupling:
    """Places of earlier samples before those of the input, with a `value` for the first ones.

    Raises:
      CannotFollowError: channels lie along the places.
    """
    source, shape = only_input(call), tuple(call.layer.shape)
    require_axis(source, len(source.shape) - 1)
    kept = ChannelTensor(shape, source.axis, source.labels)
    made = ChannelTensor(call.outputs[0], source.axis, source.labels)
    return Coupling(
        (made,), (WeightAxis("value", source.axis, source.labels),), sizes={"shape": kept}
    )
