"""Allocates a plan's zeros to its layers so that the total loss is smallest.

A layer's loss at a sparsity is measured by reconstruction on samples, or estimated from its weights
alone. The sum of losses is minimised for a fixed number of zeros: along the lower convex hull of
each layer's losses, zeros go where the next one adds least (Lagrange: in the end, one more zero
adds the same loss in every layer). If the device's costs are known and latency is the goal, what a
zero saves there is weighed in, so that the network costs no more than at one sparsity for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from edgeprune.core import device_matrix
from edgeprune.core.arrays import Array
from edgeprune.core.errors import PlanError
from edgeprune.core.pattern import Block, Unstructured
from edgeprune.core.plan import MAX_RAISED_SPARSITY, LayerInfo, LayerPlan, Plan
from edgeprune.core.progress import Progress
from edgeprune.core.terms import Allocation, Goal
from edgeprune.keras_model.layers import LayerMap
from edgeprune.profiles import kernel_costs as cost_table
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.reconstruct.samples import sensitivity_samples
from edgeprune.pruning.reconstruct.walk import LayerProblem, visit_layers

DeviceCost: TypeAlias = Callable[[LayerPlan, float], float]
"""The cost of a layer of a plan on the device at a sparsity, in the unit of its cost table."""

GRID = (0.0, 0.3, 0.5, 0.65, 0.75, 0.85, 0.9, MAX_RAISED_SPARSITY)
"""Sparsities at which losses are measured."""
_BISECTIONS = 40
_TINY = 1e-300
"""Keeps quotients finite."""


@dataclass(frozen=True)
class Curve:
    """The loss of a layer as a function of its sparsity, linear between the given points."""

    path: str
    weights: int
    sparsities: tuple[float, ...]
    """Ascending from 0."""
    losses: tuple[float, ...]

    def loss(self, sparsity: float) -> float:
        """The loss at a sparsity, interpolated."""
        return float(np.interp(sparsity, self.sparsities, self.losses))

    def hull(self) -> tuple[tuple[float, float], ...]:
        """The vertices `(sparsity, loss)` of the lower convex hull."""
        corners: list[tuple[float, float]] = []
        for point in zip(self.sparsities, self.losses, strict=True):
            while len(corners) > 1 and _slope(corners[-2], point) <= _slope(*corners[-2:]):
                corners.pop()
            corners.append(point)
        return tuple(corners)


def _slope(first: tuple[float, float], second: tuple[float, float]) -> float:
    return (second[1] - first[1]) / (second[0] - first[0])


@dataclass(frozen=True)
class _Piece:
    """A segment of a layer's hull: its number of zeros, the loss it adds and the cost it saves."""

    path: str
    zeros: float
    loss: float
    saved: float


def distribute(
    curves: Sequence[Curve],
    zeros: float,
    costs: Mapping[str, Callable[[float], float]] | None = None,
) -> dict[str, float]:
    """The sparsities with the smallest sum of losses for a number of zeros.

    Args:
      curves: one per layer.
      zeros: number of zeros over all layers; if the curves end earlier, as many as they allow.
      costs: by path, the cost of a layer on the device as a function of its sparsity. The total
        cost is then no larger than at one sparsity for all layers, in exchange for a larger loss.

    Returns:
      The sparsity of each layer, by path.
    """
    weights = sum(curve.weights for curve in curves)
    if not curves or not weights:
        return {}
    pieces = [piece for curve in curves for piece in _pieces(curve, costs)]
    sizes = {curve.path: curve.weights for curve in curves}
    chosen = _cheapest(pieces, sizes, zeros, 0.0)
    if costs is None:
        return chosen
    limit = sum(cost(min(zeros / weights, MAX_RAISED_SPARSITY)) for cost in costs.values())

    def total(sparsities: dict[str, float]) -> float:
        return sum(cost(sparsities[path]) for path, cost in costs.items())

    if total(chosen) <= limit:
        return chosen
    low, high = 0.0, 1.0
    chosen = _cheapest(pieces, sizes, zeros, high)
    for _ in range(_BISECTIONS):
        share = (low + high) / 2
        tried = _cheapest(pieces, sizes, zeros, share)
        if total(tried) <= limit:
            high, chosen = share, tried
        else:
            low = share
    return chosen


