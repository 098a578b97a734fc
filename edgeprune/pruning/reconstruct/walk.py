"""Visits a model layer by layer and sets up the least-squares problem of each.

When a layer is visited, its targets are the dense model's outputs, and its inputs those of the
copy, whose earlier layers may be pruned already; so each layer also compensates for the errors of
the layers before it. Batch normalisation behind a changed layer is corrected on the way: behind a
pruned layer by the moments that follow from its least-squares problem, else by those of its input.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import keras
import numpy as np

from edgeprune.core import device_matrix
from edgeprune.core.arrays import Array
from edgeprune.core.pattern import Pattern
from edgeprune.core.progress import Progress
from edgeprune.keras_model.layers import Layer, LayerMap, kernel_variable
from edgeprune.pruning.channels.statistics import require_finite
from edgeprune.pruning.reconstruct import norm
from edgeprune.pruning.reconstruct.columns import (
    columns,
    groups,
    has_columns,
    outputs_of,
    positions,
)
from edgeprune.pruning.reconstruct.gram import FloatArray
from edgeprune.pruning.reconstruct.run import Run
from edgeprune.pruning.reconstruct.solve import Solution, errors_along, solve_layer
from edgeprune.pruning.reconstruct.statistics import Problem, Sums, chosen_positions
from edgeprune.pruning.reconstruct.store import open_store


@dataclass(frozen=True)
class LayerProblem:
    """A layer that is visited, with its least-squares problem."""

    path: str
    kind: str
    problem: Problem
    dense: FloatArray
    """Device matrix `[out, in]` of the dense model."""
    row_weights: FloatArray
    """`[out]`, the weight of each output's error."""

    def solve(self, pattern: Pattern, sparsity: float) -> Solution:
        """Prunes the layer to a pattern and sparsity; see `solve_layer`."""
        return solve_layer(self.problem, self.dense, self.row_weights, pattern, sparsity)

    def errors(self, pattern: Pattern, sparsities: Sequence[float]) -> tuple[float, ...]:
        """What pruning it to rising sparsities would leave; see `errors_along`."""
        return errors_along(self.problem, self.dense, self.row_weights, pattern, sparsities)


Moments: TypeAlias = tuple[norm.MeanVariance, norm.MeanVariance]
"""Mean and variance per channel in the dense model, and in the copy."""
Visit = Callable[[LayerProblem], FloatArray | None]
"""Returns the new device matrix `[out, in]` of a layer; None leaves it unchanged."""


def visit_layers(
    dense: LayerMap,
    copy: LayerMap,
    x: list[Array],
    paths: Collection[str],
    visit: Visit,
    progress: Progress,
) -> set[str]:
    """Visits layers in the order in which the model calls them, and changes the copy in place.

    A layer that is called several times is visited at its first call; for its later calls the
    inputs are the dense model's, since those of the copy depend on the weights to be chosen.

    Args:
      dense: a built Keras model; not changed.
      copy: a model of the same architecture and weights; `dense` itself if `visit` changes nothing.
      x: samples, one array `[n, ...]` per input.
      paths: paths of the layers to visit.
      visit: called with each layer.
      progress: called after each call of the model's graph.

    Returns:
      The paths visited, without layers that the model does not call or `columns` does not support.

    Raises:
      ModelError: activations are not finite.
    """
    visited: set[str] = set()
    moments: dict[str, Moments] = {}
    later = _later_calls(dense, x, paths)
    with open_store() as store:
        run = Run(dense, copy, x, store)
        for index, call in enumerate(run.calls):
            for path in run.paths(index):
                layer = run.dense_layer(path)
                if isinstance(layer, keras.layers.BatchNormalization):
                    _correct_norm(run, index, path, moments.get(path))
                elif path in paths and path not in visited and has_columns(layer):
                    visited.add(path)
                    moments |= _visit(run, index, path, visit, later.get(path))
            run.advance(index)
            progress(f"reconstructing {call.operation.name}", index + 1, len(run.calls))
    return visited


def _later_calls(dense: LayerMap, x: list[Array], paths: Collection[str]) -> dict[str, Sums]:
    """The sums over all calls but the first, for layers that are called several times."""
    calls: dict[str, list[int]] = {}
    found: dict[str, Sums] = {}
    with open_store() as store:
        run = Run(dense, dense, x, store)
        for index in range(len(run.calls)):
            for path in run.direct_paths(index):
                if path in paths and has_columns(run.dense_layer(path)):
                    calls.setdefault(path, []).append(index)
        later = {index: path for path, found in calls.items() for index in found[1:]}
        for index in range(max(later, default=-1) + 1):
            if index in later:
                path = later[index]
                found[path] = _sums(run, index, path, found.get(path))
            run.advance(index)
    return found


