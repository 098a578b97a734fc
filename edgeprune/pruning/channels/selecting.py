"""Rules for operations that take values by their position: slices, splits, stacks, flips.

Those along other axes pass channels on. Those along the channels follow them where what is left
after removal is again a slice or a split.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprune.pruning.channels.merging import constants_of
from edgeprune.pruning.channels.rule import (
    CannotFollowError,
    ChannelTensor,
    Coupling,
    Labels,
    LayerCall,
    Size,
    Window,
    only_input,
)

BY_POSITION = "it takes single channels by their position"


def axis_of(axis: int, rank: int) -> int:
    """Converts an axis that counts the batch axis to one that does not.

    Args:
      axis: of Keras; may be negative.
      rank: number of axes without the batch axis.

    Raises:
      CannotFollowError: it is the batch axis.
    """
    if axis % (rank + 1) == 0:
        raise CannotFollowError("it works along the samples")
    return axis % (rank + 1) - 1


def united_rows(rows: Labels) -> tuple[Labels, Labels]:
    """The pair that couples the labels of each column of `[rows, channels]`."""
    return np.broadcast_to(rows[:1], rows.shape).reshape(-1), rows.reshape(-1)


def split(call: LayerCall) -> Coupling:
    """Equal parts lose the same positions, so that they remain equal; others lose any.

    Raises:
      CannotFollowError: it splits samples.
    """
    source = only_input(call)
    given = call.layer.indices_or_sections
    if axis_of(call.layer.axis, len(source.shape)) != source.axis:
        return Coupling(
            tuple(ChannelTensor(shape, source.axis, source.labels) for shape in call.outputs)
        )
    parts = np.split(source.labels, given)
    outputs = tuple(
        ChannelTensor(shape, source.axis, labels)
        for shape, labels in zip(call.outputs, parts, strict=True)
    )
    if isinstance(given, int):
        return Coupling(outputs, united=(united_rows(np.stack(parts)),))
    ends = tuple(source.labels[:end] for end in np.asarray(given).tolist())
    return Coupling(outputs, sizes={"indices_or_sections": ends})


def get_item(call: LayerCall) -> Coupling:
    """`x[...]` of whole numbers, slices, an ellipsis and new axes.

    Raises:
      CannotFollowError: it takes samples, a single channel, or values by an array of positions.
    """
    source = only_input(call)
    rank = len(source.shape) + 1
    keys = _aligned(call.arguments[1:], rank)
    made = taken = 0
    for key, argument in keys:
        if taken == source.axis + 1 and key is not None:
            labels, coupling = _sliced(key, argument, source.labels)
            tensor = ChannelTensor(call.outputs[0], made - 1, labels)
            return Coupling((tensor,), united=coupling.united, arguments=coupling.arguments)
        if made == 0 and not isinstance(key, slice):
            raise CannotFollowError("it takes single samples")
        made += not isinstance(key, int)
        taken += key is not None
    raise CannotFollowError(BY_POSITION)


def _aligned(keys: tuple[Any, ...], rank: int) -> list[tuple[int | slice | None, int]]:
    """The key of every axis, new axes too, with the index of its argument; -1 where none is given.

    Raises:
      CannotFollowError: a key of another kind.
    """
    known = list(enumerate(keys, 1))
    if any(not isinstance(key, int | slice | type(Ellipsis) | None) for _, key in known):
        raise CannotFollowError("it takes values by an array of positions")
    used = sum(key is not None and key is not Ellipsis for _, key in known)
    rest = [(slice(None), -1)] * (rank - used)
    at = next((place for place, (_, key) in enumerate(known) if key is Ellipsis), len(known))
    plain = [(key, index) for index, key in known]
    return [*plain[:at], *rest, *plain[at + 1 :]]


def _sliced(key: int | slice, argument: int, labels: Labels) -> tuple[Labels, Coupling]:
    """The labels that a key takes, and in the coupling, what keeps that so after removal."""
    if isinstance(key, int):
        raise CannotFollowError(BY_POSITION)
    size = len(labels)
    start, stop, step = key.indices(size)
    if key == slice(None):
        return labels, Coupling(())
    if step == 1:
        window = Window(labels[:start], labels[: max(start, stop)])
        return labels[key], Coupling((), arguments={argument: window})
    if step < 0 or size % step or not start < step or stop != size:
        raise CannotFollowError("it takes channels at a step that does not divide them evenly")
    united = united_rows(labels.reshape(-1, step).T)
    return labels[key], Coupling(
        (), united=(united,), arguments={argument: Window(start, labels, step)}
    )


def slice_of(call: LayerCall) -> Coupling:
    """`keras.ops.slice`, from a position of every axis on, of a given shape.

    Raises:
      CannotFollowError: the positions are computed.
    """
    source = only_input(call)
    starts = constants_of(call)
    shape = tuple(call.layer.shape)
    rank, at = len(shape), source.axis + 1
    if len(starts) != rank or any(np.size(start) != 1 for start in starts):
        raise CannotFollowError("it takes values from a position that is computed")
    start = int(starts[at])
    labels = source.labels[start : start + shape[at]]
    sizes: tuple[Size, ...] = (*shape[:at], labels, *shape[at + 1 :])
    return Coupling(
        (ChannelTensor(call.outputs[0], source.axis, labels),),
        sizes={"shape": sizes},
        arguments={at + 1: source.labels[:start]},
    )


def flip(call: LayerCall) -> Coupling:
    """Reverses axes, the channels too.

    Raises:
      CannotFollowError: it reverses samples.
    """
    source = only_input(call)
    if call.layer.axis is None:
        raise CannotFollowError("it works along the samples")
    axes = [axis_of(axis, len(source.shape)) for axis in np.atleast_1d(call.layer.axis).tolist()]
    labels = source.labels[::-1] if source.axis in axes else source.labels
    return Coupling((ChannelTensor(source.shape, source.axis, labels),))


def take(call: LayerCall) -> Coupling:
    """Takes constant positions of an axis other than the channels.

    Raises:
      CannotFollowError: it takes channels or samples, or makes more axes of one.
    """
    source = only_input(call)
    gone = len(source.shape) - len(call.outputs[0])
    if call.layer.axis is None or gone < 0:
        raise CannotFollowError("it takes values by a table of positions")
    axis = axis_of(call.layer.axis, len(source.shape))
    if axis == source.axis:
        raise CannotFollowError(BY_POSITION)
    at = source.axis - (gone if axis < source.axis else 0)
    return Coupling((ChannelTensor(call.outputs[0], at, source.labels),))


def stack(call: LayerCall) -> Coupling:
    """Joins tensors along a new axis; channels at the same position are coupled.

    Raises:
      CannotFollowError: their channels lie along different axes, or it stacks samples.
    """
    axes = {tensor.axis for tensor in call.inputs}
    if len(axes) > 1:
        raise CannotFollowError("it joins tensors whose channels lie along different axes")
    axis = axes.pop()
    new = axis_of(call.layer.axis, len(call.outputs[0]))
    labels = np.stack([tensor.labels for tensor in call.inputs])
    made = ChannelTensor(call.outputs[0], axis + (new <= axis), labels[0])
    return Coupling((made,), united=(united_rows(labels),))


def unstack(call: LayerCall) -> Coupling:
    """Takes an axis apart that is not that of the channels.

    Raises:
      CannotFollowError: it takes channels or samples apart.
    """
    source = only_input(call)
    axis = axis_of(call.layer.axis, len(source.shape))
    if axis == source.axis:
        raise CannotFollowError(BY_POSITION)
    at = source.axis - (axis < source.axis)
    return Coupling(tuple(ChannelTensor(shape, at, source.labels) for shape in call.outputs))


def tile(call: LayerCall) -> Coupling:
    """Repeats axes as a whole, the channels too.

    Raises:
      CannotFollowError: it repeats samples or adds axes.
    """
    source = only_input(call)
    repeats = np.atleast_1d(call.layer.repeats).tolist()
    rank = len(source.shape) + 1
    repeats = [1] * (rank - len(repeats)) + repeats
    if len(repeats) > rank or repeats[0] != 1:
        raise CannotFollowError("it repeats samples")
    labels = np.tile(source.labels, repeats[source.axis + 1])
    return Coupling((ChannelTensor(call.outputs[0], source.axis, labels),))


def pad(call: LayerCall) -> Coupling:
    """`keras.ops.pad`; constants beside the channels are channels of their own.

    Raises:
      CannotFollowError: it pads samples, or mirrors channels.
    """
    source = only_input(call)
    rank = len(source.shape) + 1
    widths = np.broadcast_to(call.layer.pad_width, (rank, 2)).tolist()
    if widths[0] != [0, 0]:
        raise CannotFollowError("it pads samples")
    before, after = widths[source.axis + 1]
    if before + after == 0:
        return Coupling((ChannelTensor(call.outputs[0], source.axis, source.labels),))
    if call.layer.mode != "constant":
        raise CannotFollowError("it mirrors channels")
    front, back = np.split(call.new(before + after), [before])
    labels = np.concatenate([front, source.labels, back])
    sizes: list[Size] = [tuple(width) for width in widths]
    sizes[source.axis + 1] = (front, back)
    return Coupling(
        (ChannelTensor(call.outputs[0], source.axis, labels),), sizes={"pad_width": tuple(sizes)}
    )
