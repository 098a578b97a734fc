"""Pruning: puts the zeros of a plan into a copy of a Keras model."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from edgeprune import keras_model, layout
from edgeprune.errors import ModelError, QualityWarning
from edgeprune.keras_model import Model
from edgeprune.layout import Array
from edgeprune.mask import Mask, make_mask
from edgeprune.pattern import Unstructured
from edgeprune.plan import LayerPlan, LayerSparsity, Plan, check_plan
from edgeprune.reconstruct.samples import FEW_SAMPLES, calibration
from edgeprune.reconstruct.walk import Case, walk
from edgeprune.score import magnitude

Progress = Callable[[str, int, int], None]
"""Called as work goes on with (what is done, steps done, steps in all)."""


def no_progress(what: str, done: int, total: int) -> None:
    """Says nothing."""
    del what, done, total


def prune_one_shot(
    model: Model,
    plan: Plan,
    x: list[Array] | None = None,
    *,
    progress: Progress = no_progress,
) -> Model:
    """Prunes without training and without labels.

    With calibration data, every layer is reconstructed in turn: mask and weights are chosen so that
    its outputs stay near those of the dense model, given what the layers before it give now; see
    `reconstruct`. A few hundred samples suffice. Without data, the smallest weights go.

    Args:
      model: a built Keras model; not changed.
      plan: as `plan` makes it, perhaps edited.
      x: calibration data, one array `[n, ...]` per input of the model.
      progress: told what is done.

    Returns:
      A new model with the same architecture and the zeros in place.

    Raises:
      PlanError: the plan does not fit the model.
      ModelError: a weight to be pruned or an activation is not finite, or the model cannot be
        copied.

    Warns:
      QualityWarning: without data, with fewer than 32 samples, and where a layer could only be
        pruned by magnitude.
    """
    check_plan(plan, keras_model.describe(model))
    pruned = keras_model.copy_model(model)
    rows = {row.path: row for row in plan.pruned}
    _check_finite(pruned, rows)
    if x is None:
        if rows:
            _warn("Pruned by magnitude alone, without data: expect to lose accuracy. Give samples.")
        _prune_by_magnitude(pruned, plan.pruned, progress)
        return pruned
    if len(x[0]) < FEW_SAMPLES and rows:
        _warn(
            f"{len(x[0])} samples are few for choosing weights: expect to lose accuracy. "
            f"Give at least {FEW_SAMPLES}, better a few hundred."
        )
    rest = _reconstruct(model, pruned, rows, calibration(x), progress)
    if rest:
        _warn(f"Pruned by magnitude, since their inputs cannot be followed: {', '.join(rest)}.")
    _prune_by_magnitude(pruned, tuple(rows[path] for path in rest), no_progress)
    return pruned


def _warn(message: str) -> None:
    warnings.warn(message, QualityWarning, stacklevel=3)


def _reconstruct(
    model: Model, pruned: Model, rows: dict[str, LayerPlan], x: list[Array], progress: Progress
) -> list[str]:
    """Prunes by reconstruction, in place; returns the layers that it could not."""

    def visit(case: Case) -> Array:
        row = rows[case.path]
        return case.solve(row.pattern or Unstructured(), row.sparsity).matrix

    visited = walk(model, pruned, x, rows, visit, progress) if rows else set()
    return [path for path in rows if path not in visited]


def _check_finite(model: Model, rows: dict[str, LayerPlan]) -> None:
    layers = keras_model.unique_layers(model)
    for row in rows.values():
        layer_mask(np.asarray(keras_model.kernel_variable(layers[row.path])), row)


def _prune_by_magnitude(model: Model, rows: tuple[LayerPlan, ...], progress: Progress) -> None:
    layers = keras_model.unique_layers(model)
    for step, row in enumerate(rows):
        variable = keras_model.kernel_variable(layers[row.path])
        kernel = np.asarray(variable)
        # Not kernel * mask, which leaves -0.0 for every negative weight.
        mask = layer_mask(kernel, row)
        variable.assign(np.where(mask, kernel, np.zeros((), kernel.dtype)))
        progress(f"pruning {row.path}", step + 1, len(rows))


def layer_mask(kernel: Array, row: LayerPlan) -> Mask:
    """The mask of a layer by magnitude, in the shape of its Keras kernel; True keeps."""
    if row.pattern is None:
        return np.ones(kernel.shape, bool)
    try:
        scores = magnitude(layout.to_device(row.kind, kernel))
    except ModelError as error:
        raise ModelError(f"{row.path}: {error}") from error
    mask = make_mask(scores, row.pattern, row.sparsity)
    return layout.to_keras(row.kind, mask, kernel.shape)


def layer_sparsities(model: Model) -> tuple[LayerSparsity, ...]:
    """The zeros of every layer that has a device matrix, in the order of the model."""
    kernels = {
        path: keras_model.kernel_variable(layer)
        for path, layer in keras_model.unique_layers(model).items()
    }
    return tuple(
        LayerSparsity(path, kernel.size, kernel.size - int(np.count_nonzero(kernel)))
        for path, variable in kernels.items()
        if variable is not None and (kernel := np.asarray(variable)).size
    )


def reached_sparsity(model: Model, plan: Plan) -> float:
    """Fraction of zeros over the prunable weights of a plan, counted in the model itself."""
    counted = {layer.path for layer in plan.layers if layer.prunable}
    rows = [row for row in layer_sparsities(model) if row.path in counted]
    weights = sum(row.weights for row in rows)
    return sum(row.zeros for row in rows) / weights if weights else 0.0