def _visit(run: Run, index: int, path: str, visit: Visit, sums: Sums | None) -> dict[str, Moments]:
    """Visits a layer; returns the moments of what a batch normalisation behind it reads, by path.

    Of one whose input they are not, there are none.
    """
    layer = run.copy_layer(path)
    sums = _sums(run, index, path, sums)
    following = _norm_of_rows(run.following(index), sums.rows)
    problem = sums.problem(with_bias=layer.use_bias or following is not None)
    require_finite(problem.cross, path)
    variable = kernel_variable(layer)
    kind = type(layer).__name__
    dense = device_matrix.to_device(kind, np.asarray(variable, np.float64))
    matrix = visit(LayerProblem(path, kind, problem, dense, _row_weights(following, len(dense))))
    if matrix is None:
        return {}
    variable.assign(device_matrix.to_keras(kind, matrix, tuple(variable.shape)))
    if layer.use_bias:
        layer.bias.assign(problem.bias(matrix))
    run.mark_changed(path)
    reads_it = layer.activation is keras.activations.linear and run.is_called_once(
        run.dense_layer(path)
    )
    if following is None or not reads_it or not run.is_called_once(following):
        return {}
    return {str(run.dense_path(following)): _output_moments(problem, matrix, fitted=layer.use_bias)}


def _output_moments(problem: Problem, matrix: FloatArray, *, fitted: bool) -> Moments:
    """Mean and variance of a layer's outputs in the dense model, and with another device matrix.

    Args:
      problem: the layer's, with a bias.
      matrix: device matrix `[out, in]`.
      fitted: whether the layer has a bias, the best one; else it has none.
    """
    variance = np.maximum((problem.times_gram(matrix) * matrix).sum(axis=1), 0.0)
    mean = problem.target_mean - (0.0 if fitted else problem.bias(matrix))
    return (
        norm.MeanVariance(problem.target_mean, problem.energy),
        norm.MeanVariance(mean, variance),
    )


def _sums(run: Run, index: int, path: str, sums: Sums | None) -> Sums:
    """Sums the statistics of a layer's inputs and targets in a call over all batches."""
    dense_layer, layer = run.dense_layer(path), run.copy_layer(path)
    kernel = kernel_variable(layer)
    rows, width = device_matrix.device_shape(type(layer).__name__, tuple(kernel.shape))
    sums = sums or Sums(groups(layer), width, rows)
    for batch, before, after in run.pairs(index, path):
        chosen = chosen_positions(positions(layer, after), batch, run.batches, width)
        inputs = columns(layer, after, chosen)
        dense_inputs = inputs if after is before else columns(dense_layer, before, chosen)
        sums.add(inputs, outputs_of(dense_layer, dense_inputs))
    return sums


def _norm_of_rows(following: Layer | None, rows: int) -> Layer | None:
    """The batch normalisation behind a layer, if it normalises each output of the layer alone."""
    if not isinstance(following, keras.layers.BatchNormalization):
        return None
    shape = tuple(following.moving_mean.shape)
    return following if following.axis == -1 and shape == (rows,) else None


def _row_weights(following: Layer | None, rows: int) -> FloatArray:
    """The factor `[rows]` by which a following batch normalisation scales each output; else 1."""
    if following is None:
        return np.ones(rows)
    deviation = np.sqrt(np.asarray(following.moving_variance, np.float64) + following.epsilon)
    gamma = np.asarray(following.gamma, np.float64) if following.scale else np.ones(rows)
    scales: FloatArray = np.abs(gamma) / deviation
    return scales


def _correct_norm(run: Run, index: int, path: str, moments: Moments | None) -> None:
    if not run.is_changed(index):
        return
    layer = run.copy_layer(path)
    before, after = moments or _moments(run, index, path)
    norm.correct_statistics(layer, run.dense_layer(path), before, after)
    run.mark_changed(path)


def _moments(run: Run, index: int, path: str) -> Moments:
    """The moments of what a batch normalisation reads, over all positions."""
    axis = run.copy_layer(path).axis
    before, after = norm.MomentSums(axis), norm.MomentSums(axis)
    for _, entering, entering_copy in run.pairs(index, path):
        before.add(entering)
        after.add(entering_copy)
    return before.moments(), after.moments()
