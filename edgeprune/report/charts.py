"""The plots of a report: accuracy, size, cost and sparsity, each an SVG with what to read in it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from edgeprune.core.files import Artifact
from edgeprune.core.grid import shorten_name
from edgeprune.core.layer_noise import HOW_TO_SKIP, LayerNoise
from edgeprune.core.plan import LayerSparsity
from edgeprune.report.accuracies import AccuracyRow
from edgeprune.report.ranking import Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DENSE_COLOR, PRUNED_COLOR, SHIPPED_COLOR = "#7d8995", "#2563a8", "#d9480f"
LIMIT_COLOR, TRIED_COLOR = "#b42318", "#c3cad2"
_VARIABLES = {
    DENSE_COLOR: "chart-dense",
    PRUNED_COLOR: "chart-pruned",
    SHIPPED_COLOR: "chart-ship",
    LIMIT_COLOR: "chart-limit",
    TRIED_COLOR: "chart-tried",
    "#000000": "chart-ink",
}
"""What a page calls these colours, so that it can have others in the dark."""
WIDTH = 4.8
"""Of a page's figures in inches: narrow, to be read on a phone."""
_FILES = 2
"""Accuracies that the first chart shows already: of the dense and the pruned file."""
_MEANING = {
    "ms": "Median of one inference; the bars' ends show the 95 % interval.",
    "modelled cycles": "Of one inference by a model of the core, in millions; no time, and every "
    "access to memory hits the first cache.",
    "instructions": "Executed by one inference, in millions; a count is no time.",
    "cycles": "Cycles of one inference, in millions.",
}
_AXES = {
    "ms": "ms per inference",
    "modelled cycles": "million modelled cycles",
    "instructions": "million instructions",
    "cycles": "million cycles",
}


class Plotted(Protocol):
    """What is plotted of a device: its name, and what was found of its files and layers."""

    @property
    def title(self) -> str:
        """Its name."""

    @property
    def accuracy(self) -> tuple[float, float] | None:
        """Fractions, of the unpruned and of the pruned file."""

    @property
    def dense_artifact(self) -> Artifact | None:
        """The unpruned file."""

    @property
    def artifact(self) -> Artifact | None:
        """The pruned file."""

    @property
    def layers(self) -> tuple[LayerSparsity, ...]:
        """Zeros in every layer."""

    @property
    def accuracies(self) -> tuple[AccuracyRow, ...]:
        """Accuracy of float networks and files."""

    @property
    def noise(self) -> tuple[LayerNoise, ...]:
        """Noise of the layers of the pruned int8 file."""


@dataclass(frozen=True)
class Chart:
    """A plot as SVG, with its title and what to read in it."""

    title: str
    caption: str
    svg: str
    text: str = ""
    """The same in words, for who does not see it; empty where a table has all its numbers."""

    @property
    def alternative(self) -> str:
        """What is read aloud in place of the plot."""
        return f"{self.title}. {self.text or 'The tables on this page have these numbers.'}"


def plot_report(devices: Sequence[Plotted], rankings: Sequence[Ranking]) -> list[Chart]:
    """The plots of all devices, without those that there are no numbers for."""
    written = [device for device in devices if device.artifact and device.dense_artifact]
    named = [device for device in devices if device.accuracy]
    charts = []
    if named:
        charts.append(
            Chart(
                "Accuracy",
                "Fraction of held-out samples named correctly, in the real runtime.",
                _for_names(partial(_plot_accuracy, devices=named), len(named)),
            )
        )
    if written:
        charts += [
            Chart(
                "Size",
                "The file (pale), and the same file after gzip (solid).",
                _for_names(partial(_plot_size, devices=written), len(written)),
            ),
        ]
    charts += _cost_charts(rankings)
    charts += [chart for device in devices for chart in _int8_charts(device)]
    charts += [
        Chart(
            f"Sparsity per layer: {device.title}",
            "Fraction of the weights that the device profile counts that are zeroed or removed.",
            _for_rows(partial(_plot_layers, device=device), len(device.layers)),
        )
        for device in devices
        if device.layers
    ]
    return charts


