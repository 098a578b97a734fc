"""The picture of a training: losses, metrics, zeros and moves of the masks by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.pruning.training.epoch_record import EpochRecord
from edgeprune.report.charts import DENSE_COLOR, PRUNED_COLOR
from edgeprune.report.pictures import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 2.2
"""Inches."""
_VALIDATED = "val_"
_RATE = "learning_rate"


def plot_training(title: str, records: Sequence[EpochRecord], path: Path) -> None:
    """Writes the curves of a training as PNG or SVG, by the name of the file.

    Args:
      title: what was trained.
      records: of its epochs, in their order; at least one.
      path: of the file.

    Raises:
      OutputError: the file cannot be written.
    """
    losses, others = metric_names(records)
    groups = [group for group in (("loss", losses), ("metric", others)) if group[1]]
    height = _ROW * max(1, len(groups) + 2 * any(record.masks for record in records))
    save_picture(partial(_draw, title=title, records=records, groups=groups), path, height)


def metric_names(records: Sequence[EpochRecord]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is logged in any epoch: losses, and other metrics without the learning rate."""
    names = dict.fromkeys(name for record in records for name in record.metrics)
    losses = tuple(name for name in names if "loss" in name)
    return losses, tuple(name for name in names if "loss" not in name and name != _RATE)


def _draw(
    figure: Figure,
    title: str,
    records: Sequence[EpochRecord],
    groups: Sequence[tuple[str, tuple[str, ...]]],
) -> None:
    has_masks = any(record.masks for record in records)
    rows = figure.subplots(max(1, len(groups) + 2 * has_masks), 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(title, fontsize=9)
    for axes, (label, names) in zip(rows, groups, strict=False):
        _draw_metrics(axes, label, names, records)
    if has_masks:
        _draw_masks(rows[-2], records)
        _draw_moves(rows[-1], records)
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    epochs = [record.epoch for record in records]
    step = max(1, math.ceil(len(epochs) / 20))
    rows[-1].set_xticks(epochs[::step])
    rows[-1].set_xlabel("epoch")


def _draw_metrics(
    axes: Axes, label: str, names: Sequence[str], records: Sequence[EpochRecord]
) -> None:
    """A line for each name; those on validation data are dashed, in the colour of their own."""
    bases = list(dict.fromkeys(name.removeprefix(_VALIDATED) for name in names))
    for name in names:
        known = [each for each in records if name in each.metrics]
        axes.plot(
            [each.epoch for each in known],
            [each.metrics[name] for each in known],
            "o--" if name.startswith(_VALIDATED) else "o-",
            color=f"C{bases.index(name.removeprefix(_VALIDATED)) % 10}",
            markersize=3,
            label=name,
        )
    axes.set_ylabel(label)
    axes.legend(frameon=False, loc="best")


def _draw_masks(axes: Axes, records: Sequence[EpochRecord]) -> None:
    """A pale line for every kernel, and one for all of them together."""
    known = [record for record in records if record.masks]
    epochs = [record.epoch for record in known]
    lines = zip(*(tuple(mask.sparsity for mask in each.masks) for each in known), strict=True)
    for place, line in enumerate(lines):
        label = "each kernel" if place == 0 else None
        axes.plot(epochs, line, color=DENSE_COLOR, linewidth=0.8, label=label)
    overall = [record.sparsity or 0.0 for record in known]
    axes.plot(epochs, overall, "o-", color=PRUNED_COLOR, markersize=3, label="all kernels")
    axes.set_ylim(0, 1)
    axes.set_ylabel("fraction of zeros")
    axes.legend(frameon=False, loc="best")


def _draw_moves(axes: Axes, records: Sequence[EpochRecord]) -> None:
    """How much the masks still change."""
    known = [(record.epoch, record.moved) for record in records if record.moved is not None]
    axes.bar([epoch for epoch, _ in known], [m for _, m in known], width=0.4, color=PRUNED_COLOR)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("masks changed")
