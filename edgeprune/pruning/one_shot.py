"""Pruning: puts the zeros of a plan into a copy of a Keras model."""

from __future__ import annotations

import warnings

import numpy as np

from edgeprune.core import device_matrix
from edgeprune.core.arrays import Array
from edgeprune.core.data import Data, as_data
from edgeprune.core.errors import ModelError, QualityWarning
from edgeprune.core.mask import Mask, make_mask
from edgeprune.core.pattern import Channels, Unstructured
from edgeprune.core.plan import LayerPlan, Plan, check_plan
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.score import magnitude
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.layers import Model, describe_layers, kernel_variable, unique_layers
from edgeprune.pruning.channels.batch_norm import estimate_batch_norm
from edgeprune.pruning.channels.plan_removal import (
    NO_RULES,
    ChannelRules,
    Importance,
    remove_planned,
    rest_of,
)
from edgeprune.pruning.finetune import distill_outputs
from edgeprune.pruning.permute import permute_channels
from edgeprune.pruning.reconstruct.samples import (
    FEW_SAMPLES,
    calibration_samples,
    with_moved_copies,
)
from edgeprune.pruning.reconstruct.walk import LayerProblem, visit_layers


def prune_one_shot(
    model: Model,
    plan: Plan,
    x: list[Array] | Data | None = None,
    *,
    permute: bool = True,
    finetune: bool = True,
    importance: Importance | None = None,
    rules: ChannelRules = NO_RULES,
    progress: Progress = no_progress,
) -> Model:
    """Prunes without training and without labels: sets weights to zero, removes whole channels.

    With calibration data, every layer is reconstructed in turn: mask and weights are chosen so that
    its outputs stay near those of the dense model, given what the layers before it give now; see
    `reconstruct`. A few hundred samples suffice; small images are joined by copies of them that
    are moved by a few pixels. What is kept is then fine-tuned on the dense model's answers, where
    that is a matter of minutes; see `finetune`. Without data, the smallest weights go.

    Args:
      model: a built Keras model; not changed.
      plan: as `plan` makes it, perhaps edited.
      x: calibration data, one array `[n, ...]` per input of the model; no labels are needed. A
        `Data` with labels may stand in its place.
      permute: whether channels inside the network may change their order where an `NofM` then
        keeps more weight; see `permute`.
      finetune: whether fine-tuning follows; training that begins here does without.
      importance: how channels to be removed are weighed; see `plan_removal.gather_evidence`.
      rules: that say how custom layers hand channels on, by their class.
      progress: told what is done.

    Returns:
      A new model with the zeros in place; where channels were removed, a smaller one with the same
      layers.

    Raises:
      PlanError: the plan does not fit the model.
      ModelError: a weight to be pruned or an activation is not finite, or the model cannot be
        copied.

    Warns:
      QualityWarning: without data, with fewer than 32 samples, and where a layer could only be
        pruned by magnitude.
    """
    check_plan(plan, describe_layers(model))
    data = as_data(x)
    _warn_of_few(plan, data)
    smaller, rest = remove_channels(
        model, plan, data, importance=importance, rules=rules, progress=progress
    )
    if data is not None and smaller is not model:
        estimate_batch_norm(smaller, calibration_samples(list(data.x)), progress)
    pruned = copy_model(smaller)
    rows = {row.path: row for row in rest.pruned}
    _check_finite(pruned, rows)
    dense = copy_model(pruned) if permute and permute_channels(pruned, rows) else smaller
    if data is None:
        _prune_by_magnitude(pruned, rest.pruned, progress)
        return pruned
    samples = calibration_samples(list(data.x))
    left = _reconstruct(dense, pruned, rows, with_moved_copies(samples), progress)
    if left:
        _warn(f"Pruned by magnitude, since their inputs cannot be followed: {', '.join(left)}.")
    _prune_by_magnitude(pruned, tuple(rows[path] for path in left), no_progress)
    if finetune and plan.pruned:
        distill_outputs(pruned, dense if smaller is model else model, samples, progress)
    return pruned


def _warn_of_few(plan: Plan, data: Data | None) -> None:
    if not plan.pruned:
        return
    if data is None:
        _warn("Pruned by magnitude alone, without data: expect to lose accuracy. Give samples.")
    elif len(data) < FEW_SAMPLES:
        _warn(
            f"{len(data)} samples are few for choosing weights: expect to lose accuracy. "
            f"Give at least {FEW_SAMPLES}, better a few hundred."
        )


def _warn(message: str) -> None:
    warnings.warn(message, QualityWarning, stacklevel=3)


def _reconstruct(
    model: Model, pruned: Model, rows: dict[str, LayerPlan], x: list[Array], progress: Progress
) -> list[str]:
    """Prunes by reconstruction, in place; returns the layers that it could not."""

    def visit(case: LayerProblem) -> Array:
        row = rows[case.path]
        return case.solve(row.pattern or Unstructured(), row.sparsity).matrix

    visited = visit_layers(model, pruned, x, rows, visit, progress) if rows else set()
    return [path for path in rows if path not in visited]


def _check_finite(model: Model, rows: dict[str, LayerPlan]) -> None:
    layers = unique_layers(model)
    for row in rows.values():
        layer_mask(np.asarray(kernel_variable(layers[row.path])), row)


def _prune_by_magnitude(model: Model, rows: tuple[LayerPlan, ...], progress: Progress) -> None:
    layers = unique_layers(model)
    for step, row in enumerate(rows):
        variable = kernel_variable(layers[row.path])
        kernel = np.asarray(variable)
        # Not kernel * mask, which leaves -0.0 for every negative weight.
        mask = layer_mask(kernel, row)
        variable.assign(np.where(mask, kernel, np.zeros((), kernel.dtype)))
        progress(f"pruning {row.path}", step + 1, len(rows))


def remove_channels(
    model: Model,
    plan: Plan,
    data: Data | None = None,
    *,
    importance: Importance | None = None,
    rules: ChannelRules = NO_RULES,
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


def layer_mask(kernel: Array, row: LayerPlan) -> Mask:
    """The mask of a layer by magnitude, in the shape of its Keras kernel; True keeps."""
    if row.pattern is None:
        return np.ones(kernel.shape, bool)
    try:
        scores = magnitude(device_matrix.to_device(row.kind, kernel))
    except ModelError as error:
        raise ModelError(f"{row.path}: {error}") from error
    mask = make_mask(scores, row.pattern, row.sparsity)
    return device_matrix.to_keras(row.kind, mask, kernel.shape)
