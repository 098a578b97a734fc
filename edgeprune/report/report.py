"""Reports: what came out for every device, as JSON for machines and one HTML page for people."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.core.files import Artifact, write_file
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import LayerSparsity, Plan
from edgeprune.report.layer_changes import compare_layers
from edgeprune.report.ranking import Ranking, cost_change, cost_of, kind_of, rank
from edgeprune.targets.checks import Verdict
from edgeprune.targets.measurement import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DENSE_COLOR, PRUNED_COLOR = "#9aa5b1", "#2563a8"
_MEANING = {
    "ms": "Median of one inference; the bars' ends show the 95 % interval.",
    "instructions": "Executed by one inference, in millions; a count is no time.",
    "cycles": "Of one inference, in millions.",
}
_AXES = {
    "ms": "ms per inference",
    "instructions": "million instructions",
    "cycles": "million cycles",
}


@dataclass(frozen=True)
class DeviceReport:
    """What the pipeline found for one device; what it did not reach is None or empty."""

    device: str
    summary: str
    asked: float | None = None
    reached: float | None = None
    plan: Plan | None = None
    layers: tuple[LayerSparsity, ...] = ()
    artifact: Artifact | None = None
    verdict: Verdict | None = None
    dense: tuple[Measurement, ...] = ()
    pruned: tuple[Measurement, ...] = ()
    accuracy: tuple[float, float] | None = None
    """Of the unpruned and of the pruned file."""
    notes: tuple[str, ...] = ()
    error: str | None = None
    """Why the device could not be finished."""

    @property
    def removed(self) -> str:
        """What was done to the network, in a few words."""
        pruned = self.plan.pruned if self.plan else ()
        patterns = list(dict.fromkeys(str(layer.pattern) for layer in pruned))
        what = "channels gone" if self._by_channels else "zeros"
        return f"{what} in {len(pruned)} layers, {' and '.join(patterns)}" if pruned else "nothing"

    @property
    def _by_channels(self) -> bool:
        return any(
            isinstance(row.pattern, Channels) for row in (self.plan.pruned if self.plan else ())
        )

    @property
    def ok(self) -> bool:
        """Whether the device was finished and every check passed."""
        return self.error is None and self.verdict is not None and self.verdict.ok

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        return {
            "device": self.device,
            "sparsity": {"asked": self.asked, "reached": self.reached},
            "plan": self.plan.to_json() if self.plan else None,
            "artifact": _artifact_json(self.artifact),
            "verdict": self.verdict.to_json() if self.verdict else None,
            "dense": [measurement.to_json() for measurement in self.dense],
            "pruned": [measurement.to_json() for measurement in self.pruned],
            "accuracy": _accuracy_json(self.accuracy),
            "layers": [
                {"path": row.path, "weights": row.weights, "sparsity": row.sparsity}
                for row in self.layers
            ],
            "notes": list(self.notes),
            "error": self.error,
        }


@dataclass(frozen=True)
class Report:
    """All devices of one `compare`."""

    model: str
    devices: tuple[DeviceReport, ...]

    @property
    def ok(self) -> bool:
        """Whether every device was finished and every check passed."""
        return all(device.ok for device in self.devices)

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """The devices in order, by every kind of number that is there."""
        return rank(
            pair
            for device in self.devices
            for pair in zip(device.dense, device.pruned, strict=True)
        )

    @property
    def shown_rankings(self) -> tuple[Ranking, ...]:
        """Those that say more than one line per device does."""
        several = any(len(device.pruned) > 1 for device in self.devices)
        return tuple(r for r in self.rankings if several or len(r.entries) > 1)

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        return {"model": self.model, "devices": [device.to_json() for device in self.devices]}

    def write(self, folder: Path) -> None:
        """Writes `report.json` and `report.html` into a folder.

        Raises:
          OutputError: they cannot be written.
        """
        text = json.dumps(self.to_json(), indent=2, allow_nan=False)
        write_file(folder / "report.json", text.encode())
        write_file(folder / "report.html", self.to_html().encode())

    def to_html(self) -> str:
        """One page that needs nothing else, its plots inside."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("edgeprune.report", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals.update(cost_change=cost_change, kind_of=kind_of)
        return environment.get_template("report.html").render(
            report=self, charts=_charts(self), compare_layers=compare_layers
        )


def _artifact_json(artifact: Artifact | None) -> dict[str, Any] | None:
    if artifact is None:
        return None
    return {
        "path": str(artifact.path),
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "gzip_bytes": artifact.gzip_bytes,
    }


def _accuracy_json(accuracy: tuple[float, float] | None) -> dict[str, float] | None:
    return None if accuracy is None else {"dense": accuracy[0], "pruned": accuracy[1]}


@dataclass(frozen=True)
class Chart:
    """A plot as SVG, with its title and what to read in it."""

    title: str
    caption: str
    svg: str


