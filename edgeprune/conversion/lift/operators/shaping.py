"""RESHAPE, TRANSPOSE, and what moves values between space, depth and batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from edgeprune.conversion.lift.site import (
    BatchNeededError,
    BlockedError,
    KerasTensor,
    Live,
    Shape,
    Site,
)


def reshape(site: Site) -> Live:
    """RESHAPE; the new shape is a constant, or in the options, or what the file declares."""
    return _reshaped(site, _target(site))


def squeeze(site: Site) -> Live:
    """SQUEEZE: the named axes of length 1 left out, or all of them."""
    shape, named = site.shape(0), getattr(site.options, "squeezeDims", None)
    axes = [int(axis) % len(shape) for axis in named] if named is not None and len(named) else None
    left = [
        size for axis, size in enumerate(shape) if not (size == 1 if axes is None else axis in axes)
    ]
    return _reshaped(site, left)


def expand_dims(site: Site) -> Live:
    """EXPAND_DIMS: one new axis."""
    shape, axis = site.shape(0), site.numbers(1, "axis")[0]
    at = axis % (len(shape) + 1)
    return _reshaped(site, (*shape[:at], 1, *shape[at:]))


def _reshaped(site: Site, shape: Sequence[int]) -> Live:
    """Reshapes the input, both parts of complex numbers."""
    imaginary = site.value(0).imaginary if site.is_live(0) else None
    if imaginary is None:
        return to_shape(site, _source(site), shape)
    real = to_shape(site, Live(site.value(0).tensor, site.shape(0)), shape)
    other = to_shape(site, Live(imaginary, site.shape(0)), shape, "imaginary")
    return Live(real.tensor, real.shape, other.tensor)


def _source(site: Site) -> Live:
    return Live(site.tensor(0), site.shape(0))


def _target(site: Site) -> Shape:
    values = site.constant(1)
    options = getattr(site.options, "newShape", None)
    if values is not None and values.ndim == 1:
        wanted: list[int] = [int(size) for size in values]
    elif site.declared() is not None:
        return site.declared() or ()
    elif options is not None:
        wanted = [int(size) for size in options]
    else:
        raise BlockedError("its shape depends on the inputs")
    total = math.prod(site.shape(0))
    rest = math.prod(size for size in wanted if size >= 0)
    return tuple(total // max(rest, 1) if size < 0 else size for size in wanted)


def to_shape(site: Site, given: Live, shape: Sequence[int], suffix: str = "") -> Live:
    """Reshapes a value; with an open batch, each sample for itself.

    Args:
      site: of the operator.
      given: the value.
      shape: with the batch axis, as in the file.
      suffix: of the layer's name; empty for the layer that is the operator itself.

    Raises:
      BlockedError: the shape has another number of values.
      BatchNeededError: no axis is left for the batch.
    """
    shape = tuple(shape)
    if math.prod(shape) != math.prod(given.shape):
        raise BlockedError(f"it reshapes {list(given.shape)} to {list(shape)}")
    if shape == given.shape:
        return given
    if not site.whole and not shape:
        raise BatchNeededError
    name = site.new_name(suffix) if suffix else site.name
    if shape and given.shape and shape[0] == given.shape[0] and len(shape) > 1:
        layer = _layer(given.shape, shape, name)
        return Live(site.apply(layer, given.tensor), shape)
    wanted = shape if site.whole else (-1, *shape[1:])
    return Live(site.compute(suffix, keras.ops.reshape, given.tensor, wanted), shape)


def _layer(before: Shape, after: Shape, name: str) -> keras.layers.Layer:
    if len(after) == 2 and len(before) > 2:
        return keras.layers.Flatten(name=name)
    return keras.layers.Reshape(after[1:], name=name)


def transpose(site: Site) -> KerasTensor | Live:
    """TRANSPOSE; moving axes of length 1 alone is a reshape."""
    order = site.numbers(1, "order of axes")
    before = site.shape(0)
    after = tuple(before[axis] for axis in order)
    long = [axis for axis in order if before[axis] != 1]
    if order[0] == 0 and long != sorted(long):
        return site.apply(keras.layers.Permute(order[1:], name=site.name), site.tensor(0))
    if long == sorted(long):
        return to_shape(site, _source(site), after)
    if not site.whole:
        raise BatchNeededError
    return site.compute("", keras.ops.transpose, site.tensor(0), axes=order)


def depth_to_space(site: Site) -> Live:
    """DEPTH_TO_SPACE: `[n, h, w, b * b * c]` to `[n, h * b, w * b, c]`."""
    block = site.options.blockSize
    n, h, w, c = _map_shape(site)
    if block < 1 or c % (block * block):
        raise BlockedError(f"{c} channels do not fit blocks of {block}")
    rest = c // (block * block)
    split = to_shape(site, _source(site), (n, h, w, block, block, rest), "split")
    moved = _permuted(site, split, (1, 3, 2, 4, 5))
    return to_shape(site, moved, (n, h * block, w * block, rest))


def space_to_depth(site: Site) -> Live:
    """SPACE_TO_DEPTH: `[n, h * b, w * b, c]` to `[n, h, w, b * b * c]`."""
    block = site.options.blockSize
    n, h, w, c = _map_shape(site)
    if block < 1 or h % block or w % block:
        raise BlockedError(f"a map of {h}x{w} does not fit blocks of {block}")
    rows, columns = h // block, w // block
    split = to_shape(site, _source(site), (n, rows, block, columns, block, c), "split")
    moved = _permuted(site, split, (1, 3, 2, 4, 5))
    return to_shape(site, moved, (n, rows, columns, block * block * c))


def _map_shape(site: Site) -> tuple[int, int, int, int]:
    shape = site.shape(0)
    if len(shape) != 4:
        raise BlockedError(f"its input is {list(shape)} instead of four axes")
    return shape[0], shape[1], shape[2], shape[3]


def _permuted(site: Site, given: Live, order: tuple[int, ...]) -> Live:
    layer = keras.layers.Permute(order, name=site.new_name("order"))
    shape = (given.shape[0], *(given.shape[axis] for axis in order))
    return Live(site.apply(layer, given.tensor), shape)


def space_to_batch(site: Site) -> Live:
    """SPACE_TO_BATCH_ND of `[1, h, w, c]`: each place of a block becomes a map of its own."""
    n, _, _, c = _map_shape(site)
    blocks, pads = site.numbers(1, "blocks"), site.numbers(2, "pads")
    _require_one(n, blocks, pads)
    given = _source(site)
    if any(pads):
        layer = keras.layers.ZeroPadding2D(
            ((pads[0], pads[1]), (pads[2], pads[3])), name=site.new_name("pad")
        )
        height, width = given.shape[1] + pads[0] + pads[1], given.shape[2] + pads[2] + pads[3]
        given = Live(site.apply(layer, given.tensor), (n, height, width, c))
    rows, columns = given.shape[1] // blocks[0], given.shape[2] // blocks[1]
    split = to_shape(site, given, (n, rows, blocks[0], columns, blocks[1], c), "split")
    moved = _permuted(site, split, (2, 4, 1, 3, 5))
    return to_shape(site, moved, (math.prod(blocks), rows, columns, c))


def batch_to_space(site: Site) -> Live:
    """BATCH_TO_SPACE_ND to `[1, h, w, c]`: the way back of `space_to_batch`."""
    n, h, w, c = _map_shape(site)
    blocks, crops = site.numbers(1, "blocks"), site.numbers(2, "crops")
    _require_one(n // max(math.prod(blocks), 1), blocks, crops)
    split = to_shape(site, _source(site), (1, *blocks, h, w, c), "split")
    moved = _permuted(site, split, (3, 1, 4, 2, 5))
    height, width = h * blocks[0], w * blocks[1]
    if not any(crops):
        return to_shape(site, moved, (1, height, width, c))
    made = to_shape(site, moved, (1, height, width, c), "joined")
    layer = keras.layers.Cropping2D(((crops[0], crops[1]), (crops[2], crops[3])), name=site.name)
    height, width = height - crops[0] - crops[1], width - crops[2] - crops[3]
    return Live(site.apply(layer, made.tensor), (1, height, width, c))


def _require_one(samples: int, blocks: Sequence[int], pads: Sequence[int]) -> None:
    if len(blocks) != 2 or len(pads) != 4 or samples != 1:
        raise BlockedError("it moves other than blocks of one image's rows and columns")
