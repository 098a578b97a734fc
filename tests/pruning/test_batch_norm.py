"""Estimated statistics of batch normalisation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgeprune.core.progress import no_progress
from edgeprune.keras_model.layers import map_layers
from edgeprune.pruning.channels.batch_norm import (
    _BATCH_SIZE,
    adjust_batch_norm,
    estimate_batch_norm,
)
from tests.support.architectures import samples

L = keras.layers


def test_batch_norm_gets_the_mean_over_batches_and_frozen_layers_stay() -> None:
    inputs = keras.Input((8,))
    x = L.Dropout(0.5, name="drop")(L.Dense(8, name="dense")(inputs))
    x = L.BatchNormalization(name="moving")(x)
    model = keras.Model(inputs, L.BatchNormalization(name="frozen", trainable=False)(x))
    before = np.asarray(model.get_layer("frozen").moving_mean).copy()
    x = samples(model, 4 * _BATCH_SIZE)
    estimate_batch_norm(map_layers(model), x, no_progress)
    assert model.get_layer("drop").rate == 0.5
    np.testing.assert_array_equal(model.get_layer("frozen").moving_mean, before)
    made = np.asarray(model.get_layer("dense")(x[0]), np.float64)
    batches = [made[start::4] for start in range(4)]
    moving = model.get_layer("moving")
    for found, expected in (
        (moving.moving_mean, made.mean(axis=0)),
        (moving.moving_variance, np.mean([batch.var(axis=0) for batch in batches], axis=0)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_statistics_of_training_stay_where_no_channels_went() -> None:
    model, x = trained_elsewhere(), np.random.default_rng(1).normal(size=(64, 8))
    smaller = keras.models.clone_model(model)
    smaller.set_weights(model.get_weights())
    inputs = {("norm", 0): (1, np.arange(8))}
    adjust_batch_norm(map_layers(smaller), map_layers(model), inputs, [x], no_progress)
    for found, expected in zip(smaller.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_statistics_follow_what_the_removal_changed() -> None:
    """A kernel twice as large: four times the variance, whatever the samples say of it."""
    model, x = trained_elsewhere(), np.random.default_rng(1).normal(size=(64, 8))
    smaller = keras.models.clone_model(model)
    smaller.set_weights(model.get_weights())
    dense = smaller.get_layer("dense")
    dense.kernel.assign(2 * np.asarray(dense.kernel))
    inputs = {("norm", 0): (1, np.arange(8))}
    adjust_batch_norm(map_layers(smaller), map_layers(model), inputs, [x], no_progress)
    before = np.asarray(model.get_layer("norm").moving_variance)
    found = np.asarray(smaller.get_layer("norm").moving_variance)
    np.testing.assert_allclose(found, 4 * before, rtol=1e-3)


def trained_elsewhere() -> Any:
    """A network whose statistics are not those of the samples of these tests."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = L.Dense(8, name="dense")(inputs)
    model = keras.Model(inputs, L.BatchNormalization(name="norm")(x))
    model.get_layer("norm").moving_mean.assign(np.linspace(-1, 1, 8))
    model.get_layer("norm").moving_variance.assign(np.linspace(1, 5, 8))
    return model
