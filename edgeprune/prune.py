"""Pruning: puts the zeros of a plan into a copy of a Keras model."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprune import keras_model, layout, oneshot
from edgeprune.channels.prune import NO_RULES, Importance, Rules, remove_planned, rest_of
from edgeprune.data import Data
from edgeprune.errors import ModelError
from edgeprune.keras_model import Model
from edgeprune.layout import Array
from edgeprune.mask import Mask, make_mask
from edgeprune.pattern import Channels
from edgeprune.plan import LayerPlan, LayerSparsity, Plan, check_plan
from edgeprune.progress import Progress, no_progress
from edgeprune.score import magnitude


def prune_one_shot(
    model: Model,
    plan: Plan,
    x: list[Array] | Data | None = None,
    *,
    importance: Importance | None = None,
    rules: Rules = NO_RULES,
    progress: Progress = no_progress,
) -> Model:
    """Prunes without training: sets weights to zero by magnitude, removes whole channels.

    With calibration data, the statistics of batch normalisation are estimated anew on the pruned
    model, which wins back a part of the accuracy that the zeros cost.

    Args:
      model: a built Keras model; not changed.
      plan: as `plan` makes it, perhaps edited.
      x: calibration data, one array `[n, ...]` per input of the model; no labels are needed. A
        `Data` with labels may stand in its place.
      importance: how channels to be removed are weighed; see `channels.prune.gather`.
      rules: that say how custom layers hand channels on, by their class.
      progress: told what is done.

    Returns:
      A new model with the zeros in place; where channels were removed, a smaller one with the same
      layers.

    Raises:
      PlanError: the plan does not fit the model.
      ModelError: a weight to be pruned is not finite, or the model cannot be copied.
    """
    check_plan(plan, keras_model.describe(model))
    data = Data(tuple(x)) if isinstance(x, list) else x
    smaller, rest = remove_channels(
        model, plan, data, importance=importance, rules=rules, progress=progress
    )
    pruned = keras_model.copy_model(smaller)
    layers = keras_model.unique_layers(pruned)
    for step, row in enumerate(rest.pruned):
        _prune_layer(layers[row.path], row)
        progress(f"pruning {row.path}", step + 1, len(rest.pruned))
    if data is not None and plan.pruned:
        oneshot.estimate_batch_norm(pruned, list(data.x), progress)
    return pruned


def remove_channels(
    model: Model,
    plan: Plan,
    data: Data | None = None,
    *,
    importance: Importance | None = None,
    rules: Rules = NO_RULES,
    progress: Progress = no_progress,
) -> tuple[Model, Plan]:
    """Takes out the channels that a plan says; `channels.prune.remove_planned` has the details.

    Returns:
      The smaller model, and the plan of what is left to do on it. The same two if the plan removes
      no channels.
    """
    if not any(isinstance(row.pattern, Channels) for row in plan.pruned):
        return model, plan
    smaller = remove_planned(
        model, plan, data=data, importance=importance, rules=rules, progress=progress
    )
    return smaller, rest_of(plan, smaller)


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


def layer_sparsities(model: Model, plan: Plan | None = None) -> tuple[LayerSparsity, ...]:
    """The zeros of every layer that has a device matrix, in the order of the model.

    Args:
      model: a built Keras model.
      plan: that it was pruned by; weights that were removed then count as zeros.
    """
    before = {row.path: row.weights for row in plan.layers} if plan else {}
    kernels = {
        path: keras_model.kernel_variable(layer)
        for path, layer in keras_model.unique_layers(model).items()
    }
    return tuple(
        LayerSparsity(path, whole, whole - int(np.count_nonzero(kernel)))
        for path, variable in kernels.items()
        if variable is not None and (kernel := np.asarray(variable)).size
        for whole in [max(before.get(path, 0), kernel.size)]
    )


def reached_sparsity(model: Model, plan: Plan) -> float:
    """Fraction of zeros and removed weights over a plan's prunable ones, counted in the model."""
    counted = {layer.path for layer in plan.layers if layer.prunable}
    rows = [row for row in layer_sparsities(model, plan) if row.path in counted]
    weights = sum(row.weights for row in rows)
    return sum(row.zeros for row in rows) / weights if weights else 0.0
