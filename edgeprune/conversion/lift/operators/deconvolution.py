"""TRANSPOSE_CONV."""

from __future__ import annotations

import keras

from edgeprune.conversion.lift.operators.fused import activation_of
from edgeprune.conversion.lift.site import BlockedError, KerasTensor, Site

_SAME = 0


def transposed_convolution(site: Site) -> KerasTensor:
    """TRANSPOSE_CONV: output shape, weights `[out, h, w, in]`, input, bias `[out]`.

    The file gives the size of the result; where it is not the one that Keras makes, the whole
    result is made and cropped.
    """
    options, weights = site.options, site.needed(1, "kernel")
    before, after = site.shape(2), site.declared()
    if weights.ndim != 4 or len(before) != 4 or after is None or len(after) != 4:
        raise BlockedError("its output has sizes that the file leaves open")
    if before[3] != weights.shape[3]:
        raise BlockedError(f"{before[3]} channels do not fit weights {list(weights.shape)}")
    strides, sizes = (options.strideH, options.strideW), weights.shape[1:3]
    axes = list(zip(before[1:3], after[1:3], sizes, strides, strict=True))
    same = options.padding == _SAME and all(n * stride == m for n, m, _, stride in axes)
    made_sizes = [n * stride + max(size - stride, 0) for n, _, size, stride in axes]
    crops = [
        _crop(n, m, size, stride, made, same=options.padding == _SAME)
        for (n, m, size, stride), made in zip(axes, made_sizes, strict=True)
    ]
    bias = site.bias(3, weights.shape[0])
    layer = site.shared(
        (strides, same, activation_of(site)),
        lambda name: keras.layers.Conv2DTranspose(
            weights.shape[0],
            sizes,
            strides,
            padding="same" if same else "valid",
            activation=activation_of(site),
            use_bias=bool(bias),
            kernel_initializer="zeros",
            name=name,
        ),
    )
    made = site.apply(layer, site.tensor(2))
    kernel = weights.transpose(1, 2, 0, 3)
    site.weigh(layer, [kernel, *bias], bias=3)
    if same or not any(map(any, crops)):
        return made
    return site.apply(keras.layers.Cropping2D(tuple(crops), name=site.new_name("crop")), made)


def _crop(
    before: int, after: int, size: int, stride: int, made: int, *, same: bool
) -> tuple[int, int]:
    """What the file leaves out of a whole result, at the beginning and at the end."""
    total = max((before - 1) * stride + size - after, 0) if same else 0
    start = total // 2
    if start + after > made:
        raise BlockedError(f"its output has {after} places, and its input reaches {made}")
    return start, made - start - after
