"""Where to prune: spreads a plan's zeros over its layers, so that the whole loses least.

A layer's loss at a sparsity is measured by reconstruction on samples, or guessed from its weights
alone. The sum of losses is made smallest for the same number of zeros: along the lower convex hull
of each layer's losses, zeros are taken where the next one costs least (Lagrange: all layers end at
one price of a zero). Where a device's costs are known and latency is the goal, the price counts
what a zero saves there, so that the network costs no more than with its zeros spread evenly.

Pure but for the reading of a cost table; `reconstruct.allocation` measures.
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
from edgeprune.pruning.reconstruct.samples import calibration
from edgeprune.pruning.reconstruct.walk import Case, walk

Cost: TypeAlias = Callable[[LayerPlan, float], float]
"""What a layer of a plan costs on the device at a sparsity."""

GRID = (0.0, 0.3, 0.5, 0.65, 0.75, 0.85, 0.9, MAX_RAISED_SPARSITY)
"""The sparsities that losses are measured at."""
ITERATIONS = 12
"""Iterations of ADMM at each sparsity: what layers lose beside each other shows early."""
_BISECTIONS = 40
_TINY = 1e-300
"""Keeps quotients finite."""


@dataclass(frozen=True)
class Curve:
    """What a layer loses at rising sparsities, the first of which is 0."""

    path: str
    weights: int
    sparsities: tuple[float, ...]
    losses: tuple[float, ...]

    def loss(self, sparsity: float) -> float:
        """By the line through the neighbours."""
        return float(np.interp(sparsity, self.sparsities, self.losses))

    def hull(self) -> tuple[tuple[float, float], ...]:
        """The corners (sparsity, loss) of the lower convex hull."""
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
    """A part of a layer's hull."""

    path: str
    zeros: float
    loss: float
    saved: float


def distribute(
    curves: Sequence[Curve],
    zeros: float,
    costs: Mapping[str, Callable[[float], float]] | None = None,
) -> dict[str, float]:
    """Sparsities of the layers with the smallest sum of losses for so many zeros.

    Args:
      curves: one per layer.
      zeros: over all layers; of more than the curves reach, as many as they do.
      costs: of every layer on the device by its sparsity. The sum is then no larger than with the
        zeros spread evenly, at the price of a larger loss.

    Returns:
      A sparsity per path.
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


def _pieces(curve: Curve, costs: Mapping[str, Callable[[float], float]] | None) -> Iterable[_Piece]:
    cost = costs[curve.path] if costs else lambda _: 0.0
    corners = curve.hull()
    for (start, before), (end, after) in pairwise(corners):
        saved = cost(start) - cost(end)
        yield _Piece(curve.path, (end - start) * curve.weights, after - before, saved)


def _cheapest(
    pieces: list[_Piece], sizes: Mapping[str, int], zeros: float, share: float
) -> dict[str, float]:
    """Takes pieces in order of loss per zero and, by a share in [0, 1], of what a zero saves.

    A piece of a layer never comes before an earlier one of the same layer: hulls are convex, and
    what is saved per zero is the same all along where costs are linear.
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
    """What a layer loses by its weights alone: minus the logarithm of the energy that is left.

    Taking zeros at one price over all layers then takes the weights with the lowest score of
    Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", 2021, arXiv:2010.07611:
    the square of a weight over the sum of squares of those not smaller.

    Args:
      path: of the layer.
      matrix: its weights, of any shape.
    """
    squares = np.sort(np.square(matrix.astype(np.float64)).ravel())
    left = np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])
    total = max(float(left[0]), np.finfo(np.float64).tiny)
    cuts = [round(sparsity * squares.size) for sparsity in GRID]
    losses = [-float(np.log(max(left[cut] / total, 1e-12))) for cut in cuts]
    return Curve(path, squares.size, GRID, tuple(losses))


def device_cost(profile: DeviceProfile, goal: Goal, layers: Iterable[LayerInfo]) -> Cost | None:
    """What layers cost by the device's table; None without one, or if latency is not the goal."""
    if goal != "latency" or profile.costs is None:
        return None
    table = cost_table.read_costs(profile.costs)
    known = {layer.path: layer for layer in layers}
    return lambda row, sparsity: cost_table.layer_cost(
        table, known[row.path], row.pattern, sparsity
    )


