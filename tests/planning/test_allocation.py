from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeprune.core.errors import PlanError
from edgeprune.core.pattern import Block, NofM
from edgeprune.core.plan import LayerPlan, Plan
from edgeprune.core.progress import no_progress
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import map_layers
from edgeprune.keras_model.sparsity import reached_sparsity
from edgeprune.planning.allocation import (
    GRID,
    Curve,
    allocate,
    distribute,
    distribute_within,
    lamp_curve,
    measure_losses,
    reallocate,
)
from edgeprune.planning.plan_model import plan
from edgeprune.planning.rules import make_plan
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.pruning.reconstruct.samples import (
    FEW_SAMPLES,
    SENSITIVITY_POSITIONS,
    sensitivity_samples,
)
from edgeprune.pruning.reconstruct.solve import Solution
from edgeprune.pruning.reconstruct.walk import LayerProblem
from tests.support.architectures import build, samples
from tests.support.profiles import profile, rule

losses = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(np.cumsum)
curves = st.lists(st.tuples(st.sampled_from([10, 20, 40]), losses), min_size=1, max_size=3).map(
    lambda layers: [
        Curve(f"layer{i}", weights, (0.0, 0.25, 0.5, 0.75), (0.0, *map(float, rising[:3])))
        for i, (weights, rising) in enumerate(layers)
    ]
)


def hull_loss(curve: Curve, sparsity: float) -> float:
    corners = np.array(curve.hull())
    return float(np.interp(sparsity, corners[:, 0], corners[:, 1]))


@settings(max_examples=25, deadline=None)
@given(curves, st.floats(0, 0.75))
def test_no_other_way_to_spread_the_zeros_loses_less(layers: list[Curve], asked: float) -> None:
    weights = sum(curve.weights for curve in layers)
    found = distribute(layers, asked * weights)
    total = sum(curve.weights * found[curve.path] for curve in layers)
    assert total == pytest.approx(asked * weights)
    lost = sum(hull_loss(curve, found[curve.path]) for curve in layers)
    # Oracle: every combination on a fine grid with at least as many zeros.
    grid = np.linspace(0, 0.75, 16)
    for sparsities in itertools.product(grid, repeat=len(layers)):
        zeros = sum(c.weights * s for c, s in zip(layers, sparsities, strict=True))
        if zeros >= asked * weights:
            other = sum(hull_loss(c, s) for c, s in zip(layers, sparsities, strict=True))
            assert lost <= other + 1e-9


def rated(layers: list[Curve], rates: list[float]) -> dict[str, Callable[[float], float]]:
    """Costs that fall evenly with the sparsity, each layer's at its own rate per weight."""
    return {
        curve.path: lambda s, rate=rate, size=curve.weights: rate * size * (1 - s)  # type: ignore[misc]
        for curve, rate in zip(layers, rates, strict=False)
    }


