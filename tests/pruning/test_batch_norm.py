"""Estimated statistics of batch normalisation."""

from __future__ import annotations

import keras
import numpy as np

from edgeprune.core.progress import no_progress
from edgeprune.keras_model.layers import map_layers
from edgeprune.pruning.channels.batch_norm import _BATCH_SIZE, estimate_batch_norm
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