def _int8_charts(device: Plotted) -> Iterator[Chart]:
    """What quantization costs on a device: accuracies with intervals, and noise by layer."""
    if len(device.accuracies) > _FILES:
        yield Chart(
            f"Accuracy, float and quantized: {device.title}",
            "Fraction of the same samples named correctly, on its 95 % interval.",
            to_svg(partial(_plot_accuracies, rows=device.accuracies[::-1]), 2.2, WIDTH),
        )
    rows = [row for row in device.noise if row.snr_db is not None]
    if rows:
        yield Chart(
            f"Signal to noise per layer in int8: {device.title}",
            f"The lower, the more a layer loses. {HOW_TO_SKIP}",
            _for_rows(partial(_plot_noise, rows=rows[::-1]), len(rows)),
        )


def _cost_charts(rankings: Sequence[Ranking]) -> list[Chart]:
    """One chart for every kind of number, since no two of them have a common scale."""
    return [
        Chart(
            ranking.title,
            f"{_MEANING[ranking.unit]} {_source(ranking)}",
            _for_names(partial(_plot_costs, ranking=ranking), len(ranking.entries)),
        )
        for ranking in rankings
    ]


def _source(ranking: Ranking) -> str:
    found = {entry.pruned.source for entry in ranking.entries}
    text = "; ".join(sorted(found))
    return f"{text[0].upper()}{text[1:]}."


def _for_names(plot: Callable[[Axes], None], names: int) -> str:
    """Room for two bars for each name, below a legend."""
    return to_svg(plot, height=0.9 + 0.5 * names, width=WIDTH)


def _for_rows(plot: Callable[[Axes], None], rows: int) -> str:
    return to_svg(plot, height=1.0 + 0.22 * rows, width=WIDTH)