def can_move(row: LayerPlan) -> bool:
    """Whether zeros may move from and to a layer: its pattern does not set its sparsity."""
    return row.prunable and row.sparsity > 0 and isinstance(row.pattern, Unstructured | Block)


def spread(made: Plan, curves: Mapping[str, Curve], cost: Cost | None = None) -> Plan:
    """The plan with its zeros moved to where they cost least; as many as before in all.

    Layers of the profile's prunable set are changed whose pattern takes any sparsity; all others
    stay as they are.

    Args:
      made: the plan.
      curves: of every layer that `can_move`.
      cost: of a layer on the device, if latency is to be no worse than with zeros spread evenly.
    """
    rows = [row for row in made.layers if can_move(row)]
    zeros = sum(row.weights * row.sparsity for row in rows)
    costs = {row.path: _cost_of(row, cost) for row in rows} if cost else None
    chosen = distribute([curves[row.path] for row in rows], zeros, costs)
    layers = tuple(
        row.model_copy(update={"sparsity": chosen[row.path]}) if row.path in chosen else row
        for row in made.layers
    )
    return made.model_copy(update={"layers": layers})


def _cost_of(row: LayerPlan, cost: Cost) -> Callable[[float], float]:
    return lambda sparsity: cost(row, sparsity)


def with_errors(made: Plan, curves: Mapping[str, Curve]) -> Plan:
    """The plan with the error that reconstruction is expected to leave in each pruned layer."""
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
    cost: Cost | None = None,
) -> Plan:
    """Spreads a plan's zeros, and notes every layer's expected error if there are samples.

    Args:
      mapped: a built Keras model; not changed.
      made: the plan, its zeros spread evenly.
      method: see `profile.Allocation`.
      x: samples, one array `[n, ...]` per input.
      progress: told how far the measurement is.
      cost: of a layer on the device, if latency is not to rise above that of `made`.

    Raises:
      PlanError: the method needs samples and there are none.
    """
    if method == "reconstruction" and x is None:
        raise PlanError(
            "Spreading zeros by measured losses needs samples. Received: none. Give --data, or "
            "choose the allocation 'uniform' or 'lamp'."
        )
    if not made.pruned:
        return made
    measured = measure_losses(mapped, made, calibration(x), progress) if x is not None else {}
    if method == "lamp":
        made = spread(made, _lamp_curves(mapped, made), cost)
    if method == "reconstruction":
        made = spread(made, measured, cost)
    return with_errors(made, measured)


def _lamp_curves(mapped: LayerMap, made: Plan) -> dict[str, Curve]:
    curves = {}
    for row in filter(can_move, made.layers):
        kernel = np.asarray(mapped.kernels[row.path])
        curves[row.path] = lamp_curve(row.path, device_matrix.to_device(row.kind, kernel))
    return curves


def measure_losses(
    mapped: LayerMap, made: Plan, x: list[Array], progress: Progress
) -> dict[str, Curve]:
    """What every pruned layer of a plan loses, as a fraction of its outputs' energy.

    Each layer is pruned alone, in a model that is dense otherwise. Layers whose pattern takes any
    sparsity are measured along `allocate.GRID`, the others at that of the plan.

    Args:
      mapped: a built Keras model; not changed.
      made: the plan.
      x: samples, one array `[n, ...]` per input.
      progress: told how far it is.
    """
    rows = {row.path: row for row in made.pruned}
    curves: dict[str, Curve] = {}

    def visit(case: Case) -> None:
        row = rows[case.path]
        sparsities = GRID if can_move(row) else (0.0, row.sparsity)
        pattern = row.pattern or Unstructured()
        losses = [case.solve(pattern, s, ITERATIONS).error if s else 0.0 for s in sparsities]
        curves[case.path] = Curve(case.path, row.weights, sparsities, tuple(losses))

    walk(mapped, mapped, x, rows, visit, progress)
    return curves
