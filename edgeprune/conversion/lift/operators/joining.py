"""CONCATENATION, PACK, UNPACK, TILE and BROADCAST_TO."""

from __future__ import annotations

from typing import Any

import keras

from edgeprune.conversion.lift.operators.shaping import to_shape
from edgeprune.conversion.lift.site import BatchNeededError, BlockedError, KerasTensor, Live, Site


def concatenation(site: Site) -> KerasTensor:
    """CONCATENATION; constants among its inputs are held by layers."""
    rank = len(site.declared() or site.shape(0))
    axis = site.axis(site.options.axis, rank)
    given = [site.tensor(position) for position in range(site.count)]
    if site.options.fusedActivationFunction:
        raise BlockedError("runtimes have no fused activation for it")
    if len(given) == 1:
        return given[0]
    if axis == 0:
        return site.compute("", keras.ops.concatenate, given, axis=0)
    return site.apply(keras.layers.Concatenate(axis, name=site.name), given)


def pack(site: Site) -> Any:
    """PACK: one new axis."""
    rank = len(site.shape(0)) + 1
    axis = site.axis(site.options.axis, rank)
    given = [site.tensor(position) for position in range(site.count)]
    return site.compute("", keras.ops.stack, given, axis=axis)


def unpack(site: Site) -> Any:
    """UNPACK: as many outputs as the axis is long."""
    shape = site.shape(0)
    if site.options.axis % len(shape) == 0 and shape[0] == 1 and len(shape) > 1:
        return to_shape(site, Live(site.tensor(0), shape), shape[1:])
    axis = site.axis(site.options.axis, len(shape))
    return site.compute("", keras.ops.unstack, site.tensor(0), shape[axis], axis=axis)


def tile(site: Site) -> Any:
    """TILE: an axis repeated as a whole."""
    times = site.numbers(1, "repeats")
    if len(times) != len(site.shape(0)):
        raise BlockedError(f"its repeats {times} do not fit {list(site.shape(0))}")
    if times[0] != 1 and not site.whole:
        raise BatchNeededError
    return site.compute("", keras.ops.tile, site.tensor(0), times)


def broadcast_to(site: Site) -> Any:
    """BROADCAST_TO: axes of length 1 repeated."""
    shape, wanted = site.shape(0), site.numbers(1, "shape")
    if len(wanted) != len(shape) or any(
        a not in (1, b) for a, b in zip(shape, wanted, strict=True)
    ):
        raise BlockedError(f"it makes {wanted} of {list(shape)}")
    times = [b // max(a, 1) for a, b in zip(shape, wanted, strict=True)]
    if times[0] != 1 and not site.whole:
        raise BatchNeededError
    return site.compute("", keras.ops.tile, site.tensor(0), times)
