"""The picture of a plan: what is taken from each layer, what it computes, the error expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.plan import LayerInfo, LayerPlan, Plan
from edgeprune.report.charts import DENSE_COLOR, PRUNED_COLOR
from edgeprune.report.pictures import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_HEIGHT, _ROW, _AROUND = 2.4, 0.22, 1.2
"""Inches."""
_LOOKED_UP = "Embedding"
"""The kind of layer whose rows are read and not multiplied."""


@dataclass(frozen=True)
class PlannedLayer:
    """What the picture shows of a layer with a kernel."""

    path: str
    sparsity: float
    """Fraction of the weights that is zeroed or removed."""
    dense: float | None
    """Multiply-adds of one sample; None where the map's size is not known before the model runs."""
    left: float | None
    """Those with weights that are neither zeroed nor removed."""
    error: float | None
    """Squared error over the energy of the outputs; None where no samples were given."""


def planned_layers(made: Plan, infos: Sequence[LayerInfo]) -> tuple[PlannedLayer, ...]:
    """The layers of a plan that have a kernel, in its order.

    Args:
      made: the plan.
      infos: the layers of its model.
    """
    known = {info.path: _uses(info) for info in infos}
    return tuple(_planned(row, known.get(row.path)) for row in made.layers if row.shape)


def _planned(row: LayerPlan, uses: float | None) -> PlannedLayer:
    dense = None if uses is None else row.weights * uses
    left = None if dense is None else dense * (1 - row.expected_sparsity)
    return PlannedLayer(row.path, row.expected_sparsity, dense, left, row.expected_error)


def _uses(info: LayerInfo) -> float | None:
    """How often each weight is multiplied for one sample; None where that is not known.

    Once for every position of the output; of a transposed convolution for every one of its input.
    """
    if info.pixels is None or info.kind == _LOOKED_UP:
        return None
    transposed = info.kind.endswith("Transpose")
    return info.pixels / math.prod(info.strides) if transposed else float(info.pixels)


def plot_plan(made: Plan, infos: Sequence[LayerInfo], path: Path) -> None:
    """Writes the picture of a plan as PNG or SVG, by the name of the file.

    Raises:
      OutputError: the file cannot be written.
    """
    layers = planned_layers(made, infos)
    height = max(_LEAST_HEIGHT, _AROUND + _ROW * len(layers))
    save_picture(partial(_draw, title=_title(made), layers=layers[::-1]), path, height)


def _title(made: Plan) -> str:
    route = f", route {made.route}" if made.route else ""
    expected = f"\n{made.expected}" if made.expected is not None else ""
    return f"{made.model}: plan for {made.device}{route}{expected}"


def _draw(figure: Figure, title: str, layers: Sequence[PlannedLayer]) -> None:
    """Columns beside each other, whose rows are the layers, the first on top."""
    has_errors = any(layer.error is not None for layer in layers)
    columns = figure.subplots(1, 3 if has_errors else 2, sharey=True, squeeze=False)[0]
    figure.suptitle(title, fontsize=9)
    for axes in columns:
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(y=0.5 / max(1, len(layers)))
    _draw_sparsity(columns[0], layers)
    _draw_operations(columns[1], layers)
    if has_errors:
        _draw_errors(columns[2], layers)


def _draw_sparsity(axes: Axes, layers: Sequence[PlannedLayer]) -> None:
    axes.barh(range(len(layers)), [layer.sparsity for layer in layers], color=PRUNED_COLOR)
    axes.set_yticks(range(len(layers)), [layer.path for layer in layers])
    axes.set_xlim(0, 1)
    axes.set_xlabel("fraction of weights zeroed or removed")


def _draw_operations(axes: Axes, layers: Sequence[PlannedLayer]) -> None:
    for color, side in ((DENSE_COLOR, "dense"), (PRUNED_COLOR, "left")):
        values = [(getattr(layer, side) or 0.0) / 1e6 for layer in layers]
        label = "dense" if side == "dense" else "planned"
        axes.barh(range(len(layers)), values, color=color, label=label)
    axes.set_xlabel("million multiply-adds")
    if layers:
        axes.legend(frameon=False, loc="best")


def _draw_errors(axes: Axes, layers: Sequence[PlannedLayer]) -> None:
    known = [(place, each.error) for place, each in enumerate(layers) if each.error is not None]
    axes.plot([error for _, error in known], [place for place, _ in known], "o", color=PRUNED_COLOR)
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("error expected in the outputs")
