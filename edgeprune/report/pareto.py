"""The picture of a device's files: accuracy with its interval against the cost of one inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.amounts import axis_scale
from edgeprune.report.charts import DENSE_COLOR, PRUNED_COLOR, SHIPPED_COLOR, WIDTH, Chart, to_svg
from edgeprune.report.device_files import DeviceFile, Figure, Named, Scale, scales_of
from edgeprune.report.names_above import PointName, draw_names, height_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    svg = to_svg(partial(_plot, places=places), height=height_with(len(places)), width=WIDTH)
    return Chart(title, caption, svg, "; ".join(map(str, places)))


def _samples(places: Sequence[Place]) -> str:
    counts = sorted({place.named.samples for place in places})
    return " or ".join(map(str, counts))


def _plot(axes: Axes, places: Sequence[Place]) -> None:
    scale, prefix = axis_scale(places[-1].cost.value)
    front = front_of(places)
    axes.plot(
        [each.cost.value / scale for each in front],
        [each.named.value for each in front],
        color=DENSE_COLOR,
        linewidth=1,
    )
    for place in places:
        _draw(axes, place, scale)
    draw_names(
        axes,
        [PointName(p.file.name, p.cost.value / scale, p.named.ci95[1]) for p in places],
        rightmost=places[-1].cost.value / scale,
        ends=_ends(places),
    )
    axes.set_xlabel(f"{prefix}{places[0].cost.scale.unit}, {places[0].cost.scale.kind}")
    axes.set_ylabel("accuracy, measured")


def _ends(places: Sequence[Place]) -> tuple[float, float]:
    """The lowest and the highest end of all intervals."""
    ends = [end for place in places for end in place.named.ci95]
    return min(ends), max(ends)


def _draw(axes: Axes, place: Place, scale: float) -> None:
    """A file on the interval of its accuracy."""
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
