"""Pruning: puts the zeros of a plan into a copy of a Keras model."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprune import keras_model, layout, oneshot
from edgeprune.errors import ModelError
from edgeprune.keras_model import Model
from edgeprune.layout import Array
from edgeprune.mask import Mask, make_mask
from edgeprune.plan import LayerPlan, LayerSparsity, Plan, check_plan
from edgeprune.progress import Progress, no_progress
from edgeprune.score import magnitude


def prune_one_shot(
    model: Model,
    plan: Plan,
    x: list[Array] | None = None,
    *,
    progress: Progress = no_progress,
) -> Model:
    """Prunes by magnitude, without training.

    With calibration data, the statistics of batch normalisation are estimated anew on the pruned
    model, which wins back a part of the accuracy that the zeros cost.

    Args:
      model: a built Keras model; not changed.
      plan: as `plan` makes it, perhaps edited.
      x: calibration data, one array `[n, ...]` per input of the model; no labels are needed.
      progress: told what is done.

    Returns:
      A new model with the same architecture and the zeros in place.

    Raises:
      PlanError: the plan does not fit the model.
      ModelError: a weight to be pruned is not finite, or the model cannot be copied.
    """
    check_plan(plan, keras_model.describe(model))
    pruned = keras_model.copy_model(model)
    layers = keras_model.unique_layers(pruned)
    for step, row in enumerate(plan.pruned):
        _prune_layer(layers[row.path], row)
        progress(f"pruning {row.path}", step + 1, len(plan.pruned))
    if x is not None and plan.pruned:
        oneshot.estimate_batch_norm(pruned, x, progress)
    return pruned


def _prune_layer(layer: Any, row: LayerPlan) -> None:
    variable = keras_model.kernel_variable(layer)
    kernel = np.asarray(variable)
    mask = layer_mask(kernel, row)
    # Not kernel * mask, which leaves -0.0 for every negative weight.
    variable.assign(np.where(mask, kernel, np.zeros((), kernel.dtype)))


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
