"""Rules for layers that make new channels as sums over old ones, and for depthwise kernels."""

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
    Matrix,
    WeightAxis,
    channel_axis,
    only_input,
    pixels_of,
    require_axis,
)

MIXING_ACTIVATIONS = frozenset({"softmax", "log_softmax", "sparsemax", "glu", "normalize"})
"""Activations of Keras whose every output depends on all channels."""


def activation_freezes(activation: Any) -> str:
    """Why channels behind an activation must stay; empty if it is elementwise."""
    name = getattr(activation, "__name__", type(activation).__name__)
    module = getattr(activation, "__module__", type(activation).__module__) or ""
    if not module.startswith("keras."):
        return f"its activation '{name}' is not one of Keras' own"
    if name.lower() in MIXING_ACTIVATIONS:
        return f"its activation '{name}' reads all channels at once"
    return ""


def _frozen(layer: Any, labels: Labels) -> tuple[tuple[Labels, str], ...]:
    reason = activation_freezes(layer.activation)
    return ((labels, reason),) if reason else ()


def dense(call: LayerCall) -> Coupling:
    """A kernel `[in, out]` on the last axis; channels along another axis are passed on."""
    layer, source = call.layer, only_input(call)
    shape = call.outputs[0]
    last = len(shape) - 1
    if source.axis != last:
        return Coupling((ChannelTensor(shape, source.axis, source.labels),))
    made = call.new(layer.units)
    return Coupling(
        outputs=(ChannelTensor(shape, last, made),),
        weights=(
            WeightAxis("kernel", 0, source.labels),
            WeightAxis("kernel", 1, made),
            WeightAxis("bias", 0, made),
        ),
        sizes={"units": made},
        frozen=_frozen(layer, made),
        matrices=(Matrix("kernel", made, 1, source.labels, 0, pixels=pixels_of(shape, last)),),
    )


def convolution(call: LayerCall) -> Coupling:
    """A kernel `[..., in / groups, out]`; see `_grouped` for groups."""
    layer, source = call.layer, only_input(call)
    axis = channel_axis(layer, len(source.shape))
    require_axis(source, axis)
    made = call.new(layer.filters)
    rank = len(layer.kernel_size)
    axes, united, sizes = _grouped(layer.groups, source.labels, made, rank)
    return Coupling(
        outputs=(ChannelTensor(call.outputs[0], axis, made),),
        weights=(
            *axes,
            WeightAxis("kernel", rank + 1, made),
            WeightAxis("bias", 0, made),
        ),
        sizes={"filters": made, **sizes},
        united=united,
        frozen=_frozen(layer, made),
        matrices=(
            Matrix(
                "kernel",
                made,
                rank + 1,
                source.labels,
                rank,
                groups=layer.groups,
                window=math.prod(layer.kernel_size),
                pixels=pixels_of(call.outputs[0], axis),
            ),
        ),
    )


def _grouped(
    groups: int, inputs: Labels, outputs: Labels, rank: int
) -> tuple[tuple[WeightAxis, ...], tuple[tuple[Labels, Labels], ...], dict[str, Labels]]:
    """How the groups of a convolution couple channels.

    Many narrow groups are removed as a whole, with their inputs and outputs. A few wide ones all
    stay, and each loses the same positions, so that they remain equally wide.

    Returns:
      The kernel's input axis if it loses positions, the channels that are coupled, and the entries
      of the configuration that change.
    """
    if groups == 1:
        return (WeightAxis("kernel", rank, inputs),), (), {}
    by_group_in, by_group_out = inputs.reshape(groups, -1), outputs.reshape(groups, -1)
    if groups < by_group_in.shape[1]:
        axes = (WeightAxis("kernel", rank, by_group_in[0]),)
        return axes, (_with_first(by_group_in), _with_first(by_group_out)), {}
    whole = np.concatenate([by_group_in, by_group_out], axis=1).T
    return (), (_with_first(whole),), {"groups": whole[0]}


