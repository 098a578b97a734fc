"""Fake quantisation gives the numbers that int8 holds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.arrays import Array
from edgeprune.pruning.training.quantized.fake_quantization import (
    channel_axes,
    fake_quantize,
    fake_quantize_kernel,
    kernel_scale,
)

KINDS = {
    "Dense": ((6, 5), (1,)),
    "Conv2D": ((3, 3, 4, 5), (3,)),
    "Conv2DTranspose": ((3, 3, 5, 4), (2,)),
    "DepthwiseConv2D": ((3, 3, 4, 2), (2, 3)),
}
"""A kernel of each kind, and its axes of output channels."""


def kernel(shape: tuple[int, ...]) -> Array:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    values[0] = 0
    return values


def oracle(values: Array, axes: tuple[int, ...]) -> Array:
    """Rounds channel by channel."""
    moved = np.moveaxis(values, axes, range(len(axes)))
    channels = moved.reshape(*moved.shape[: len(axes)], -1).copy()
    for index in np.ndindex(channels.shape[: len(axes)]):
        scale = np.abs(channels[index]).max() / 127
        channels[index] = np.round(channels[index] / scale) * scale
    return np.moveaxis(channels.reshape(moved.shape), range(len(axes)), axes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_channel_of_a_kernel_is_rounded_to_127_steps_on_each_side(kind: str) -> None:
    shape, axes = KINDS[kind]
    values = kernel(shape)
    found = np.asarray(
        fake_quantize_kernel(
            keras.ops.convert_to_tensor(values), channel_axes(kind, per_channel_dense=True)
        )
    )
    np.testing.assert_allclose(found, oracle(values, axes), atol=1e-6)
    assert (found[values == 0] == 0).all()


def test_a_dense_kernel_may_have_one_scale() -> None:
    values = kernel((6, 5))
    axes = channel_axes("Dense", per_channel_dense=False)
    found = np.asarray(fake_quantize_kernel(keras.ops.convert_to_tensor(values), axes))
    scale = np.abs(values).max() / 127
    np.testing.assert_allclose(found, np.round(values / scale) * scale, atol=1e-6)
    np.testing.assert_allclose(np.asarray(kernel_scale(values, axes)), [[scale]])


def test_a_channel_of_zeros_stays_zero() -> None:
    values = kernel((3, 3, 4, 5))
    values[..., 2] = 0
    found = np.asarray(fake_quantize_kernel(keras.ops.convert_to_tensor(values), (-1,)))
    assert np.isfinite(found).all()
    assert (found[..., 2] == 0).all()


def test_the_gradient_of_a_kernel_passes_whole() -> None:
    values = tf.constant(kernel((3, 3, 4, 5)))
    above = tf.constant(np.random.default_rng(1).standard_normal(values.shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(fake_quantize_kernel(values, (-1,)) * above)
    np.testing.assert_array_equal(tape.gradient(total, values), above)


@given(st.floats(-100, 0, width=32), st.floats(0, 100, width=32), st.integers(0, 2**32 - 1))
def test_an_activation_is_an_integer_from_its_zero_point_times_its_scale(
    low: float, high: float, seed: int
) -> None:
    if high - low < 1e-3:
        high = low + 1e-3 if low + 1e-3 >= 0 else 0.0
        low = min(low, 0.0)
    scale = (high - low) / 255
    zero = round(-128 - low / scale)
    values = np.random.default_rng(seed).uniform(2 * low - 1, 2 * high + 1, 64).astype(np.float32)
    found = np.asarray(fake_quantize(tf.constant(values), low, high))
    stored = np.clip(np.round(values / scale) + zero, -128, 127)
    wanted = (stored - zero) * scale
    # A value in the middle between two integers may go to either.
    near = np.abs(values / scale - np.floor(values / scale) - 0.5) < 1e-3
    np.testing.assert_allclose(found[~near], wanted[~near], atol=1e-4 * (high - low) + 1e-6)


def test_zero_is_exact_in_every_range() -> None:
    for low, high in [(-0.37, 5.91), (0.0, 6.0), (-3.0, 0.0), (-0.001, 9.0)]:
        assert float(fake_quantize(tf.zeros(1), low, high)[0]) == 0


def test_values_outside_the_range_pass_no_gradient() -> None:
    values = tf.constant([-3.0, 0.5, 9.0])
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(fake_quantize(values, -1.0, 6.0))
    np.testing.assert_array_equal(tape.gradient(total, values), [0, 1, 0])


def test_half_precision_stays_half_precision() -> None:
    values = tf.constant([[0.3, 0.7]], tf.float16)
    assert fake_quantize(values, 0.0, 1.0).dtype == tf.float16
    assert fake_quantize_kernel(values, (-1,)).dtype == tf.float16
