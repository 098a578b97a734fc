"""Counts the zeros of a Keras model, layer by layer."""

from __future__ import annotations

import numpy as np

from edgeprune.core.plan import LayerSparsity, Plan
from edgeprune.keras_model.layers import Model, map_layers


def layer_sparsities(model: Model, plan: Plan | None = None) -> tuple[LayerSparsity, ...]:
    """The zeros of every layer that has a device matrix, in the order of the model.

    Args:
      model: a built Keras model.
      plan: the plan that the model was pruned by; removed weights then count as zeros.
    """
    before = {row.path: row.weights for row in plan.layers} if plan else {}
    return tuple(
        LayerSparsity(path, whole, whole - int(np.count_nonzero(kernel)))
        for path, variable in map_layers(model).kernels.items()
        if (kernel := np.asarray(variable)).size
        for whole in [max(before.get(path, 0), kernel.size)]
    )


def reached_sparsity(model: Model, plan: Plan) -> float:
    """Fraction, in [0, 1], of a plan's prunable weights that are zero or removed in the model."""
    counted = {layer.path for layer in plan.layers if layer.prunable}
    rows = [row for row in layer_sparsities(model, plan) if row.path in counted]
    weights = sum(row.weights for row in rows)
    return sum(row.zeros for row in rows) / weights if weights else 0.0
