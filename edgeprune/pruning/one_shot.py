"""One shot: puts the zeros of a plan into a copy of a Keras model, without training."""

from __future__ import annotations

import warnings

import numpy as np

from edgeprune.core import device_matrix
from edgeprune.core.arrays import Array
from edgeprune.core.data import Data
from edgeprune.core.errors import ModelError, QualityWarning
from edgeprune.core.mask import Mask, make_mask
from edgeprune.core.pattern import Channels, Unstructured
from edgeprune.core.plan import LayerPlan, Plan
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.score import magnitude
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.layers import LayerMap, Model, map_layers
from edgeprune.pruning.channels.batch_norm import adjust_batch_norm
from edgeprune.pruning.channels.plan_removal import (
    NO_RULES,
    ChannelRules,
    Importance,
    remove_and_tell,
    rest_of,
)
from edgeprune.pruning.channels.removal import InputsLeft
from edgeprune.pruning.finetune import FineTuning, distill_outputs
from edgeprune.pruning.permute import permute_channels
from edgeprune.pruning.reconstruct.samples import (
    FEW_SAMPLES,
    with_moved_copies,
)
from edgeprune.pruning.reconstruct.walk import LayerProblem, visit_layers


def one_shot(
    mapped: LayerMap,
    plan: Plan,
    data: Data | None = None,
    *,
    permute: bool = True,
    finetune: bool | FineTuning = True,
    importance: Importance | None = None,
    rules: ChannelRules = NO_RULES,
    progress: Progress = no_progress,
) -> Model:
    """Sets weights to zero and removes whole channels, without training and without labels.

    With calibration data, every layer is reconstructed in turn: mask and weights are chosen so that
    its outputs stay near those of the dense model, given what the layers before it give now; see
    `reconstruct`. A few hundred samples suffice; small images are joined by copies of them that
    are moved by a few pixels. What is kept is then fine-tuned on the dense model's answers, where
    that is a matter of minutes; see `finetune`. Without data, the smallest weights go.

    Args:
      mapped: a built Keras model; not changed.
      plan: one that `check_plan` accepts; its padding is the model's already.
      data: calibration data, with or without labels.
      permute: whether channels inside the network may change their order where an `NofM` then
        keeps more weight; see `permute`.
      finetune: whether fine-tuning follows, or which parts of it.
      importance: how channels to be removed are weighed; see `plan_removal.gather_evidence`.
      rules: for custom layers: how each class passes channels on.
      progress: told what is done.

    Returns:
      A new model with the zeros in place; where channels were removed, a smaller one with the same
      layers.

    Raises:
      ModelError: a weight to be pruned or an activation is not finite, or the model cannot be
        copied.

    Warns:
      QualityWarning: without data, with fewer than 32 samples, and where a layer could only be
        pruned by magnitude.
    """
    _warn_of_few(plan, data)
    smaller, rest, inputs = remove_channels(
        mapped, plan, data, importance=importance, rules=rules, progress=progress
    )
    if data is not None and smaller is not mapped:
        adjust_batch_norm(smaller, mapped, inputs, list(data.x), progress)
    pruned = map_layers(copy_model(smaller.model))
    rows = {row.path: row for row in rest.pruned}
    _check_finite(pruned, rows)
    moved = permute and permute_channels(pruned, rows)
    dense = map_layers(copy_model(pruned.model)) if moved else smaller
    if data is None:
        _prune_by_magnitude(pruned, rest.pruned, progress)
        return pruned.model
    samples = list(data.x)
    left = _reconstruct(dense, pruned, rows, with_moved_copies(samples), progress)
    if left:
        _warn(f"Pruned by magnitude, since their inputs cannot be followed: {', '.join(left)}.")
    _prune_by_magnitude(pruned, tuple(rows[path] for path in left), no_progress)
    if finetune and plan.pruned:
        teacher = dense if smaller is mapped else mapped
        parts = finetune if isinstance(finetune, FineTuning) else FineTuning()
        distill_outputs(pruned, teacher, samples, progress, inputs, parts)
    return pruned.model


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
    dense: LayerMap,
    pruned: LayerMap,
    rows: dict[str, LayerPlan],
    x: list[Array],
    progress: Progress,
) -> list[str]:
    """Prunes by reconstruction, in place; returns the layers that it could not."""

    def visit(case: LayerProblem) -> Array:
        row = rows[case.path]
        return case.solve(row.pattern or Unstructured(), row.sparsity).matrix

    visited = visit_layers(dense, pruned, x, rows, visit, progress) if rows else set()
    return [path for path in rows if path not in visited]


def _check_finite(mapped: LayerMap, rows: dict[str, LayerPlan]) -> None:
    for row in rows.values():
        layer_mask(np.asarray(mapped.kernels[row.path]), row)


def _prune_by_magnitude(mapped: LayerMap, rows: tuple[LayerPlan, ...], progress: Progress) -> None:
    for step, row in enumerate(rows):
        variable = mapped.kernels[row.path]
        kernel = np.asarray(variable)
        # Not kernel * mask, which leaves -0.0 for every negative weight.
        mask = layer_mask(kernel, row)
        variable.assign(np.where(mask, kernel, np.zeros((), kernel.dtype)))
        progress(f"pruning {row.path}", step + 1, len(rows))


def remove_channels(
    mapped: LayerMap,
    plan: Plan,
    data: Data | None = None,
    *,
    importance: Importance | None = None,
    rules: ChannelRules = NO_RULES,
    progress: Progress = no_progress,
) -> tuple[LayerMap, Plan, InputsLeft]:
    """Removes the channels that a plan names; `channels.plan_removal.remove_and_tell` does it.

    Returns:
      The smaller model, the plan of what is left to do on it, and the inputs that its layers have
      left. The same model and plan if the plan removes no channels.
    """
    if not any(isinstance(row.pattern, Channels) for row in plan.pruned):
        return mapped, plan, {}
    removed = remove_and_tell(
        mapped, plan, data=data, importance=importance, rules=rules, progress=progress
    )
    return removed.smaller, rest_of(plan, removed.smaller), removed.inputs


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
