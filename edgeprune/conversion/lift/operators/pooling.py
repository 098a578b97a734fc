"""Pooling over windows, and reductions over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from edgeprune.conversion.lift.operators.fused import activated
from edgeprune.conversion.lift.site import BatchNeededError, KerasTensor, Site, keras_dtype
from edgeprune.keras_model.layers import Layer

_SAME = 0


def max_pool(site: Site) -> KerasTensor:
    """MAX_POOL_2D."""
    return _pooled(site, keras.layers.MaxPooling2D)


def average_pool(site: Site) -> KerasTensor:
    """AVERAGE_POOL_2D; a window of the whole map is global pooling."""
    options = site.options
    window = (options.filterHeight, options.filterWidth)
    if window == site.shape(0)[1:3] and options.padding != _SAME:
        layer = keras.layers.GlobalAveragePooling2D(keepdims=True, name=site.name)
        return activated(site, site.apply(layer, site.tensor(0)))
    return _pooled(site, keras.layers.AveragePooling2D)


def _pooled(site: Site, kind: Callable[..., Any]) -> KerasTensor:
    return activated(site, site.apply(_layer(site, kind, site.name), site.tensor(0)))


def _layer(site: Site, kind: Callable[..., Any], name: str) -> Layer:
    """The pooling layer of an operator's windows."""
    options = site.options
    return kind(
        (options.filterHeight, options.filterWidth),
        (options.strideH, options.strideW),
        padding="same" if options.padding == _SAME else "valid",
        name=name,
    )


def root_of_squares_pool(site: Site) -> KerasTensor:
    """L2_POOL_2D: the root of the mean of squares in each window."""
    squares = site.compute("squares", keras.ops.square, site.tensor(0))
    layer = _layer(site, keras.layers.AveragePooling2D, site.new_name("means"))
    means = site.apply(layer, squares)
    return activated(site, site.compute("", keras.ops.sqrt, means))


def reduction(operation: str) -> Callable[[Site], KerasTensor]:
    """The entry of an operator that is a reduction of `keras.ops`."""

    def lift(site: Site) -> KerasTensor:
        shape, given = site.shape(0), site.tensor(0)
        keeps = bool(site.options.keepDims)
        axes = _axes(site)
        layer = _global_layer(operation, axes, len(shape))
        if layer is not None and keras_dtype(given) == "float32":
            return site.apply(layer(keepdims=keeps, name=site.name), given)
        function = getattr(keras.ops, operation)
        return site.compute("", function, given, axis=axes, keepdims=keeps)

    return lift


def _axes(site: Site) -> tuple[int, ...]:
    """The axes that are reduced; with an open batch, the first only where nothing depends on it."""
    rank = len(site.shape(0))
    given = site.numbers(1, "axes") or list(range(rank))
    if not site.whole and any(axis % rank == 0 for axis in given):
        raise BatchNeededError
    return tuple(sorted({site.axis(axis, rank) for axis in given}))


def _global_layer(operation: str, axes: tuple[int, ...], rank: int) -> Any:
    """The layer that does a reduction over all of a map's places; None where there is none."""
    layers = {
        ("mean", (1, 2), 4): keras.layers.GlobalAveragePooling2D,
        ("mean", (1,), 3): keras.layers.GlobalAveragePooling1D,
        ("max", (1, 2), 4): keras.layers.GlobalMaxPooling2D,
        ("max", (1,), 3): keras.layers.GlobalMaxPooling1D,
    }
    return layers.get((operation, axes, rank))
