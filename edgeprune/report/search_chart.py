"""The plot of a search's front: accuracy with its interval against cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from edgeprune.core.amounts import axis_scale
from edgeprune.report.charts import (
    DENSE_COLOR,
    LIMIT_COLOR,
    PRUNED_COLOR,
    SHIPPED_COLOR,
    TRIED_COLOR,
    WIDTH,
    Chart,
    to_svg,
)
from edgeprune.report.names_above import PointName, draw_names, height_with
from edgeprune.searching.result import Front, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_front(front: Front, max_cost: float | None = None) -> Chart | None:
    """The plot of a front; None where no accuracy is known.

    Args:
      front: what was found.
      max_cost: the highest cost that the budget allows, in the front's unit.
    """
    shown = [each for each in (*front.points, *front.beaten) if each.accuracy]
    if not shown:
        return None
    low, _ = ends = _ends(front, shown)
    below = sum(each.accuracy is not None and each.accuracy < low for each in front.attempts)
    caption = (
        "Blue: the front, by the half that selects; a bar is the 95 % interval on the other half, "
        "a dash its value. Grey dots: what else was tried. Diamonds: dense files. Orange ring: "
        "what to ship."
    )
    if below:
        caption += f" {below} tried below the plot."
    named = [each for each in shown if each.dense or each == front.shipped]
    plot = partial(_plot, front=front, named=named, ends=ends, max_cost=max_cost)
    svg = to_svg(plot, height=height_with(len(named)), width=WIDTH)
    return Chart(front.title, caption, svg)


def _ends(front: Front, shown: Sequence[Point]) -> tuple[float, float]:
    """Lowest and highest accuracy of points, dense files and the budget."""
    values = [value for each in shown for value in _values(each)]
    if front.needed is not None:
        values.append(front.needed)
    return min(values), max(values)


def _values(point: Point) -> Iterator[float]:
    found = point.accuracy
    if found is not None:
        yield found.selected_on
        yield from found.ci95 or ()
        if found.reported_on is not None:
            yield found.reported_on


def _plot(
    axes: Axes,
    front: Front,
    named: Sequence[Point],
    ends: tuple[float, float],
    max_cost: float | None,
) -> None:
    costs = [each.cost for each in (*front.points, *front.references)]
    scale, prefix = axis_scale(max(costs))
    _draw_tried(axes, front, scale)
    for point in front.references:
        if point.accuracy:
            place = (point.cost / scale, point.accuracy.selected_on)
            axes.plot(*place, "D", color=DENSE_COLOR, markersize=7)
    _draw_front(axes, front, scale)
    if front.needed is not None:
        axes.axhline(front.needed, color=LIMIT_COLOR, linewidth=1, linestyle="--")
        _label_limit(axes, "budget", (1, front.needed), ("axes fraction", "data"))
    if max_cost is not None:
        axes.axvline(max_cost / scale, ymax=0.5, color=LIMIT_COLOR, linewidth=1, linestyle="--")
        _label_limit(axes, "--max-cost", (max_cost / scale, 0), ("data", "axes fraction"))
    names = [PointName(_name(front, each), each.cost / scale, max(_values(each))) for each in named]
    draw_names(axes, names, max(*costs, max_cost or 0) / scale, ends)
    axes.set_xlabel(f"{prefix}{front.unit} of one inference")
    axes.set_ylabel("accuracy")


def _name(front: Front, point: Point) -> str:
    """A point's name among those of its front, which may be of one device."""
    name = point.name if len(front.devices) > 1 else point.name.removeprefix(f"{point.device} ")
    return f"{name}: ship this" if point == front.shipped else name


def _label_limit(
    axes: Axes, text: str, place: tuple[float, float], coordinates: tuple[str, str]
) -> None:
    """Writes a word to the left of a place on the line of a limit, and above it."""
    axes.annotate(
        text,
        place,
        (-2, 3),
        xycoords=coordinates,
        textcoords="offset points",
        ha="right",
        color=LIMIT_COLOR,
        fontsize=8,
    )


def _draw_tried(axes: Axes, front: Front, scale: float) -> None:
    """A dot for everything that is no point of the front."""
    tried = [
        (each.cost / scale, each.accuracy)
        for each in front.attempts
        if not each.kept and each.cost is not None and each.accuracy is not None
    ]
    if tried:
        axes.plot(*zip(*tried, strict=True), ".", color=TRIED_COLOR, markersize=7)


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
