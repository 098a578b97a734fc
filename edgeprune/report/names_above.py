"""Names of a plot's points, above them: a row for each, joined to its point by a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.report.charts import DENSE_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT, _ROW, _BELOW = 2.7, 0.17, 0.5
"""Inches without the names, for each name, and below the axis."""
_ROOM = 1.4
"""Right end of the axis, in rightmost values: room for the names to the right of the points."""


@dataclass(frozen=True)
class PointName:
    """A name, and where its line ends, in data coordinates."""

    name: str
    x: float
    y: float


def height_with(names: int) -> float:
    """The height of a figure that has room for so many names, in inches."""
    return _HEIGHT + _ROW * names


def draw_names(
    axes: Axes, names: Sequence[PointName], rightmost: float, ends: tuple[float, float]
) -> None:
    """Sets the limits of both axes and writes names at the top.

    The further left a point, the higher its name: no line runs through another name.

    Args:
      axes: of a figure as high as `height_with(len(names))`.
      names: of points.
      rightmost: the largest x of any point.
      ends: the lowest and the highest y to be shown.
    """
    low, high = _with_margin(ends)
    share = _ROW * len(names) / (height_with(len(names)) - _BELOW)
    axes.set_xlim(0, _ROOM * rightmost or 1)
    axes.set_ylim(low, high + (high - low) * share / (1 - share))
    top = 1.0 if ends[1] <= 1 < high else high
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= top])
    axes.spines["left"].set_bounds(low, high)
    for number, each in enumerate(sorted(names, key=lambda each: each.x)):
        _name(axes, each, 1 - share * (number + 1) / len(names))


def _with_margin(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    margin = 0.08 * ((high - low) or 1.0)
    return low - margin, high + margin


def _name(axes: Axes, point: PointName, height: float) -> None:
    """A name at a height of the plot, of which 1 is the top."""
    axes.annotate(
        point.name,
        (point.x, point.y),
        (point.x, height),
        textcoords=axes.get_xaxis_transform(),
        ha="left",
        va="bottom",
        fontsize=8,
        arrowprops={
            "arrowstyle": "-",
            "color": DENSE_COLOR,
            "linewidth": 0.6,
            "shrinkA": 0,
            "shrinkB": 0,
            "relpos": (0, 0),
        },
    )