@settings(max_examples=25, deadline=None)
@given(curves, st.floats(0.2, 1.0), st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
def test_no_other_zeros_within_a_cost_lose_less(
    layers: list[Curve], part: float, rates: list[float]
) -> None:
    costs = rated(layers, rates)
    limit = part * sum(cost(0.0) for cost in costs.values())
    found = distribute_within(layers, costs, limit)
    spent = sum(cost(found[path]) for path, cost in costs.items())
    least = sum(cost(0.75) for cost in costs.values())
    assert spent == pytest.approx(max(limit, least))
    lost = sum(hull_loss(curve, found[curve.path]) for curve in layers)
    for sparsities in itertools.product(np.linspace(0, 0.75, 16), repeat=len(layers)):
        chosen = dict(zip(costs, sparsities, strict=True))
        if sum(cost(chosen[path]) for path, cost in costs.items()) <= limit:
            other = sum(hull_loss(curve, chosen[curve.path]) for curve in layers)
            assert lost <= other + 1e-9


NO_LOSS = [Curve(f"layer{i}", 10, (0.0, 0.25, 0.5, 0.75), (0.0,) * 4) for i in range(2)]
"""Layers that lose nothing: a price in terms of their losses was 0 however high it was."""


@example(NO_LOSS, 0.5, [0.5, 1.0, 1.0])
@settings(max_examples=50, deadline=None)
@given(curves, st.floats(0.1, 0.7), st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
def test_the_cost_is_no_higher_than_with_zeros_spread_evenly(
    layers: list[Curve], asked: float, rates: list[float]
) -> None:
    weights = sum(curve.weights for curve in layers)
    costs: dict[str, Callable[[float], float]] = {
        curve.path: lambda s, rate=rate, size=curve.weights: rate * size * (1 - s)  # type: ignore[misc]
        for curve, rate in zip(layers, rates, strict=False)
    }
    found = distribute(layers, asked * weights, costs)
    assert sum(c.weights * found[c.path] for c in layers) == pytest.approx(asked * weights)
    evenly = sum(cost(asked) for cost in costs.values())
    assert sum(cost(found[path]) for path, cost in costs.items()) <= evenly * (1 + 1e-9)


def test_the_hull_lies_below_a_bump() -> None:
    curve = Curve("layer", 10, (0.0, 0.25, 0.5, 0.75), (0.0, 0.8, 0.2, 1.0))
    assert curve.hull() == ((0.0, 0.0), (0.5, 0.2), (0.75, 1.0))


def test_lamp_takes_the_weights_with_the_lowest_scores_of_its_paper() -> None:
    """Against the scores as the paper defines them, sorted over all layers."""
    generator = np.random.default_rng(0)
    matrices = {f"layer{i}": generator.normal(size=200) * 4.0**i for i in range(3)}
    scores = []
    for path, matrix in matrices.items():
        squares = np.sort(matrix**2)
        scores += [(s / squares[i:].sum(), path) for i, s in enumerate(squares)]
    pruned = [path for _, path in sorted(scores)[:400]]
    found = distribute([lamp_curve(path, matrix) for path, matrix in matrices.items()], 400)
    for path in matrices:
        assert found[path] == pytest.approx(pruned.count(path) / 200, abs=0.05)


def row(path: str, pattern: Any, sparsity: float, prunable: bool = True) -> LayerPlan:
    return LayerPlan(
        path=path,
        kind="Dense",
        shape=(8, 8),
        pattern=pattern,
        sparsity=sparsity,
        reason="test",
        prunable=prunable,
    )


def test_only_counted_layers_whose_pattern_takes_any_sparsity_are_changed() -> None:
    rows = (
        row("a", Block(2, 1), 0.6),
        row("b", Block(2, 1), 0.6),
        row("excite", Block(2, 1), 0.6, prunable=False),
        row("fixed", NofM(2, 4), 0.5),
        row("dense", None, 0.0),
    )
    made = Plan(device="d", model="m", goal="latency", asked=0.6, layers=rows)
    steep = Curve("a", 64, GRID, tuple(10 * s for s in GRID))
    flat = Curve("b", 64, GRID, tuple(GRID))
    changed = reallocate(made, {"a": steep, "b": flat})
    assert [layer.sparsity for layer in changed.layers] == [
        pytest.approx(0.25),
        pytest.approx(0.95),
        0.6,
        0.5,
        0.0,
    ]
    assert changed.expected_sparsity == pytest.approx(made.expected_sparsity)


@pytest.mark.slow
def test_measured_losses_rise_and_the_plan_tells_them() -> None:
    model = build("mobilenet_v1")
    x = samples(model, 64)
    made = plan(model, "ethos-u55", sparsity=0.7, x=x, allocation="reconstruction")
    measured = measure_losses(map_layers(model), made, x, no_progress)
    assert list(measured) == [layer.path for layer in made.pruned]
    for curve in measured.values():
        assert curve.losses[0] == 0
        assert all(b >= a - 0.02 for a, b in itertools.pairwise(curve.losses))
    for layer in made.pruned:
        assert layer.expected_error == pytest.approx(measured[layer.path].loss(layer.sparsity))
    assert made.expected_sparsity == pytest.approx(0.7)
    assert len({layer.sparsity for layer in made.pruned}) > 1
    assert Plan.model_validate(made.to_json()) == made
    pruned = prune_one_shot(model, made, x)
    assert reached_sparsity(pruned, made) == pytest.approx(0.7, abs=0.01)


def test_where_zeros_stay_spread_evenly_each_layer_is_solved_at_its_sparsity_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def solve(case: LayerProblem, _: Any, sparsity: float) -> Any:
        asked.append((case.path, sparsity))
        return Solution(case.dense, np.ones(case.dense.shape, bool), 0.25)

    monkeypatch.setattr(LayerProblem, "solve", solve)
    model = build("mobilenet_v1")
    made = plan(model, "ethos-u55", sparsity=0.7, x=samples(model, 32), allocation="uniform")
    assert sorted(asked) == sorted((layer.path, 0.7) for layer in made.pruned)
    assert {layer.expected_error for layer in made.pruned} == {0.25}


def test_losses_are_compared_on_a_bounded_number_of_positions_spread_over_the_samples() -> None:
    images, marks = np.zeros((1000, 400, 400, 1), np.uint8), np.arange(1000)
    found = sensitivity_samples([images, marks])
    assert len(found[0]) == len(found[1]) == SENSITIVITY_POSITIONS // 160_000
    assert np.abs(np.diff(found[1]) - 1000 / len(found[1])).max() < 1
    assert len(sensitivity_samples([np.zeros((40, 1, 1 << 20), np.uint8)])[0]) == 40
    huge = np.broadcast_to(np.zeros((), np.uint8), (100, 1 << 20, 8))
    assert len(sensitivity_samples([huge])[0]) == FEW_SAMPLES


def test_without_samples_zeros_are_spread_evenly_unless_lamp_is_asked_for() -> None:
    model = build("mobilenet_v1")
    evenly = plan(model, "ethos-u55", sparsity=0.7)
    assert {layer.sparsity for layer in evenly.pruned} == {0.7}
    lamp = plan(model, "ethos-u55", sparsity=0.7, allocation="lamp")
    assert len({layer.sparsity for layer in lamp.pruned}) > 1
    assert lamp.expected_sparsity == pytest.approx(0.7)
    with pytest.raises(PlanError, match="needs samples"):
        plan(model, "ethos-u55", sparsity=0.7, allocation="reconstruction")


@pytest.mark.slow
def test_a_pattern_with_a_sparsity_of_its_own_keeps_it_and_tells_its_error() -> None:
    model = build("residual")
    made = plan(model, "ethos-u85", x=samples(model, 40))
    assert {layer.sparsity for layer in made.pruned} == {0.5}
    errors = [layer.expected_error for layer in made.pruned]
    assert len(errors) > 2
    assert all(error is not None and 0 < error < 0.5 for error in errors)


def test_more_than_two_thirds_stay_zero_where_the_network_runs_sparsely_from_there_on() -> None:
    model = build("mobilenet_v1")
    pointwise = profile(rule(Block(2, 1)), prunable={"kinds": ("Conv2D",), "kernel": "1x1"})
    made = make_plan(describe_layers(map_layers(model)), pointwise, sparsity=0.68)
    x = samples(model, 64)
    changed = allocate(map_layers(model), made, "reconstruction", x, no_progress)
    counted = [layer for layer in changed.layers if layer.prunable]
    assert len({layer.sparsity for layer in counted}) > 1
    zeros = sum(layer.weights * layer.sparsity for layer in counted)
    assert zeros * 3 > 2 * sum(layer.weights for layer in counted)