def distribute_within(
    curves: Sequence[Curve], costs: Mapping[str, Callable[[float], float]], limit: float
) -> dict[str, float]:
    """The sparsities with the smallest sum of losses at which the layers cost no more than a limit.

    Segments of the hulls are taken in order of loss per cost saved, the last one in part. That is
    the smallest sum where costs are linear in the sparsity.

    Args:
      curves: one per layer.
      costs: by path, the cost of a layer on the device as a function of its sparsity.
      limit: the largest total cost; if the curves end earlier, all zeros that they allow are made.

    Returns:
      The sparsity of each layer, by path.
    """
    pieces = [piece for curve in curves for piece in _pieces(curve, costs) if piece.saved > 0]
    taken = {curve.path: 0.0 for curve in curves}
    above = sum(cost(0.0) for cost in costs.values()) - limit
    for piece in sorted(pieces, key=lambda piece: piece.loss / piece.saved):
        part = min(max(above / piece.saved, 0.0), 1.0)
        taken[piece.path] += part * piece.zeros
        above -= part * piece.saved
    return {curve.path: taken[curve.path] / curve.weights for curve in curves}


def _pieces(curve: Curve, costs: Mapping[str, Callable[[float], float]] | None) -> Iterable[_Piece]:
    cost = costs[curve.path] if costs else lambda _: 0.0
    corners = curve.hull()
    for (start, before), (end, after) in pairwise(corners):
        saved = cost(start) - cost(end)
        yield _Piece(curve.path, (end - start) * curve.weights, after - before, saved)


def _cheapest(
    pieces: list[_Piece], sizes: Mapping[str, int], zeros: float, share: float
) -> dict[str, float]:
    """Takes segments in order of loss per zero less, weighted by `share` in [0, 1], cost saved.

    The segments of a layer are taken in their order: hulls are convex, and the cost saved per zero
    is constant where costs are linear in the sparsity.
    """
    losses = max(sum(piece.loss for piece in pieces), _TINY)
    savings = max(sum(piece.saved for piece in pieces), _TINY)

    def price(piece: _Piece) -> float:
        weighed = (1 - share) * piece.loss / losses - share * piece.saved / savings
        return weighed / piece.zeros

    order = sorted(pieces, key=price)
    taken = dict.fromkeys(sizes, 0.0)
    left = zeros
    for piece in order:
        part = min(piece.zeros, left)
        taken[piece.path] += part
        left -= part
    return {path: taken[path] / size for path, size in sizes.items()}


def lamp_curve(path: str, matrix: Array) -> Curve:
    """Estimates a layer's loss from its weights: minus the logarithm of the energy that is left.

    `distribute` then prunes the weights with the lowest LAMP score: the square of a weight over the
    sum of squares of all weights of the layer that are not smaller.

    Args:
      path: path of the layer.
      matrix: weights of the layer, of any shape.

    Source: Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", 2021,
    arXiv:2010.07611.
    """
    squares = np.sort(np.square(matrix.astype(np.float64)).ravel())
    left = np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])
    total = max(float(left[0]), np.finfo(np.float64).tiny)
    cuts = [round(sparsity * squares.size) for sparsity in GRID]
    losses = [-float(np.log(max(left[cut] / total, 1e-12))) for cut in cuts]
    return Curve(path, squares.size, GRID, tuple(losses))


def device_cost(
    profile: DeviceProfile, goal: Goal, layers: Iterable[LayerInfo]
) -> DeviceCost | None:
    """The cost of layers by the device's cost table.

    Args:
      profile: the device.
      goal: the goal of the plan.
      layers: the layers of the model.

    Returns:
      The cost function; None if the device has no cost table or latency is not the goal.
    """
    table = cost_table.costs_of(profile)
    if goal != "latency" or table is None:
        return None
    known = {layer.path: layer for layer in layers}
    return lambda row, sparsity: cost_table.layer_cost(
        table, known[row.path], row.pattern, sparsity
    )


def can_move(row: LayerPlan) -> bool:
    """Whether a pruned layer's sparsity may change: it counts, and its pattern allows any."""
    return row.prunable and row.sparsity > 0 and isinstance(row.pattern, Unstructured | Block)


def reallocate(made: Plan, curves: Mapping[str, Curve], cost: DeviceCost | None = None) -> Plan:
    """Moves a plan's zeros between its layers to where the loss is smallest.

    The number of zeros stays the same. Only layers that `can_move` change.

    Args:
      made: the plan.
      curves: losses by path, for every layer that `can_move`.
      cost: cost of a layer on the device, if the total must not exceed that of the zeros spread
        evenly.

    Returns:
      A new plan.
    """
    rows = [row for row in made.layers if can_move(row)]
    zeros = sum(row.weights * row.sparsity for row in rows)
    costs = {row.path: _cost_of(row, cost) for row in rows} if cost else None
    return with_sparsities(made, distribute([curves[row.path] for row in rows], zeros, costs))


