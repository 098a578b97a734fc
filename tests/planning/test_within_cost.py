"""Plans within a cost of whole networks; what is chosen is tested where it is chosen."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.data import Data
from edgeprune.core.errors import PlanError
from edgeprune.core.pattern import Unstructured
from edgeprune.core.plan import Plan
from edgeprune.planning import fit, within_cost
from edgeprune.planning.cost_asked import why_no_cost
from edgeprune.planning.expectation import next_step
from edgeprune.planning.fit import fit_plan
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.carry_out import prune
from tests.support.profiles import profile, rule

L = keras.layers


def net(*, size: int = 16, width: int = 32, blocks: int = 3) -> Any:
    """A stem and 1x1 convolutions behind depthwise ones, as in MobileNetV1."""
    keras.utils.set_random_seed(0)
    image = keras.Input((size, size, 3))
    x = L.ReLU(6.0)(L.Conv2D(width, 3, 2, "same")(image))
    for index in range(blocks):
        x = L.ReLU(6.0)(L.DepthwiseConv2D(3, padding="same")(x))
        x = L.ReLU(6.0)(L.Conv2D(width * (index + 1), 1, name=f"pointwise{index}")(x))
    return keras.Model(image, L.Dense(10, name="scores")(L.GlobalAveragePooling2D()(x)))


def test_without_a_table_the_channel_costs_tell() -> None:
    made = plan(net(), "edge-tpu", cost=0.6)
    assert made.expected is not None
    assert made.expected.unit == "multiplications"
    assert "channel costs" in made.expected.source
    assert made.expected_cost is not None
    assert 0.4 < made.expected_cost <= 0.6
    assert made.asked_cost == 0.6
    assert made.asked == pytest.approx(made.expected_sparsity, abs=1e-4)
    assert made.warnings() == ()


def test_a_plan_says_both_numbers_and_repeats_the_cost() -> None:
    made = plan(net(), "edge-tpu", cost=0.6)
    assert "--cost 0.6" in made.next_step
    assert "--sparsity" not in made.next_step
    title = made.grids()[0].title
    assert f"cost 0.6 asked, {made.expected_cost:.3f} expected" in title
    assert f"sparsity {made.expected_sparsity:.3f} expected" in title
    again = Plan.model_validate_json(made.model_dump_json())
    assert again.asked_cost == 0.6
    assert next_step(again, load_profile("edge-tpu"), "edge-tpu") == made.next_step


def test_a_cost_that_cannot_be_reached_is_told() -> None:
    made = plan(net(blocks=1), "edge-tpu", cost=0.01)
    (warning,) = made.warnings()
    assert "of the dense model's cost instead of 0.01" in warning


def test_less_cost_is_never_asked_for_in_vain() -> None:
    costs = [plan(net(), "edge-tpu", cost=cost).expected_cost for cost in (0.8, 0.6, 0.4)]
    assert costs == sorted(costs, reverse=True, key=lambda cost: cost or 0.0)


@pytest.mark.parametrize(
    ("device", "route", "said"),
    [
        ("raspberry-pi-5", "int8-channels", ""),
        ("raspberry-pi-5", "sparse", ""),
        ("raspberry-pi-5", "int8", "leaves the model dense"),
        ("ethos-u85", None, "one sparsity by definition"),
        ("ethos-u55", None, "serves flash"),
    ],
)
def test_a_route_says_why_it_takes_no_cost(device: str, route: str | None, said: str) -> None:
    found = why_no_cost(load_profile(device).on(route))
    assert said in found
    assert bool(said) == bool(found)


def test_zeros_without_a_table_are_refused() -> None:
    device = profile(rule(Unstructured()))
    with pytest.raises(PlanError, match="no cost table of what zeros save"):
        plan(net(), device, cost=0.5)
    with pytest.raises(PlanError, match="give one of them"):
        plan(net(), device, cost=0.5, sparsity=0.5)


def test_a_cost_is_a_limit_to_fit_into_beside_those_of_the_device() -> None:
    found = fit_plan(net(), load_profile("xnnpack-x86"), cost=0.6)
    assert found.ok
    assert [need.name for need in found.needs] == ["cost"]
    assert found.to_json()["needs"][0]["multiplications"] == found.needs[0].value
    assert found.plan.asked_cost == 0.6


@pytest.mark.slow
@pytest.mark.parametrize("cost", [0.75, 0.5])
def test_the_whole_smaller_network_is_within_the_cost_by_the_table(cost: float) -> None:
    model = net(size=64, width=64)
    made = plan(model, "raspberry-pi-5", route="int8-channels", cost=cost, look_around=False)
    assert made.expected is not None
    assert made.expected.unit == "instructions"
    assert made.expected_cost is not None
    assert 0.9 * cost < made.expected_cost <= cost
    by_weights = plan(
        model,
        "raspberry-pi-5",
        route="int8-channels",
        sparsity=made.expected_sparsity,
        look_around=False,
    )
    assert by_weights.asked_cost is None
    assert prune(model, made).count_params() < model.count_params()


@pytest.mark.slow
def test_no_more_networks_are_priced_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    priced = []
    real = within_cost._priced

    def counted(*given: Any) -> Any:
        priced.append(given)
        return real(*given)

    monkeypatch.setattr(within_cost, "_priced", counted)
    plan(net(), "raspberry-pi-5", route="int8-channels", cost=0.7, look_around=False)
    assert 1 <= len(priced) <= within_cost.TRIES


@pytest.mark.slow
@pytest.mark.parametrize("data", [False, True])
def test_zeros_keep_the_whole_network_within_the_cost(data: bool) -> None:
    model = net(size=64, width=64)
    x = np.random.default_rng(0).uniform(-1, 1, (32, 64, 64, 3)).astype(np.float32)
    options: dict[str, Any] = {"x": x} if data else {}
    made = plan(model, "raspberry-pi-5", route="sparse", cost=0.6, look_around=False, **options)
    assert made.network is not None
    assert made.network.gains
    assert made.expected_cost is not None
    assert 0.5 < made.expected_cost <= 0.6
    assert len({row.sparsity for row in made.pruned if row.prunable}) > 1, "spread by loss"
    even = plan(
        model, "raspberry-pi-5", route="sparse", cost=0.6, allocation="uniform", look_around=False
    )
    assert len({row.sparsity for row in even.pruned if row.prunable}) == 1
    if data:
        assert all(row.expected_error is not None for row in made.pruned if row.prunable)


@pytest.mark.slow
def test_a_cost_is_fitted_in_less_where_the_memory_wants_it() -> None:
    model = net(size=16, width=64)
    x = np.random.default_rng(0).uniform(-1, 1, (32, 16, 16, 3)).astype(np.float32)
    chip = load_profile("edge-tpu")
    limit = chip.limits.flash_bytes.model_copy(update={"value": 30_000})
    small = chip.model_copy(
        update={"limits": chip.limits.model_copy(update={"flash_bytes": limit})}
    )
    found = fit_plan(model, small, data=Data((x,)), cost=0.8)
    assert found.ok
    assert {need.name for need in found.needs} >= {"cost", "flash"}
    assert found.plan.expected_cost is not None
    assert found.plan.expected_cost < 0.8 < 0.8 + fit.CLOSE_ENOUGH
