"""What a plan is expected to save, counted by hand, and what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.outlook import Alternative, Outlook
from edgeprune.core.pattern import Block, Channels, NofM, Unstructured
from edgeprune.core.plan import LayerInfo, LayerPlan, Plan
from edgeprune.planning.expectation import expect_cost, next_step
from edgeprune.profiles.profile import DeviceProfile
from tests.support.profiles import profile, rule, strategy

LAYERS = (
    LayerInfo("conv", "Conv2D", (3, 3, 4, 8), 296, pixels=100),
    LayerInfo("up", "Conv2DTranspose", (2, 2, 8, 8), 264, pixels=400, strides=(2, 2)),
    LayerInfo("top", "Dense", (8, 10), 90, pixels=1),
    LayerInfo("relu", "ReLU", None, 0),
)
DENSE = 288 * 100 + 256 * 100 + 80
"""A transposed convolution multiplies at the pixels that go in."""


def row(path: str, **facts: Any) -> LayerPlan:
    layer = next(layer for layer in LAYERS if layer.path == path)
    shape = layer.shape or ()
    base = {"path": path, "kind": layer.kind, "shape": shape, "pattern": None, "sparsity": 0.0}
    return LayerPlan(**{**base, "reason": "by hand", **facts})


def plan(*rows: LayerPlan, **facts: Any) -> Plan:
    base: dict[str, Any] = {"device": "imagined", "model": "m.keras", "goal": "latency"}
    return Plan(**{**base, "asked": 0.5, "layers": rows, **facts})


CHANNELS = (
    row("conv", pattern=Channels(4), sparsity=0.5, after=(3, 3, 4, 4)),
    row("up", after=(2, 2, 8, 4)),
    row("top"),
    row("relu"),
)


def test_removed_channels_are_multiplications_of_their_own_layer_and_the_next() -> None:
    found = expect_cost(plan(*CHANNELS), LAYERS)
    assert found is not None
    assert (found.unit, found.dense) == ("multiplications", DENSE)
    assert found.pruned == 144 * 100 + 128 * 100 + 80


def test_two_of_four_halve_the_multiplications_of_a_layer() -> None:
    rows = (row("conv", pattern=NofM(2, 4), sparsity=0.5), row("up"), row("top"))
    found = expect_cost(plan(*rows), LAYERS)
    assert found is not None
    assert found.pruned == DENSE - 144 * 100


def test_pixels_that_are_not_known_give_no_expectation() -> None:
    open_size = [*LAYERS[:2], LayerInfo("top", "Dense", (8, 10), 90, pixels=None)]
    assert expect_cost(plan(*CHANNELS), open_size) is None


@pytest.mark.parametrize("goal", ["flash", "memory"])
def test_for_storage_weights_are_counted(goal: str) -> None:
    rows = (row("conv", pattern=Unstructured(), sparsity=0.75), row("top"))
    found = expect_cost(plan(*rows, goal=goal), LAYERS)
    assert found is not None
    assert (found.unit, found.dense, found.pruned) == ("weights to store", 368, 72 + 80)


def test_a_network_that_gains_is_expected_by_its_cost_table() -> None:
    outlook = Outlook(
        gains=True, reason="fits", instructions=(("A", 4e6, 1e6), ("LiteRT", 2e6, 1e6))
    )
    rows = (row("conv", pattern=Block(2, 1), sparsity=0.75),)
    found = expect_cost(plan(*rows, network=outlook), LAYERS)
    assert found is not None
    assert (found.unit, found.dense, found.pruned) == ("instructions", 3e6, 1e6)
    assert "A and LiteRT" in found.source


def test_zeros_without_a_gain_and_plans_that_prune_nothing_expect_nothing() -> None:
    rows = (row("conv", pattern=Block(2, 1), sparsity=0.75),)
    assert expect_cost(plan(*rows), LAYERS) is None
    assert expect_cost(plan(*rows, network=Outlook(gains=False, reason="no")), LAYERS) is None
    assert expect_cost(plan(row("conv")), LAYERS) is None


DEVICE = profile(strategies=(strategy(rule(Channels(4))), strategy(goals=("flash",))))
PRUNE = "edgeprune prune m.keras --device imagined --data data.npz -o pruned.keras"


@pytest.mark.parametrize(
    ("facts", "command"),
    [
        ({}, PRUNE),
        ({"asked": 0.25}, PRUNE.replace(" --data", " --sparsity 0.25 --data")),
        ({"goal": "flash"}, PRUNE.replace(" --data", " --goal flash --data")),
        ({"model": "my net.keras"}, PRUNE.replace("m.keras", "'my net.keras'")),
        ({"model": "functional_1"}, PRUNE.replace("m.keras", "model.keras")),
    ],
)
def test_what_follows_a_plan_asks_for_what_was_planned(facts: Any, command: str) -> None:
    assert next_step(plan(*CHANNELS, **facts), DEVICE, "imagined") == command


def test_what_follows_a_plan_of_a_folder_names_its_signature(tmp_path: Path) -> None:
    made = plan(*CHANNELS, model=str(tmp_path))
    words = PRUNE.replace("m.keras", f"{tmp_path} --signature a").replace(".keras", ".tflite")
    assert next_step(made, DEVICE, "imagined", "a") == words


def test_what_follows_a_dense_route_is_its_file() -> None:
    base = DEVICE.model_dump(by_alias=True)
    dense = {"name": "int8", "numerics": "int8", "goals": (), "rules": (), "source": "imagined"}
    routes = ({**dense, "default_sparsity": 0.0},)
    changed = {"schema": 2, "strategies": (), "routes": routes, "numerics": "int8"}
    device = DeviceProfile.model_validate({**base, **changed})
    made = plan(row("conv"), route="int8", numerics="int8")
    assert next_step(made, device, "my.toml") == (
        "edgeprune export m.keras --device my.toml --route int8 --data data.npz -o model.tflite"
    )


@pytest.mark.parametrize(
    ("outlook", "command"),
    [
        (None, "edgeprune devices"),
        (
            Outlook(gains=False, reason="r", wants_more_zeros=True),
            "edgeprune plan m.keras --device 'my own.toml' --sparsity 0.8",
        ),
        (
            Outlook(
                gains=False, reason="r", elsewhere=(Alternative(device="b", pattern=Channels(8)),)
            ),
            "edgeprune plan m.keras --device b",
        ),
    ],
)
def test_where_nothing_is_pruned_the_next_step_is_another_try(
    outlook: Outlook | None, command: str
) -> None:
    assert next_step(plan(row("conv"), network=outlook), DEVICE, "my own.toml") == command
