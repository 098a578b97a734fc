"""SLICE, STRIDED_SLICE, SPLIT, SPLIT_V, GATHER, and what gathers or replaces single places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from edgeprune.conversion.lift.operators.matrix import look_up
from edgeprune.conversion.lift.operators.shaping import to_shape
from edgeprune.conversion.lift.site import (
    BatchNeededError,
    BlockedError,
    Live,
    Shape,
    Site,
    quantized,
)

MOST_INDICES = 256
"""Positions that become part of the Keras graph; more of them are held by a layer."""


def part(site: Site) -> Live:
    """SLICE: begin and size of every axis."""
    shape = site.shape(0)
    begins, sizes = site.numbers(1, "begin"), site.numbers(2, "size")
    if not len(begins) == len(sizes) == len(shape):
        raise BlockedError(f"its begin {begins} and size {sizes} do not fit {list(shape)}")
    spans = zip(shape, begins, sizes, strict=True)
    keys = [slice(b, n if s < 0 else b + s, 1) for n, b, s in spans]
    return _cut(site, keys, tuple(len(range(n)[k]) for n, k in zip(shape, keys, strict=True)))


def strided_part(site: Site) -> Live:
    """STRIDED_SLICE, with all of its masks."""
    given = [site.numbers(at, what) for at, what in ((1, "begin"), (2, "end"), (3, "stride"))]
    return _cut(site, *strided_keys(site.options, site.shape(0), given))


def strided_keys(
    options: Any, shape: Shape, given: Sequence[Sequence[int]]
) -> tuple[list[slice], Shape]:
    """What a STRIDED_SLICE takes.

    Args:
      options: with its masks.
      shape: of its input.
      given: begins, ends and strides, one each for the places that the masks speak of.

    Returns:
      One slice per axis of the input, and the shape of the result.

    Raises:
      BlockedError: they do not fit the shape.
    """
    begins, ends, strides = given
    places = len(begins)
    spread, added = _masked(options, places)
    missing = len(shape) - (places - len(spread) - len(added))
    if len(spread) > 1 or missing < 0 or not len(ends) == len(strides) == places or 0 in strides:
        raise BlockedError(f"its begin, end and stride {list(given)} do not fit {list(shape)}")
    keys: list[slice] = []
    result: list[int] = []
    for at in range(places):
        if at in spread:
            rest = shape[len(keys) : len(keys) + missing]
            keys.extend(slice(None) for _ in rest)
            result.extend(rest)
        elif at in added:
            result.append(1)
        else:
            size = shape[len(keys)]
            shrinks = bool(options.shrinkAxisMask >> at & 1)
            key = _key(options, at, size, begins[at], ends[at], strides[at], shrinks=shrinks)
            keys.append(key)
            result.extend([] if shrinks else [len(range(size)[key])])
    rest = shape[len(keys) :]
    return [*keys, *(slice(None) for _ in rest)], (*result, *rest)


def _masked(options: Any, places: int) -> tuple[list[int], list[int]]:
    """The places of a STRIDED_SLICE that stand for the rest of the axes, and for a new one."""
    spread = [at for at in range(places) if options.ellipsisMask >> at & 1]
    return spread, [
        at for at in range(places) if options.newAxisMask >> at & 1 and at not in spread
    ]


def axes_of_places(options: Any, places: int, rank: int) -> Mapping[int, int]:
    """The axis of the input that each place of a STRIDED_SLICE speaks of, where it is of one.

    Args:
      options: with its masks, which fit the input.
      places: how many begins it has.
      rank: of its input.
    """
    spread, added = _masked(options, places)
    missing = rank - (places - len(spread) - len(added))
    axis, found = 0, {}
    for at in range(places):
        if at not in spread and at not in added:
            found[at] = axis
        axis += missing if at in spread else at not in added
    return found


def _key(
    options: Any, at: int, size: int, begin: int, end: int, stride: int, *, shrinks: bool
) -> slice:
    if shrinks:
        start = begin % size if -size <= begin < size else -1
        if start < 0:
            raise BlockedError(f"it takes position {begin} of {size}")
        return slice(start, start + 1, 1)
    if getattr(options, "offset", False):
        end += begin
    from_edge, to_edge = options.beginMask >> at & 1, options.endMask >> at & 1
    return slice(None if from_edge else begin, None if to_edge else end, stride)


def _cut(site: Site, keys: Sequence[slice], shape: Shape) -> Live:
    before = site.shape(0)
    spans = [range(n)[key] for n, key in zip(before, keys, strict=True)]
    whole = [span == range(n) for n, span in zip(before, spans, strict=True)]
    if not whole[0] and not site.whole:
        raise BatchNeededError
    if any(len(span) == 0 for span in spans):
        raise BlockedError("it takes nothing")
    cut = tuple(len(span) for span in spans)
    given = site.tensor(0)
    if all(whole):
        return to_shape(site, Live(given, before), shape)
    exact = tuple(
        slice(None) if all_of_it else _slice(span, n)
        for span, n, all_of_it in zip(spans, before, whole, strict=True)
    )
    suffix = "" if cut == shape else "part"
    made = site.compute(suffix, lambda x: x[exact], given)
    return to_shape(site, Live(made, cut), shape)


def _slice(span: range, size: int) -> slice:
    stop: int | None = span.stop if 0 <= span.stop <= size else None
    return slice(span.start, stop, span.step)


def split(site: Site) -> Any:
    """SPLIT: equal parts."""
    axis = site.axis(site.numbers(0, "axis")[0], len(site.shape(1)))
    if site.options.numSplits < 1 or site.shape(1)[axis] % site.options.numSplits:
        raise BlockedError(f"it makes {site.options.numSplits} parts of {site.shape(1)[axis]}")
    if site.options.numSplits == 1:
        return [site.tensor(1)]
    return site.compute("", keras.ops.split, site.tensor(1), site.options.numSplits, axis=axis)


def split_by_sizes(site: Site) -> Any:
    """SPLIT_V: parts of given sizes, one of which may be what is left."""
    shape = site.shape(0)
    axis = site.axis(site.numbers(2, "axis")[0], len(shape))
    sizes = site.numbers(1, "sizes")
    left = shape[axis] - sum(size for size in sizes if size >= 0)
    sizes = [left if size < 0 else size for size in sizes]
    if sum(sizes) != shape[axis]:
        raise BlockedError(f"its parts {sizes} do not fit {shape[axis]}")
    if len(sizes) == 1:
        return [site.tensor(0)]
    places = list(itertools.accumulate(sizes))[:-1]
    return site.compute("", keras.ops.split, site.tensor(0), places, axis=axis)


def gather(site: Site) -> Any:
    """GATHER: rows of a constant table by ids, or constant positions along an axis."""
    if not site.is_live(0) and site.is_live(1) and site.options.axis == 0:
        return look_up(site, ids=1, table=0)
    indices = np.asarray(site.needed(1, "positions"))
    alone = getattr(site.options, "batchDims", 0)
    if alone and (alone > 1 or indices.shape[:1] != (1,) or indices.size > MOST_INDICES):
        raise BlockedError("it gathers other positions of each sample")
    axis = site.axis(site.options.axis, len(site.shape(0)))
    places = (indices[0] if alone else indices).astype(int)
    if places.size and (places.min() < 0 or places.max() >= site.shape(0)[axis]):
        raise BlockedError("it takes positions outside of its input")
    if indices.size > MOST_INDICES:
        return site.compute("", keras.ops.take, site.tensor(0), site.held(1), axis=axis)
    return site.compute("", keras.ops.take, site.tensor(0), places.tolist(), axis=axis)


def gather_places(site: Site) -> Live:
    """GATHER_ND of constant places: positions along the first axes."""
    places, shape = site.needed(1, "places").astype(int), site.shape(0)
    over = places.shape[-1]
    first, rest = shape[:over], shape[over:]
    if not site.whole:
        raise BatchNeededError
    if not 0 < over <= len(shape) or places.size > MOST_INDICES * over:
        raise BlockedError(f"it takes {places.size} positions of {list(shape)}")
    rows = np.ravel_multi_index(tuple(np.moveaxis(places, -1, 0)), first)
    flat = to_shape(site, Live(site.tensor(0), shape), (math.prod(first), *rest), "rows")
    made = site.compute("", keras.ops.take, flat.tensor, rows.tolist(), axis=0)
    return Live(made, (*rows.shape, *rest))


def scatter(site: Site) -> Live:
    """SCATTER_ND to constant places of a constant shape; what falls on one place adds up."""
    shape = tuple(site.numbers(2, "shape"))
    made = site.building.subgraph.tensors[site.operator.outputs[0]]
    if quantized(made) and made.zero_points.any():
        raise BlockedError("runtimes put the number 0 beside its places, whatever that stands for")
    if not site.whole:
        raise BatchNeededError
    made = site.compute("", keras.ops.scatter, site.held(0), site.tensor(1), shape)
    return Live(made, shape)


def replaced_part(site: Site) -> Any:
    """DYNAMIC_UPDATE_SLICE from a constant position on, which lies within the axes."""
    starts, shape, part = site.numbers(2, "position"), site.shape(0), site.shape(1)
    axes = zip(starts, shape, part, strict=True)
    starts = [min(max(start, 0), size - length) for start, size, length in axes]
    if not site.whole and shape[:1] != part[:1]:
        raise BatchNeededError
    return site.compute("", keras.ops.slice_update, site.tensor(0), starts, site.tensor(1))


def reverse(site: Site) -> Any:
    """REVERSE_V2 along constant axes."""
    axes = [site.axis(axis, len(site.shape(0))) for axis in site.numbers(1, "axes")]
    return site.compute("", keras.ops.flip, site.tensor(0), axis=axes)