def _with_first(rows: Labels) -> tuple[Labels, Labels]:
    """The first row, repeated, and all rows, both flat: channels to be coupled pairwise."""
    return np.broadcast_to(rows[0], rows.shape).reshape(-1), rows.reshape(-1)


def transposed_convolution(call: LayerCall) -> Coupling:
    """A kernel `[..., out, in]`.

    Raises:
      CannotFollowError: the layer has groups.
    """
    layer, source = call.layer, only_input(call)
    axis = channel_axis(layer, len(source.shape))
    require_axis(source, axis)
    if getattr(layer, "groups", 1) != 1:
        raise CannotFollowError("a transposed convolution with groups")
    made = call.new(layer.filters)
    rank = len(layer.kernel_size)
    return Coupling(
        outputs=(ChannelTensor(call.outputs[0], axis, made),),
        weights=(
            WeightAxis("kernel", rank, made),
            WeightAxis("kernel", rank + 1, source.labels),
            WeightAxis("bias", 0, made),
        ),
        sizes={"filters": made},
        frozen=_frozen(layer, made),
        matrices=(
            Matrix(
                "kernel",
                made,
                rank,
                source.labels,
                rank + 1,
                window=math.prod(layer.kernel_size),
                # Every input pixel is spread over the window.
                pixels=pixels_of(source.shape, axis),
            ),
        ),
    )


def depthwise_convolution(call: LayerCall) -> Coupling:
    """A kernel `[..., in, multiplier]`: output `c * multiplier + m` is coupled to input `c`."""
    layer, source = call.layer, only_input(call)
    axis = channel_axis(layer, len(source.shape))
    require_axis(source, axis)
    outputs = np.repeat(source.labels, layer.depth_multiplier)
    return Coupling(
        outputs=(ChannelTensor(call.outputs[0], axis, outputs),),
        weights=(
            WeightAxis("kernel", len(layer.kernel_size), source.labels),
            WeightAxis("bias", 0, outputs),
        ),
        frozen=_frozen(layer, outputs),
        matrices=(
            Matrix(
                "kernel",
                outputs,
                len(layer.kernel_size),
                window=math.prod(layer.kernel_size),
                pixels=pixels_of(call.outputs[0], axis),
            ),
        ),
    )


def separable_convolution(call: LayerCall) -> Coupling:
    """A depthwise kernel `[..., in, multiplier]`, then a pointwise one `[..., in * mult, out]`."""
    layer, source = call.layer, only_input(call)
    axis = channel_axis(layer, len(source.shape))
    require_axis(source, axis)
    made = call.new(layer.filters)
    rank = len(layer.kernel_size)
    between = np.repeat(source.labels, layer.depth_multiplier)
    pixels = pixels_of(call.outputs[0], axis)
    return Coupling(
        outputs=(ChannelTensor(call.outputs[0], axis, made),),
        weights=(
            WeightAxis("depthwise_kernel", rank, source.labels),
            WeightAxis("pointwise_kernel", rank, between),
            WeightAxis("pointwise_kernel", rank + 1, made),
            WeightAxis("bias", 0, made),
        ),
        sizes={"filters": made},
        frozen=_frozen(layer, made),
        matrices=(
            Matrix(
                "depthwise_kernel",
                between,
                rank,
                window=math.prod(layer.kernel_size),
                pixels=pixels,
            ),
            Matrix("pointwise_kernel", made, rank + 1, between, rank, pixels=pixels, source=None),
        ),
    )


def embedding(call: LayerCall) -> Coupling:
    """A table `[words, out]`; its inputs are indices, not channels, and must stay."""
    made = call.new(call.layer.output_dim)
    shape = call.outputs[0]
    return Coupling(
        outputs=(ChannelTensor(shape, len(shape) - 1, made),),
        weights=(WeightAxis("_embeddings", 1, made),),
        sizes={"output_dim": made},
        frozen=((call.inputs[0].labels, "it is read as indices"),),
    )