def with_sparsities(made: Plan, chosen: Mapping[str, float]) -> Plan:
    """A plan with other sparsities in the layers that are named."""
    layers = tuple(
        row.model_copy(update={"sparsity": chosen[row.path]}) if row.path in chosen else row
        for row in made.layers
    )
    return made.model_copy(update={"layers": layers})


def _cost_of(row: LayerPlan, cost: DeviceCost) -> Callable[[float], float]:
    return lambda sparsity: cost(row, sparsity)


def with_errors(made: Plan, curves: Mapping[str, Curve]) -> Plan:
    """Adds to a plan the error that reconstruction is expected to leave in each pruned layer."""
    layers = tuple(
        row.model_copy(update={"expected_error": curves[row.path].loss(row.sparsity)})
        if row.path in curves
        else row
        for row in made.layers
    )
    return made.model_copy(update={"layers": layers})


def allocate(
    mapped: LayerMap,
    made: Plan,
    method: Allocation,
    x: list[Array] | None,
    progress: Progress,
    cost: DeviceCost | None = None,
) -> Plan:
    """Allocates a plan's zeros, and with samples adds the expected error of each layer.

    Args:
      mapped: a built Keras model; not changed.
      made: the plan, with its zeros spread evenly.
      method: see `terms.Allocation`.
      x: samples, one array `[n, ...]` per input.
      progress: called for each layer measured.
      cost: cost of a layer on the device, if the total must not exceed that of `made`.

    Returns:
      A new plan.

    Raises:
      PlanError: the method needs samples and there are none.
    """
    losses = loss_curves(mapped, made, method, x, progress)
    if method != "uniform":
        made = reallocate(made, losses.by_method, cost)
    return with_errors(made, losses.measured)


@dataclass(frozen=True)
class Losses:
    """Losses of the layers of a plan, by their path."""

    by_method: Mapping[str, Curve]
    """Those to spread zeros by; empty where they are spread evenly."""
    measured: Mapping[str, Curve]
    """Those measured on samples; empty without any."""


def loss_curves(
    mapped: LayerMap,
    made: Plan,
    method: Allocation,
    x: list[Array] | None,
    progress: Progress,
) -> Losses:
    """The losses that a method spreads zeros by; arguments and errors are those of `allocate`."""
    if method == "reconstruction" and x is None:
        raise PlanError(
            "Spreading zeros by measured losses needs samples. Received: none. Give --data, or "
            "choose the allocation 'uniform' or 'lamp'."
        )
    if not made.pruned:
        return Losses({}, {})
    moving = method != "uniform"
    measured = {}
    if x is not None:
        seen = sensitivity_samples(x)
        measured = measure_losses(mapped, made, seen, progress, moving=moving)
    match method:
        case "lamp":
            return Losses(_lamp_curves(mapped, made), measured)
        case "reconstruction":
            return Losses(measured, measured)
        case _:
            return Losses({}, measured)


def _lamp_curves(mapped: LayerMap, made: Plan) -> dict[str, Curve]:
    curves = {}
    for row in filter(can_move, made.layers):
        kernel = np.asarray(mapped.kernels[row.path])
        curves[row.path] = lamp_curve(row.path, device_matrix.to_device(row.kind, kernel))
    return curves


def measure_losses(
    mapped: LayerMap, made: Plan, x: list[Array], progress: Progress, *, moving: bool = True
) -> dict[str, Curve]:
    """Measures the loss of every pruned layer of a plan, as a fraction of its outputs' energy.

    Each layer is pruned alone, in an otherwise dense model. Where zeros are to be moved, layers
    whose pattern allows any sparsity are measured at those of `GRID`; all others are measured at
    the sparsity of the plan alone.

    Args:
      mapped: a built Keras model; not changed.
      made: the plan.
      x: samples, one array `[n, ...]` per input.
      progress: called for each layer measured.
      moving: whether zeros are to be moved.

    Returns:
      A curve per layer, by path.
    """
    rows = {row.path: row for row in made.pruned}
    curves: dict[str, Curve] = {}

    def visit(case: LayerProblem) -> None:
        row = rows[case.path]
        pattern = row.pattern or Unstructured()
        if moving and can_move(row):
            curves[case.path] = Curve(case.path, row.weights, GRID, case.errors(pattern, GRID))
        else:
            losses = (0.0, case.solve(pattern, row.sparsity).error)
            curves[case.path] = Curve(case.path, row.weights, (0.0, row.sparsity), losses)

    visit_layers(mapped, mapped, x, rows, visit, progress)
    return curves
