from __future__ import annotations

from itertools import permutations
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.mask import make_mask
from edgeprune.core.pattern import NofM
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.interface import predict
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.pruning.permute import best_order, passages, permute_channels
from tests.support.architectures import ARCHITECTURES, build, samples

L = keras.layers


def structured(rows: int, channels: int) -> Any:
    """Magnitudes whose large ones stand side by side, the worst case for 2:4."""
    generator = np.random.default_rng(0)
    scale = np.where(np.arange(channels) < channels // 2, 1.0, 0.05)
    return np.abs(generator.normal(size=(rows, channels))) * scale


def kept_weight(weights: Any, pattern: NofM) -> float:
    return float(weights[make_mask(weights, pattern, pattern.sparsity)].sum())


def test_an_order_keeps_more_weight_and_is_an_order() -> None:
    weights = structured(64, 32)
    order = best_order(weights, NofM(2, 4))
    assert sorted(order) == list(range(32))
    before, after = (kept_weight(w, NofM(2, 4)) for w in (weights, weights[:, order]))
    assert after > 1.2 * before


def test_of_two_groups_the_best_of_all_orders_is_found() -> None:
    weights = np.abs(np.random.default_rng(1).normal(size=(5, 6)))
    pattern = NofM(1, 3)
    best = max(kept_weight(weights[:, list(order)], pattern) for order in permutations(range(6)))
    order = best_order(weights, pattern)
    assert kept_weight(weights[:, order], pattern) == pytest.approx(best)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_permuted_model_computes_the_same(name: str) -> None:
    model = build(name)
    x = samples(model, 4)
    copy = copy_model(model)
    changed = permute_channels(
        map_layers(copy), {row.path: row for row in plan(model, "ethos-u85").pruned}
    )
    assert bool(changed) is (name != "every_kind")
    pairs = zip(predict(model, x), predict(copy, x), strict=True)
    for expected, found in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_channels_that_meet_in_an_addition_keep_their_order() -> None:
    model = build("mobilenet_v2")
    producers = {passage.producer.name for passage in passages(model)}
    assert producers == {"expand_0", "expand_1"}


def test_all_layers_that_take_the_channels_are_reordered_together() -> None:
    inputs = keras.Input((8, 8, 3))
    x = L.BatchNormalization()(L.Conv2D(16, 3, name="made")(inputs))
    x = L.ReLU()(L.DepthwiseConv2D(3, name="between")(x))
    one, two = L.Conv2D(4, 1, name="one")(x), L.Conv2D(4, 3, name="two")(x)
    pooled = [L.GlobalAveragePooling2D()(branch) for branch in (one, two)]
    model = keras.Model(inputs, L.Concatenate()(pooled))
    (passage,) = passages(model)
    assert {layer.name for layer in passage.consumers} == {"one", "two"}
    assert len(passage.between) == 2


def test_a_flattened_map_or_an_output_leaves_channels_alone() -> None:
    inputs = keras.Input((4, 4, 3))
    x = L.Conv2D(8, 3, name="flattened")(inputs)
    y = L.Conv2D(8, 3, name="shown")(inputs)
    shown = L.ReLU()(y)
    after = L.Conv2D(8, 1)(shown)
    model = keras.Model(inputs, [L.Dense(4)(L.Flatten()(x)), shown, after])
    assert passages(model) == ()


def test_pruning_keeps_more_of_the_outputs_with_channels_permuted() -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 8))
    x = L.Conv2D(64, 1, name="made")(inputs)
    x = L.Conv2D(32, 1, use_bias=False, name="mixed")(L.ReLU()(x))
    model = keras.Model(inputs, x)
    made = model.get_layer("made").kernel
    made.assign(np.asarray(made) * np.where(np.arange(64) < 32, 1.0, 0.05))
    x = samples(model, 64)
    planned = plan(model, "ethos-u85", only="mixed")
    dense = predict(model, x)[0]
    errors = []
    for permute in (False, True):
        pruned = prune_one_shot(model, planned, x, permute=permute)
        errors.append(float(((predict(pruned, x)[0] - dense) ** 2).mean()))
    assert errors[1] < 0.9 * errors[0]
