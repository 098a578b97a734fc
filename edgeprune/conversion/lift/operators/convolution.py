"""CONV_2D, DEPTHWISE_CONV_2D and CONV_3D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from edgeprune.conversion.lift.operators.fused import activation_of
from edgeprune.conversion.lift.site import BlockedError, KerasTensor, Site
from edgeprune.core.arrays import Array
from edgeprune.keras_model.layers import Layer

_SAME = 0


def convolution(site: Site) -> KerasTensor:
    """CONV_2D, in groups too: weights `[out, h, w, in / groups]`, bias `[out]`."""
    weights = _weights(site)
    channels = site.shape(0)[-1]
    if not weights.shape[3] or channels % weights.shape[3]:
        raise BlockedError(f"{channels} channels do not fit weights {list(weights.shape)}")

    def make(**options: Any) -> Layer:
        groups = channels // weights.shape[3]
        return keras.layers.Conv2D(weights.shape[0], groups=groups, **options)

    return _windows(site, make, weights.transpose(1, 2, 3, 0), weights.shape[0])


def depthwise(site: Site) -> KerasTensor:
    """DEPTHWISE_CONV_2D: weights `[1, h, w, in * multiplier]`, bias `[in * multiplier]`."""
    weights = _weights(site)
    channels = site.shape(0)[-1]
    multiplier, rest = divmod(weights.shape[3], channels)
    if rest or weights.shape[0] != 1:
        raise BlockedError(f"{channels} channels do not fit weights {list(weights.shape)}")

    def make(**options: Any) -> Layer:
        options["depthwise_initializer"] = options.pop("kernel_initializer")
        return keras.layers.DepthwiseConv2D(depth_multiplier=multiplier, **options)

    kernel = weights.reshape(*weights.shape[1:3], channels, multiplier)
    return _windows(site, make, kernel, weights.shape[3], square=True)


def convolution_3d(site: Site) -> KerasTensor:
    """CONV_3D: weights `[d, h, w, in, out]`, as in Keras, bias `[out]`."""
    options, weights = site.options, site.needed(1, "kernel")
    if weights.ndim != 5 or site.shape(0)[-1] != weights.shape[3]:
        raise BlockedError(f"its kernel {list(weights.shape)} does not fit {list(site.shape(0))}")
    strides = (options.strideD, options.strideH, options.strideW)
    dilation = (options.dilationDFactor, options.dilationHFactor, options.dilationWFactor)
    bias = site.bias(2, weights.shape[4])
    layer = site.shared(
        (strides, dilation, options.padding, activation_of(site)),
        lambda name: keras.layers.Conv3D(
            weights.shape[4],
            weights.shape[:3],
            strides=strides,
            padding="same" if options.padding == _SAME else "valid",
            dilation_rate=dilation,
            activation=activation_of(site),
            use_bias=bool(bias),
            kernel_initializer="zeros",
            name=name,
        ),
    )
    made = site.apply(layer, site.tensor(0))
    site.weigh(layer, [weights, *bias])
    return made


def _weights(site: Site) -> Array:
    weights = site.needed(1, "kernel")
    if weights.ndim != 4 or len(site.shape(0)) != 4:
        raise BlockedError(f"its kernel is {list(weights.shape)} instead of four axes")
    return weights


def _windows(
    site: Site, make: Callable[..., Layer], kernel: Array, outputs: int, *, square: bool = False
) -> KerasTensor:
    """Calls the layer of a kernel `[h, w, ...]`.

    Keras has no strides together with dilation, and no unequal ones where they are to be `square`:
    then every place is computed, and a pooling of single pixels takes those that strides leave.
    """
    options = site.options
    strides = (options.strideH, options.strideW)
    dilation = (options.dilationHFactor, options.dilationWFactor)
    same = options.padding == _SAME
    apart = max(strides) > 1 and (max(dilation) > 1 or (square and strides[0] != strides[1]))
    given = site.tensor(0)
    if apart and same:
        given = _padded(site, given, kernel.shape[:2], strides, dilation)
    bias = site.bias(2, outputs)
    layer = site.shared(
        (strides, dilation, options.padding, apart, activation_of(site)),
        lambda name: make(
            kernel_size=kernel.shape[:2],
            strides=1 if apart else strides,
            padding="same" if same and not apart else "valid",
            dilation_rate=dilation,
            activation=activation_of(site),
            use_bias=bool(bias),
            kernel_initializer="zeros",
            name=name,
        ),
    )
    made = site.apply(layer, given)
    site.weigh(layer, [kernel, *bias])
    if not apart:
        return made
    return site.apply(keras.layers.MaxPooling2D(1, strides, name=site.new_name("strides")), made)


def _padded(
    site: Site,
    given: KerasTensor,
    sizes: tuple[int, ...],
    strides: tuple[int, int],
    dilation: tuple[int, int],
) -> KerasTensor:
    """Adds the zeros of SAME padding, of which strides take their part."""
    pads = []
    spans = zip(site.shape(0)[1:3], sizes, strides, dilation, strict=True)
    for length, size, stride, apart in spans:
        total = max((-(-length // stride) - 1) * stride + (size - 1) * apart + 1 - length, 0)
        pads.append((total // 2, total - total // 2))
    if not np.any(pads):
        return given
    return site.apply(keras.layers.ZeroPadding2D(tuple(pads), name=site.new_name("pad")), given)
