"""Spreads a plan's zeros over the layers of a model: by measured losses, or by weights alone."""

from __future__ import annotations

import numpy as np

from edgeprune import keras_model, layout
from edgeprune.allocate import GRID, Cost, Curve, can_move, lamp_curve, spread, with_errors
from edgeprune.errors import PlanError
from edgeprune.keras_model import Model
from edgeprune.layout import Array
from edgeprune.pattern import Unstructured
from edgeprune.plan_file import Plan
from edgeprune.progress import Progress
from edgeprune.reconstruct.samples import calibration
from edgeprune.reconstruct.walk import Case, walk
from edgeprune.terms import Allocation

ITERATIONS = 12
"""Of ADMM at each sparsity: what layers lose beside each other shows early."""


def allocate(
    model: Model,
    made: Plan,
    method: Allocation,
    x: list[Array] | None,
    progress: Progress,
    cost: Cost | None = None,
) -> Plan:
    """Spreads a plan's zeros, and notes every layer's expected error if there are samples.

    Args:
      model: a built Keras model; not changed.
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
    measured = measure_losses(model, made, calibration(x), progress) if x is not None else {}
    if method == "lamp":
        made = spread(made, _lamp_curves(model, made), cost)
    if method == "reconstruction":
        made = spread(made, measured, cost)
    return with_errors(made, measured)


def _lamp_curves(model: Model, made: Plan) -> dict[str, Curve]:
    layers = keras_model.unique_layers(model)
    curves = {}
    for row in filter(can_move, made.layers):
        kernel = np.asarray(keras_model.kernel_variable(layers[row.path]))
        curves[row.path] = lamp_curve(row.path, layout.to_device(row.kind, kernel))
    return curves


def measure_losses(
    model: Model, made: Plan, x: list[Array], progress: Progress
) -> dict[str, Curve]:
    """What every pruned layer of a plan loses, as a fraction of its outputs' energy.

    Each layer is pruned alone, in a model that is dense otherwise. Layers whose pattern takes any
    sparsity are measured along `allocate.GRID`, the others at that of the plan.

    Args:
      model: a built Keras model; not changed.
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

    walk(model, model, x, rows, visit, progress)
    return curves