def to_svg(plot: Callable[[Axes], None], height: float = 3.0, width: float = 6.4) -> str:
    """Draws onto fresh axes and returns the `<svg>` element, text kept as text.

    Colours can be changed by variables of CSS, and no identifier is given that nothing refers to.

    Args:
      plot: draws.
      height: of the figure, in inches.
      width: the same.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Names of layers are text, also those with a dollar sign, which would begin a formula.
    with mpl.rc_context(
        {
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.size": 9,
            "text.parse_math": False,
        }
    ):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        plot(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return _for_page(text[text.index("<svg") :])


def _for_page(svg: str) -> str:
    """An `<svg>` element that several of a page may be like, light or dark."""
    named = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in named else "", svg)
    return re.sub(r"\b(fill|stroke): (#[0-9a-f]{6})", _variable, svg)


def _variable(found: re.Match[str]) -> str:
    of, color = found.groups()
    name = _VARIABLES.get(color)
    return f"{of}: var(--{name}, {color})" if name else found[0]


def _plot_pairs(
    axes: Axes, names: list[str], dense: list[float], pruned: list[float], **style: Any
) -> None:
    """Two bars for every name, one below the other: names lie beside them, however long."""
    width = 0.38
    positions = range(len(names))
    axes.barh([p - width / 2 for p in positions], dense, width, color=DENSE_COLOR, **style)
    axes.barh([p + width / 2 for p in positions], pruned, width, color=PRUNED_COLOR, **style)
    axes.set_yticks(list(positions), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _label_bars(axes: Axes, form: str) -> None:
    for container in axes.containers[:2]:
        axes.bar_label(container, fmt=form, padding=2, fontsize=8)  # type: ignore[arg-type]


def _add_legend(axes: Axes) -> None:
    axes.legend(
        axes.containers[:2],
        ["dense", "pruned"],
        frameon=False,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(0, 1),
    )


def _plot_accuracy(axes: Axes, devices: list[Plotted]) -> None:
    pairs = [device.accuracy for device in devices if device.accuracy]
    names = [shorten_name(device.title) for device in devices]
    _plot_pairs(axes, names, [dense for dense, _ in pairs], [pruned for _, pruned in pairs])
    _label_bars(axes, "%.3f")
    axes.set_xlim(0, 1.25)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("accuracy")
    _add_legend(axes)


def _plot_size(axes: Axes, devices: list[Plotted]) -> None:
    names = [shorten_name(device.title) for device in devices]
    dense = [device.dense_artifact for device in devices if device.dense_artifact]
    pruned = [device.artifact for device in devices if device.artifact]
    _plot_pairs(
        axes,
        names,
        [m.size_bytes / 1024 for m in dense],
        [m.size_bytes / 1024 for m in pruned],
        alpha=0.45,
    )
    _label_bars(axes, "%.0f")
    _plot_pairs(
        axes, names, [m.gzip_bytes / 1024 for m in dense], [m.gzip_bytes / 1024 for m in pruned]
    )
    axes.margins(x=0.2)
    axes.set_xlabel("KiB")
    _add_legend(axes)


def _plot_costs(axes: Axes, ranking: Ranking) -> None:
    """The files of every entry, those with the cheapest pruned one on top."""
    scale = 1 if ranking.unit == "ms" else 1e6
    names = [
        f"{shorten_name(name)}\n{entry.pruned.target}"
        for name, entry in zip(ranking.names, ranking.entries, strict=True)
    ]
    sides = [
        [entry.dense for entry in ranking.entries],
        [entry.pruned for entry in ranking.entries],
    ]
    costs = (
        [entry.dense_cost for entry in ranking.entries],
        [entry.cost for entry in ranking.entries],
    )
    dense, pruned = ([cost.value / scale if cost else 0.0 for cost in side] for side in costs)
    _plot_pairs(axes, names, dense, pruned)
    _label_bars(axes, "%.3f" if ranking.unit == "ms" else "%.3g")
    for offset, side in zip((-0.19, 0.19), sides, strict=True):
        for position, measurement in enumerate(side):
            interval = measurement.latency_ms.ci95 if measurement.latency_ms else None
            if interval:
                axes.plot(interval, [position + offset] * 2, color="black", linewidth=1.2)
    axes.margins(x=0.2)
    axes.set_xlabel(_AXES[ranking.unit])
    _add_legend(axes)


def _plot_layers(axes: Axes, device: Plotted) -> None:
    rows = device.layers[::-1]
    _plot_rows(axes, [row.path for row in rows], [row.sparsity for row in rows])
    axes.set_xlim(0, 1)
    axes.set_xlabel("fraction zeroed or removed")


def _plot_accuracies(axes: Axes, rows: Sequence[AccuracyRow]) -> None:
    """A dot for every network, on its interval."""
    for place, row in enumerate(rows):
        color = DENSE_COLOR if row.name.endswith("dense") else PRUNED_COLOR
        axes.plot(row.ci95, [place] * 2, color=color, linewidth=2)
        axes.plot([row.value], [place], "o", color=color)
        axes.annotate(
            f"{row.value:.3f}", (row.value, place), (0, 6), textcoords="offset points", ha="center"
        )
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.margins(y=0.25)
    axes.set_xlabel("accuracy")


def _plot_noise(axes: Axes, rows: Sequence[LayerNoise]) -> None:
    """A bar for every layer, the first that runs on top."""
    _plot_rows(axes, [row.layer for row in rows], [row.snr_db or 0.0 for row in rows])
    axes.set_xlabel("dB")


def _plot_rows(axes: Axes, names: Sequence[str], values: Sequence[float]) -> None:
    """A bar for every name; of long names the end, where paths name their layer."""
    axes.barh(range(len(names)), values, color=PRUNED_COLOR)
    axes.set_yticks(range(len(names)), [shorten_name(name) for name in names])