def _charts(report: Report) -> list[Chart]:
    measured = [device for device in report.devices if device.pruned]
    named = [device for device in measured if device.accuracy]
    charts = []
    if named:
        charts.append(
            Chart(
                "Accuracy",
                "Fraction of held-out samples named rightly, in the real runtime.",
                _svg(partial(_plot_accuracy, devices=named)),
            )
        )
    if measured:
        charts += [
            Chart(
                "Size",
                "The file (pale), and the same file after gzip (solid).",
                _svg(partial(_plot_size, devices=measured)),
            ),
        ]
    charts += _cost_charts(report.rankings)
    charts += [
        Chart(
            f"Sparsity per layer: {device.device}",
            "Fraction of the weights that the device profile counts which are zero or gone.",
            _svg(partial(_plot_layers, device=device), height=1.0 + 0.22 * len(device.layers)),
        )
        for device in report.devices
        if device.layers
    ]
    return charts


def _cost_charts(rankings: Sequence[Ranking]) -> list[Chart]:
    """One chart for every kind of number, since no two of them have a common scale."""
    return [
        Chart(
            ranking.title,
            f"{_MEANING[ranking.unit]} {_source(ranking)}",
            _svg(partial(_plot_costs, ranking=ranking)),
        )
        for ranking in rankings
    ]


def _source(ranking: Ranking) -> str:
    found = {
        f"{kind_of(entry.pruned)} by {entry.pruned.target}, {entry.pruned.runtime}"
        for entry in ranking.entries
    }
    text = "; ".join(sorted(found))
    return f"{text[0].upper()}{text[1:]}."


def _svg(plot: Callable[[Axes], None], height: float = 3.0) -> str:
    """Draws onto fresh axes and returns the `<svg>` element, text kept as text."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=(6.4, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        plot(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _plot_pairs(
    axes: Axes, names: list[str], dense: list[float], pruned: list[float], **style: Any
) -> None:
    """Two bars for every name, beside each other."""
    width = 0.38
    positions = range(len(names))
    axes.bar([p - width / 2 for p in positions], dense, width, color=DENSE_COLOR, **style)
    axes.bar([p + width / 2 for p in positions], pruned, width, color=PRUNED_COLOR, **style)
    axes.set_xticks(list(positions), names)


def _label_bars(axes: Axes, form: str) -> None:
    for container in axes.containers[:2]:
        axes.bar_label(container, fmt=form, padding=2, fontsize=8)  # type: ignore[arg-type]


def _add_legend(axes: Axes) -> None:
    axes.legend(axes.containers[:2], ["dense", "pruned"], frameon=False, ncols=2, loc="best")


def _plot_accuracy(axes: Axes, devices: list[DeviceReport]) -> None:
    pairs = [device.accuracy for device in devices if device.accuracy]
    names = [device.device for device in devices]
    _plot_pairs(axes, names, [dense for dense, _ in pairs], [pruned for _, pruned in pairs])
    _label_bars(axes, "%.3f")
    axes.set_ylim(0, 1.25)
    axes.set_ylabel("accuracy")
    _add_legend(axes)


def _plot_size(axes: Axes, devices: list[DeviceReport]) -> None:
    names = [device.device for device in devices]
    dense = [device.dense[0] for device in devices]
    pruned = [device.pruned[0] for device in devices]
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
    axes.margins(y=0.25)
    axes.set_ylabel("KiB")
    _add_legend(axes)


def _plot_costs(axes: Axes, ranking: Ranking) -> None:
    """The files of every entry, those with the cheapest pruned one on the left."""
    scale = 1 if ranking.unit == "ms" else 1e6
    names = [f"{entry.pruned.device}\n{entry.pruned.target}" for entry in ranking.entries]
    sides = [
        [entry.dense for entry in ranking.entries],
        [entry.pruned for entry in ranking.entries],
    ]
    costs = [[cost_of(measurement) for measurement in side] for side in sides]
    dense, pruned = ([cost.value / scale if cost else 0.0 for cost in side] for side in costs)
    _plot_pairs(axes, names, dense, pruned)
    _label_bars(axes, "%.3f" if ranking.unit == "ms" else "%.3g")
    for offset, side in zip((-0.19, 0.19), sides, strict=True):
        for position, measurement in enumerate(side):
            interval = measurement.latency_ms.ci95 if measurement.latency_ms else None
            if interval:
                axes.plot([position + offset] * 2, interval, color="black", linewidth=1.2)
    axes.margins(y=0.25)
    axes.set_ylabel(_AXES[ranking.unit])
    _add_legend(axes)


def _plot_layers(axes: Axes, device: DeviceReport) -> None:
    rows = device.layers[::-1]
    axes.barh([row.path for row in rows], [row.sparsity for row in rows], color=PRUNED_COLOR)
    axes.set_xlim(0, 1)
    axes.set_xlabel("fraction of weights that are zero or gone")
