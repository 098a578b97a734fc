"""What packing is expected to save, against what it takes in files, and the routes it decides."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import pytest

from edgeprune.core.errors import ProfileError
from edgeprune.core.pattern import Channels, Unstructured
from edgeprune.core.plan import LayerInfo
from edgeprune.planning.packing import bytes_packed, pays_from, too_few_to_pack
from edgeprune.planning.plan_model import plan
from edgeprune.planning.rules import make_plan
from edgeprune.profiles.profile import load_profile
from tests.support.packing import packed, sparse_weights
from tests.support.small_nets import chain

CORTEX = load_profile("cortex-m-tflm")


def conv(path: str, shape: tuple[int, ...]) -> LayerInfo:
    return LayerInfo(path, "Conv2D", shape, math.prod(shape), pixels=64)


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_the_bytes_of_a_layer_are_those_of_a_packed_file(sparsity: float, tmp_path: Path) -> None:
    weights = sparse_weights((64, 3, 3, 64), sparsity)
    plain = chain(tmp_path / "m.tflite", [("CONV_2D", weights)])
    saved = plain.stat().st_size - packed(plain, tmp_path / "p.tflite").stat().st_size
    zeros = float((weights == 0).mean())
    assert weights.size - bytes_packed(weights.size, zeros) == pytest.approx(saved, abs=100)


def test_small_layers_stay_dense_and_say_why() -> None:
    layers = (conv("large", (3, 3, 64, 64)), conv("small", (1, 1, 8, 16)))
    made = make_plan(layers, CORTEX, route="decode")
    large, small = made.layers
    assert large.pattern == Unstructured()
    assert small.pattern is None
    assert small.reason == "128 weights take 198 bytes when packed at 80% zeros, no fewer"
    assert too_few_to_pack(240, 0.8) == ""
    assert too_few_to_pack(65_536, 0.12)
    assert not too_few_to_pack(65_536, 0.13)


def test_the_plan_says_what_to_expect_with_code_and_from_where_it_pays() -> None:
    made = make_plan((conv("large", (3, 3, 64, 128)),), CORTEX, route="decode")
    found = made.expected
    assert found is not None
    weights = 3 * 3 * 64 * 128
    assert found.dense == weights
    assert found.pruned == bytes_packed(weights, 0.8) + 14_000
    assert "14000 bytes of code" in found.source
    least = pays_from(0.8, 14_000)
    assert least is not None
    assert f"pays from about {least:,} weights at 80% zeros" in found.source
    assert bytes_packed(least + 5, 0.8) + 14_000 <= least + 5
    assert bytes_packed(least - 100, 0.8) + 14_000 > least - 100
    assert made.warnings() == ()


def test_a_plan_whose_code_eats_what_it_saves_warns() -> None:
    made = make_plan((conv("only", (3, 3, 16, 64)),), CORTEX, route="decode")
    assert made.expected is not None
    assert made.expected.pruned > made.expected.dense
    assert "cost more than it saves" in made.warnings()[0]
    assert "more bytes of flash" in str(made.expected)


def test_where_the_mask_takes_all_that_zeros_save_packing_never_pays() -> None:
    assert pays_from(0.125, 14_000) is None
    assert pays_from(0.12, 0) is None


def test_layers_that_no_arena_of_that_size_unpacks_stay_dense() -> None:
    layers = (conv("large", (3, 3, 64, 64)), conv("middle", (1, 1, 64, 64)))
    large, middle = make_plan(layers, CORTEX.within_arena(20_000), route="decode").layers
    assert large.pattern is None
    assert "36864 bytes of unpacked weights" in large.reason
    assert middle.pattern == Unstructured()
    with pytest.raises(ProfileError, match="--max-arena"):
        plan(network(16), CORTEX, max_arena=20_000)
    made = plan(network(64), CORTEX, route="decode", max_arena=20_000)
    assert [row.path for row in made.pruned] == ["first", "scores"]


def network(width: int) -> keras.Model:
    inputs = keras.Input((8, 8, 16))
    x = keras.layers.Conv2D(width, 3, padding="same", name="first")(inputs)
    x = keras.layers.Conv2D(width, 3, padding="same", name="second")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(8, name="scores")(x))


@pytest.mark.parametrize(("width", "route"), [(32, "latency"), (160, "decode")])
def test_for_flash_the_route_is_chosen_by_bytes_and_large_networks_are_packed(
    width: int, route: str
) -> None:
    made = plan(network(width), CORTEX, goal="flash", route="auto")
    assert (made.route, made.goal) == (route, "flash")
    alone = plan(network(width), CORTEX, goal="flash")
    assert alone.route == "latency"
    assert {row.pattern for row in alone.pruned} == {Channels(4)}
