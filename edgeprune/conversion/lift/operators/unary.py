"""Operators on each value by itself, activations among them, and those along the last axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from edgeprune.conversion.lift.operators.spectrum import real_part
from edgeprune.conversion.lift.site import (
    BatchNeededError,
    BlockedError,
    KerasTensor,
    Live,
    Site,
    quantized,
)
from edgeprune.keras_model.layers import Layer


def by_layer(make: Callable[[str], Layer]) -> Callable[[Site], KerasTensor]:
    """The entry of an operator that is a layer, made with a name."""

    def lift(site: Site) -> KerasTensor:
        return site.apply(make(site.name), site.tensor(0))

    return lift


def by_activation(activation: str) -> Callable[[Site], KerasTensor]:
    """The entry of an operator that is an activation of Keras."""
    return by_layer(lambda name: keras.layers.Activation(activation, name=name))


def by_operation(operation: str) -> Callable[[Site], KerasTensor]:
    """The entry of an operator that is an operation of `keras.ops`."""

    def lift(site: Site) -> Any:
        return site.compute("", getattr(keras.ops, operation), site.tensor(0))

    return lift


def as_it_is(site: Site) -> Live:
    """QUANTIZE and DEQUANTIZE: another storage of the same real values."""
    return Live(site.tensor(0), site.shape(0))


def leaky_relu(site: Site) -> KerasTensor:
    """LEAKY_RELU."""
    slope = float(site.options.alpha)
    return site.apply(keras.layers.LeakyReLU(slope, name=site.name), site.tensor(0))


def gelu(site: Site) -> Any:
    """GELU, exact or approximate."""
    approximate = bool(site.options.approximate)
    return site.compute("", keras.ops.gelu, site.tensor(0), approximate=approximate)


def softmax(site: Site) -> Any:
    """SOFTMAX along the last axis, of values times beta."""
    given = site.tensor(0)
    if site.options.beta != 1:
        given = site.compute("scaled", keras.ops.multiply, given, float(site.options.beta))
    site.axis(-1, len(site.shape(0)))
    return site.apply(keras.layers.Softmax(name=site.name), given)


def log_softmax(site: Site) -> Any:
    """LOG_SOFTMAX along the last axis."""
    return site.compute("", keras.ops.log_softmax, site.tensor(0), axis=-1)


def l2_normalization(site: Site) -> KerasTensor:
    """L2_NORMALIZATION along the last axis."""
    site.axis(-1, len(site.shape(0)))
    return site.apply(keras.layers.UnitNormalization(axis=-1, name=site.name), site.tensor(0))


def prelu(site: Site) -> KerasTensor:
    """PRELU with a constant slope, shared along the axes where it has length 1."""
    slopes, shape = site.needed(1, "slope"), site.shape(0)
    if slopes.ndim == len(shape):
        if slopes.shape[0] != 1:
            raise BatchNeededError if not site.whole else BlockedError("its slope has a batch axis")
        slopes = slopes[0]
    rest = shape[1:]
    if slopes.ndim > len(rest) or not rest:
        raise BlockedError(f"its slope {list(slopes.shape)} does not fit {list(shape)}")
    slopes = slopes.reshape((1,) * (len(rest) - slopes.ndim) + slopes.shape)
    if any(size not in (1, n) for size, n in zip(slopes.shape, rest, strict=True)):
        raise BlockedError(f"its slope {list(slopes.shape)} does not fit {list(shape)}")
    shared = [axis + 1 for axis, size in enumerate(slopes.shape) if size == 1]
    layer = keras.layers.PReLU(
        alpha_initializer="zeros", shared_axes=shared or None, name=site.name
    )
    made = site.apply(layer, site.tensor(0))
    site.hold(layer, 1, "alpha")
    site.building.values.append((layer, [slopes]))
    return made


def negative(site: Site) -> Any:
    """NEG, of which runtimes turn the sign of quantized numbers as they are stored."""
    stored, made = (
        site.building.subgraph.tensors[index]
        for index in (site.operator.inputs[0], site.operator.outputs[0])
    )
    if quantized(stored) and not (
        np.array_equal(stored.scales, made.scales)
        and np.array_equal(stored.zero_points, -made.zero_points)
    ):
        raise BlockedError("it turns the sign of numbers that do not stand for their opposites")
    return site.compute("", keras.ops.negative, site.tensor(0))


def cast(site: Site) -> Any:
    """CAST; towards zero, from real numbers to whole ones; of quantized ones as they are stored."""
    tensors = site.building.subgraph.tensors
    stored, made = tensors[site.operator.inputs[0]], tensors[site.operator.outputs[0]]
    if quantized(stored) and not quantized(made) and made.dtype == "float32":
        steps = site.compute("steps", keras.ops.multiply, site.tensor(0), 1 / stored.scales[0])
        return site.compute("", keras.ops.add, steps, float(stored.zero_points[0]))
    if quantized(stored) or quantized(made):
        raise BlockedError("it takes quantized numbers as they are stored")
    if site.is_live(0) and site.value(0).imaginary is not None and site.out_dtype() == "float32":
        return real_part(site)
    if site.out_dtype() == str(site.tensor(0).dtype):
        return site.tensor(0)
    return site.compute("", keras.ops.cast, site.tensor(0), site.out_dtype())


def one_hot(site: Site) -> Any:
    """ONE_HOT of two numbers along a new axis."""
    depth, on, off = (site.needed(at, "numbers").reshape(-1)[0].item() for at in (1, 2, 3))
    rank, dtype = len(site.shape(0)), site.out_dtype()
    axis = site.axis(site.options.axis, rank + 1)
    axis = -1 if axis == rank else axis  # Keras does not count the new axis
    plain = (on, off) == (1, 0)
    suffix, kind = ("", dtype) if plain else ("places", "bool")
    made = site.compute(suffix, keras.ops.one_hot, site.tensor(0), int(depth), axis, dtype=kind)
    return made if plain else site.compute("", keras.ops.where, made, on, off)


def top_k(site: Site) -> Any:
    """TOPK_V2: the largest values along the last axis, and their places."""
    site.axis(-1, len(site.shape(0)))
    return site.compute("", keras.ops.top_k, site.tensor(0), site.numbers(1, "number")[0])


def place_of(operation: str) -> Callable[[Site], Any]:
    """The entry of ARG_MAX and ARG_MIN, along a constant axis."""

    def lift(site: Site) -> Any:
        axis = site.axis(site.numbers(1, "axis")[0], len(site.shape(0)))
        found = site.compute("place", getattr(keras.ops, operation), site.tensor(0), axis=axis)
        return site.compute("", keras.ops.cast, found, site.out_dtype())

    return lift


def cumulative_sum(site: Site) -> Any:
    """CUMSUM along a constant axis, from either end, each value with itself or without."""
    axis = site.axis(site.numbers(1, "axis")[0], len(site.shape(0)))
    given, options = site.tensor(0), site.options
    made = site.compute("turned", keras.ops.flip, given, axis) if options.reverse else given
    made = site.compute("sums", keras.ops.cumsum, made, axis=axis)
    made = site.compute("back", keras.ops.flip, made, axis) if options.reverse else made
    return site.compute("", keras.ops.subtract, made, given) if options.exclusive else made


def fake_quant(site: Site) -> Any:
    """FAKE_QUANT: rounds to a grid that holds 0; gradients pass as through its two limits.

    Source: `NudgeQuantizationRange` in tensorflow/lite/kernels/internal/quantization_util.cc, tag
    v2.14.0.
    """
    options = site.options
    last = 2**options.numBits - 1
    step = (options.max - options.min) / last
    if not step > 0 or options.narrowRange:
        raise BlockedError(f"runtimes take no range from {options.min} to {options.max}")
    zero = round(min(max(-options.min / step, 0), last))
    low, high = -zero * step, (last - zero) * step
    clipped = site.compute("clipped", keras.ops.clip, site.tensor(0), low, high)
    steps = site.compute("steps", keras.ops.divide, clipped, step)
    whole = site.compute("whole", keras.ops.round, steps)
    held = site.compute("held", keras.ops.multiply, whole, step)
    error = site.compute("error", keras.ops.subtract, held, clipped)
    error = site.compute("constant_error", keras.ops.stop_gradient, error)
    return site.compute("", keras.ops.add, clipped, error)


def select(site: Site) -> Any:
    """SELECT and SELECT_V2: values by a condition."""
    shapes = [site.shape(position) for position in range(3) if site.is_live(position)]
    alike = len({len(shape) for shape in shapes}) == 1
    if not site.whole and not (alike and len({shape[:1] for shape in shapes}) == 1):
        raise BatchNeededError
    condition, first, second = (_plain(site, position) for position in range(3))
    return site.compute("", keras.ops.where, condition, first, second)


def _plain(site: Site, position: int) -> Any:
    values = site.constant(position)
    if values is not None and values.size == 1:
        return np.asarray(values).reshape(-1)[0].item()
    return site.tensor(position)
