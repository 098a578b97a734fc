"""The picture of a device's files: accuracy with its interval against the cost of one inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.report.charts import DENSE_COLOR, PRUNED_COLOR, SHIPPED_COLOR, Chart, to_svg
from edgeprune.report.device_files import DeviceFile, Figure, Named, Scale, scales_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT, _ROW, _BELOW = 4.8, 2.7, 0.17, 0.5
"""Inches, a row for each name and what is below the axis; narrow, to be read on a phone."""
_ROOM = 1.4
"""Of the dearest file's cost, for the names of files to the right of it."""


@dataclass(frozen=True)
class Place:
    """A file in the picture."""

    file: DeviceFile
    named: Named
    cost: Figure
    shipped: bool

    def beats(self, other: Place) -> bool:
        """Whether it is as good in both and better in one."""
        mine, theirs = (-self.named.value, self.cost.value), (-other.named.value, other.cost.value)
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))

    def __str__(self) -> str:
        low, high = self.named.ci95
        shipped = " (to ship)" if self.shipped else ""
        return (
            f"{self.file.name}{shipped}: accuracy {self.named.value:.3f} ({low:.3f} to {high:.3f}) "
            f"at {self.cost.text} {self.cost.scale.unit}"
        )


def places_of(files: Sequence[DeviceFile], shipped: Path | None) -> tuple[Place, ...]:
    """The files with a known accuracy, the cheapest first, on the scale that most of them have."""
    scales = scales_of(file for file in files if file.named)
    by_scale = [_on(scale, files, shipped) for scale in scales]
    most = max(by_scale, key=len, default=())
    return tuple(sorted(most, key=lambda place: place.cost.value))


def _on(scale: Scale, files: Sequence[DeviceFile], shipped: Path | None) -> tuple[Place, ...]:
    return tuple(
        Place(file, file.named, cost, file.artifact is not None and file.artifact.path == shipped)
        for file in files
        if file.named and (cost := file.figure(scale))
    )


def front_of(places: Sequence[Place]) -> tuple[Place, ...]:
    """The places that no other beats."""
    return tuple(each for each in places if not any(other.beats(each) for other in places))


def plot_pareto(title: str, files: Sequence[DeviceFile], shipped: Path | None) -> Chart | None:
    """The picture; None where fewer than two files have both an accuracy and a cost.

    Args:
      title: of the picture.
      files: of one device.
      shipped: which of them is to ship, if any.
    """
    places = places_of(files, shipped)
    if len(places) < 2:
        return None
    scale = places[0].cost.scale
    several = len(front_of(places)) > 1
    line = "The line joins the files that no other beats. " if several else ""
    caption = (
        f"Further up is more accurate, further left costs less. {scale.title} of one inference "
        f"({scale.source}); bars are the 95 % intervals of accuracy (measured on "
        f"{_samples(places)} samples). {line}The ring is the file to ship."
    )
    svg = to_svg(partial(_plot, places=places), height=_HEIGHT + _ROW * len(places), width=_WIDTH)
    return Chart(title, caption, svg, "; ".join(map(str, places)))


def _samples(places: Sequence[Place]) -> str:
    counts = sorted({place.named.samples for place in places})
    return " or ".join(map(str, counts))


def _plot(axes: Axes, places: Sequence[Place]) -> None:
    scale, prefix = _scale(places)
    front = front_of(places)
    axes.plot(
        [each.cost.value / scale for each in front],
        [each.named.value for each in front],
        color=DENSE_COLOR,
        linewidth=1,
    )
    share = _share(places)
    for number, place in enumerate(places):
        _draw(axes, place, scale, 1 - share * (number + 1) / len(places))
    axes.set_xlim(0, _ROOM * places[-1].cost.value / scale or 1)
    _keep_room(axes, places)
    axes.set_xlabel(f"{prefix}{places[0].cost.scale.unit}, {places[0].cost.scale.kind}")
    axes.set_ylabel("accuracy, measured")


def _share(places: Sequence[Place]) -> float:
    """The part of the plot, at its top, that names take."""
    names = _ROW * len(places)
    return names / (_HEIGHT + names - _BELOW)


def _keep_room(axes: Axes, places: Sequence[Place]) -> None:
    """Lets the scale of accuracies end below the names."""
    ends = [end for place in places for end in place.named.ci95]
    margin = 0.08 * ((max(ends) - min(ends)) or 1.0)
    low, high = min(ends) - margin, max(ends) + margin
    share = _share(places)
    axes.set_ylim(low, high + (high - low) * share / (1 - share))
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= min(high, 1)])
    axes.spines["left"].set_bounds(low, high)


def _scale(places: Sequence[Place]) -> tuple[float, str]:
    highest = max(place.cost.value for place in places)
    return (
        (1e6, "million ") if highest >= 1e6 else (1e3, "thousand ") if highest >= 1e3 else (1, "")
    )


def _draw(axes: Axes, place: Place, scale: float, height: float) -> None:
    """A file on the interval of its accuracy, with its name at a height of the plot."""
    color = DENSE_COLOR if place.file.dense else PRUNED_COLOR
    x, (low, high) = place.cost.value / scale, place.named.ci95
    axes.plot([x, x], [low, high], color=color, linewidth=2, alpha=0.5)
    axes.plot(x, place.named.value, "D" if place.file.dense else "o", color=color, markersize=7)
    if place.shipped:
        axes.plot(
            x,
            place.named.value,
            "o",
            color=SHIPPED_COLOR,
            fillstyle="none",
            markersize=14,
            markeredgewidth=2,
        )
    _name(axes, place.file.name, x, high, height)


def _name(axes: Axes, name: str, x: float, y: float, height: float) -> None:
    """A name above the files. The further left, the higher: no line runs through another name."""
    axes.annotate(
        name,
        (x, y),
        (x, height),
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
