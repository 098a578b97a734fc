"""Rules for layers that join several tensors: sums, products, concatenation."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprune.pruning.channels.rule import (
    CannotFollowError,
    ChannelTensor,
    Coupling,
    Labels,
    LayerCall,
)


def elementwise_merge(call: LayerCall) -> Coupling:
    """Channels at the same position are coupled; a channel that is broadcast to all must stay.

    Constants are supported if they are the same for all channels.

    Raises:
      CannotFollowError: a constant with several values, one number per sample, or tensors whose
        channels do not align.
    """
    if any(np.size(constant) > 1 for constant in constants_of(call)):
        raise CannotFollowError("it takes a constant with a value for each channel")
    axis, channels = _common_axis(call.inputs)
    wide = [tensor for tensor in call.inputs if tensor.labels.size == channels]
    narrow = [tensor for tensor in call.inputs if tensor.labels.size != channels]
    first = wide[0].labels
    return Coupling(
        (ChannelTensor(call.outputs[0], axis, first),),
        united=tuple((first, tensor.labels) for tensor in wide[1:]),
        frozen=tuple((tensor.labels, "it is spread over all channels") for tensor in narrow),
    )


def constants_of(call: LayerCall) -> list[Any]:
    """The arguments of a call that are neither tensors of the model nor texts and switches."""
    return [
        argument
        for argument in call.arguments
        if not hasattr(argument, "_keras_history") and not isinstance(argument, str | bool | None)
    ]


def _common_axis(tensors: tuple[ChannelTensor, ...]) -> tuple[int, int]:
    """The channel axis that tensors share, and the number of channels of the widest."""
    if not all(tensor.shape for tensor in tensors):
        raise CannotFollowError("it joins single numbers, which have no channels")
    if len({len(tensor.shape) for tensor in tensors}) > 1:
        raise CannotFollowError("it joins tensors of different rank")
    channels = max(tensor.labels.size for tensor in tensors)
    axes = {tensor.axis for tensor in tensors if tensor.labels.size == channels}
    if len(axes) > 1 or any(
        tensor.labels.size not in (1, channels)
        or tensor.shape[next(iter(axes))] not in (1, channels)
        for tensor in tensors
    ):
        raise CannotFollowError("it joins tensors whose channels lie along different axes")
    return next(iter(axes)), channels


def matmul(call: LayerCall) -> Coupling:
    """A matrix product, whose columns are those of the second factor.

    Raises:
      CannotFollowError: the channels of the second factor lie along another axis, and are summed
        over or compared.
    """
    if len(call.inputs) != 2 or call.inputs[1].axis != len(call.inputs[1].shape) - 1:
        raise CannotFollowError("attention compares its channels one by one")
    first, second = call.inputs
    made = ChannelTensor(call.outputs[0], len(call.outputs[0]) - 1, second.labels)
    reason = "it weighs rows, as attention does"
    return Coupling((made,), frozen=((first.labels, reason),))


def concatenate(call: LayerCall) -> Coupling:
    """Concatenates the channels; along another axis, channels at the same position are coupled.

    Raises:
      CannotFollowError: the tensors' channels lie along different axes.
    """
    axes = {tensor.axis for tensor in call.inputs}
    if len(axes) > 1:
        raise CannotFollowError("it joins tensors whose channels lie along different axes")
    axis = axes.pop()
    rank = len(call.inputs[0].shape)
    shape = call.outputs[0]
    if call.layer.axis % (rank + 1) - 1 == axis:
        return Coupling(
            (ChannelTensor(shape, axis, np.concatenate([t.labels for t in call.inputs])),)
        )
    first: Labels = call.inputs[0].labels
    return Coupling(
        (ChannelTensor(shape, axis, first),),
        united=tuple((first, tensor.labels) for tensor in call.inputs[1:]),
    )
