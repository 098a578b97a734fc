from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeprune.keras_model.layers import map_layers
from edgeprune.pruning.orthogonal import (
    MAX_SIDE,
    STEP_LENGTH,
    make_update,
    matrices_of,
    orthogonal,
    orthogonal_cost,
)

L = keras.layers


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(64, 16), (16, 64)])
def test_all_directions_get_about_the_same_length(shape: tuple[int, int]) -> None:
    steep = normal(*shape) * np.geomspace(1, 0.03, shape[1])
    found = np.linalg.svd(orthogonal(tf.constant(steep, tf.float32)), compute_uv=False)
    assert found.min() > 0.5
    assert found.max() < 1.3


def test_a_gradient_of_zeros_moves_nothing() -> None:
    np.testing.assert_array_equal(orthogonal(tf.zeros((8, 8))), 0)


def test_only_kernels_that_mix_channels_and_are_not_too_large_are_matrices() -> None:
    inputs = keras.Input((8, 8, 16))
    x = L.Conv2D(24, 3, name="conv")(inputs)
    x = L.DepthwiseConv2D(3, name="depthwise")(x)
    x = L.Conv2D(24, 1, groups=4, name="grouped")(L.BatchNormalization()(x))
    x = L.SeparableConv2D(3, 1, name="narrow")(x)
    x = L.Flatten()(x)
    x = L.Dense(MAX_SIDE + 1, name="wide")(L.Dense(MAX_SIDE + 1, name="half")(x))
    mapped = map_layers(keras.Model(inputs, x))
    found = matrices_of(mapped)
    names = {path for path, kernel in mapped.kernels.items() if id(kernel) in found}
    assert names == {"conv", "half"}
    assert found[id(mapped.kernels["conv"])] == (9 * 16, 24)


def test_the_cost_counts_every_product_of_the_iterations() -> None:
    assert orthogonal_cost((10, 3)) == 5 * (2 * 9 * 10 + 27) == orthogonal_cost((3, 10))


def test_a_first_step_has_the_length_that_the_rate_says_and_others_are_adams() -> None:
    keras.utils.set_random_seed(0)
    kernel, bias = (keras.Variable(np.zeros(shape, np.float32)) for shape in ((32, 32), (32,)))
    schedule = keras.optimizers.schedules.CosineDecay(0.5, 1000)
    update = make_update([kernel, bias], {id(kernel)}, schedule)
    tf.function(update)([tf.constant(normal(32, 32)), tf.ones(32)])
    length = float(np.sqrt(np.mean(np.square(kernel))))
    assert length == pytest.approx(0.5 * STEP_LENGTH, rel=0.25)
    np.testing.assert_allclose(np.asarray(bias), -0.5, rtol=1e-3)
