"""The plot of a search's front: accuracy with its interval against cost."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from edgeprune.report.charts import (
    DENSE_COLOR,
    LIMIT_COLOR,
    PRUNED_COLOR,
    SHIPPED_COLOR,
    TRIED_COLOR,
    Chart,
    to_svg,
)
from edgeprune.searching.result import Front, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SCALES = ((1e6, "million "), (1.0, ""))
_MARGIN = 0.12


def plot_front(front: Front, max_cost: float | None = None) -> Chart | None:
    """The plot of a front; None where no accuracy is known.

    Args:
      front: what was found.
      max_cost: the highest cost that the budget allows, in the front's unit.
    """
    shown = [each for each in (*front.points, *front.references) if each.accuracy]
    if not shown:
        return None
    low, high = _range(front, shown)
    below = sum(each.accuracy is not None and each.accuracy < low for each in front.attempts)
    caption = (
        "Blue: the front, by the half that selects; a bar is the 95 % interval on the other half, "
        "a dash its value. Grey dots: what else was tried. Diamonds: dense files. Orange ring: "
        "what to ship."
    )
    if below:
        caption += f" {below} tried below the plot."
    svg = to_svg(partial(_plot, front=front, limits=(low, high), max_cost=max_cost), height=3.8)
    return Chart(front.title, caption, svg)


def _range(front: Front, shown: list[Point]) -> tuple[float, float]:
    """Lowest and highest accuracy of the plot: of points, dense files and the budget."""
    values = [value for each in shown for value in _values(each)]
    if front.needed is not None:
        values.append(front.needed)
    margin = _MARGIN * ((max(values) - min(values)) or abs(values[0]) or 1.0)
    return min(values) - margin, max(values) + margin


def _values(point: Point) -> Iterator[float]:
    found = point.accuracy
    if found is not None:
        yield found.selected_on
        yield from found.ci95 or ()
        if found.reported_on is not None:
            yield found.reported_on


def _plot(axes: Axes, front: Front, limits: tuple[float, float], max_cost: float | None) -> None:
    highest = max(each.cost for each in (*front.points, *front.references))
    scale, prefix = next(pair for pair in _SCALES if highest >= pair[0] or pair[0] == 1.0)
    tried = [
        (each.cost / scale, each.accuracy)
        for each in front.attempts
        if not each.kept and each.cost is not None and each.accuracy is not None
    ]
    if tried:
        axes.plot(*zip(*tried, strict=True), ".", color=TRIED_COLOR, markersize=7)
    for point in front.references:
        _draw_dense(axes, point, scale)
    _draw_front(axes, front, scale)
    if front.needed is not None:
        axes.axhline(front.needed, color=LIMIT_COLOR, linewidth=1, linestyle="--")
        axes.annotate(
            "budget",
            (1, front.needed),
            (-2, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            color=LIMIT_COLOR,
            fontsize=8,
        )
    if max_cost is not None:
        axes.axvline(max_cost / scale, color=LIMIT_COLOR, linewidth=1, linestyle="--")
    axes.set_ylim(*limits)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{prefix}{front.unit} of one inference")
    axes.set_ylabel("accuracy")


def _draw_dense(axes: Axes, point: Point, scale: float) -> None:
    if point.accuracy is None:
        return
    place = (point.cost / scale, point.accuracy.selected_on)
    axes.plot(*place, "D", color=DENSE_COLOR, markersize=7)
    axes.annotate(
        f"dense {point.numerics}",
        place,
        (0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )


def _draw_front(axes: Axes, front: Front, scale: float) -> None:
    known = [(each, each.accuracy) for each in front.points if each.accuracy]
    places = [(each.cost / scale, found.selected_on) for each, found in known]
    if not places:
        return
    axes.plot(*zip(*places, strict=True), "o-", color=PRUNED_COLOR, linewidth=1, markersize=4)
    for each, found in known:
        cost = each.cost / scale
        if found.ci95:
            axes.plot([cost] * 2, found.ci95, color=PRUNED_COLOR, alpha=0.4, linewidth=2)
        if found.reported_on is not None:
            axes.plot(cost, found.reported_on, "_", color=PRUNED_COLOR, markersize=8)
        if each == front.shipped:
            axes.plot(
                cost,
                found.selected_on,
                "o",
                color=SHIPPED_COLOR,
                fillstyle="none",
                markersize=12,
                markeredgewidth=2,
            )
