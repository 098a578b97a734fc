"""What came out for one device: its files, checks, measurements, and which file to ship."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgeprune.core.files import Artifact
from edgeprune.core.grid import Cell, Grid, Printable, grid, passed_or_failed
from edgeprune.core.layer_noise import LayerNoise, noise_text
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import LayerSparsity, Plan
from edgeprune.report.accuracies import AccuracyRow, accuracy_grid
from edgeprune.report.baseline import Baseline, artifact_json, baseline_grid
from edgeprune.report.cheaper_dense import least_accuracy, or_cheaper, rivals
from edgeprune.report.drop import Drop, drop_grid
from edgeprune.report.headline import Expected, Gain, Shipping, gain_of, what_to_ship
from edgeprune.report.loading.snippet import Snippet
from edgeprune.report.ranking import cost_change
from edgeprune.targets.checks import Verdict
from edgeprune.targets.inference_cost import RankedBy, ranking_costs
from edgeprune.targets.measurement import Measurement, Measurements
from edgeprune.targets.modelled_cycles import fewer_cycles_text


@dataclass(frozen=True)
class DeviceReport(Printable):
    """What the pipeline found for one device; what it did not reach is None or empty."""

    device: str
    summary: str
    asked: float | None = None
    reached: float | None = None
    plan: Plan | None = None
    layers: tuple[LayerSparsity, ...] = ()
    numerics: str = ""
    """Number format of both files."""
    artifact: Artifact | None = None
    dense_artifact: Artifact | None = None
    """The unpruned file that it is compared with."""
    verdict: Verdict | None = None
    dense: tuple[Measurement, ...] = ()
    pruned: tuple[Measurement, ...] = ()
    accuracy: tuple[float, float] | None = None
    """Fractions of samples named correctly, by the unpruned and by the pruned file."""
    accuracy_samples: int | None = None
    """Number of samples that accuracy was measured on."""
    accuracy_runtime: str = ""
    """The runtime that accuracy was measured in and, where it is emulated, the core."""
    accuracies: tuple[AccuracyRow, ...] = ()
    """Accuracy of the float networks and of both files, on the same samples."""
    no_accuracy: str = ""
    """Why there is none, where the files ran."""
    drop: Drop | None = None
    """What is lost of it, where a limit of that was asked for; a check of the verdict too."""
    baselines: tuple[Baseline, ...] = ()
    """Dense files that would be taken in place of the pruned one, by number format."""
    expected: Expected | None = None
    """What the device's cost table expects of both files."""
    not_measured: str = ""
    """What would measure the device, or why nothing did; empty if it is measured."""
    notes: tuple[str, ...] = ()
    made_at: str = ""
    """When the files were made, in ISO 8601, UTC."""
    measured_at: str = ""
    """When they were checked and measured."""
    reused: tuple[Literal["files", "measurements"], ...] = ()
    """What an earlier run left, and this one did not do again."""
    history: str = ""
    """A sentence on what was reused, or done again and why; empty on a first run."""
    error: str | None = None
    """Why the device could not be finished."""
    name: str = ""
    """What its files are called; empty for the device's own name."""
    route: str | None = None
    loading: tuple[Snippet, ...] = ()
    """Code that loads the file to ship, by language, the usual one first."""

    @property
    def title(self) -> str:
        """What the device on its route is called."""
        return self.name or self.device

    @property
    def removed(self) -> str:
        """What was done to the network, in a few words."""
        pruned = self.plan.pruned if self.plan else ()
        patterns = list(dict.fromkeys(str(layer.pattern) for layer in pruned))
        what = "channels removed" if self._by_channels else "zeros"
        return f"{what} in {len(pruned)} layers, {' and '.join(patterns)}" if pruned else "nothing"

    @property
    def _by_channels(self) -> bool:
        return any(
            isinstance(row.pattern, Channels) for row in (self.plan.pruned if self.plan else ())
        )

    @property
    def gain(self) -> Gain:
        """What the pruned file gains, by the device's own instrument or as expected."""
        return gain_of(*self._own, self.expected, self.not_measured)

    @property
    def _own(self) -> tuple[Measurement | None, Measurement | None]:
        """Both files by the first of the device's own instruments that was used."""
        pairs = zip(self.dense, self.pruned, strict=True)
        return next((pair for pair in pairs if not pair[1].stand_in), (None, None))

    @property
    def cost(self) -> str:
        """What one inference costs in both files."""
        return cost_change(*self._own)

    @property
    def modelled_gain(self) -> str:
        """How many times fewer modelled cycles the pruned file takes; empty if none are known."""
        dense, pruned = self._own
        if dense is None or pruned is None:
            return ""
        return fewer_cycles_text(dense.modelled_cycles, pruned.modelled_cycles)

    @property
    def ranked_by(self) -> RankedBy | None:
        """The key of its measurements by which its files are ranked; None if nothing measured."""
        measured = [found for found in self._own if found is not None]
        return next((cost.ranked_by for cost in ranking_costs(measured)), None)

    @property
    def ship(self) -> Shipping | None:
        """The file to ship; None if the device was not finished or a check failed."""
        if not self.ok or self.artifact is None or self.dense_artifact is None:
            return None
        dense, pruned = self._own
        source = pruned.source if pruned else ""
        files = (self.dense_artifact, self.artifact)
        limited = self.drop is not None
        ship = what_to_ship(self.gain, self.accuracy, *files, source, limited=limited)
        keeps_dense = ship.artifact == self.dense_artifact.path
        chosen = dense if keeps_dense else pruned
        if ship.artifact is None or chosen is None:
            return ship
        needed = least_accuracy(self.drop, self.accuracies, self.accuracy)
        found = rivals(chosen, self.baselines, needed, [each.sha256 for each in files])
        than = f"dense {self.numerics}" if keeps_dense else "the pruned file"
        ship = replace(ship, cost=next(iter(ranking_costs([chosen])), None))
        return or_cheaper(ship, than, files[0 if keeps_dense else 1].size_bytes, found)

    @property
    def ok(self) -> bool:
        """Whether the device was finished and every check passed."""
        return self.error is None and self.verdict is not None and self.verdict.ok

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        return {
            "device": self.device,
            "route": self.route,
            "sparsity": {"asked": self.asked, "reached": self.reached},
            "plan": self.plan.to_json() if self.plan else None,
            "artifact": artifact_json(self.artifact),
            "verdict": self.verdict.to_json() if self.verdict else None,
            "dense": [measurement.to_json() for measurement in self.dense],
            "pruned": [measurement.to_json() for measurement in self.pruned],
            "accuracy": self._accuracy_json(),
            "drop": self.drop.to_json() if self.drop else None,
            "baselines": [baseline.to_json() for baseline in self.baselines],
            "expected": self.expected.to_json() if self.expected else None,
            "gain": {"text": self.gain.text, "factor": self.gain.factor},
            "modelled_gain": self.modelled_gain or None,
            "ranked_by": self.ranked_by,
            "not_measured": self.not_measured or None,
            "ship": self.ship.to_json() if self.ship else None,
            "layers": [
                {"path": row.path, "weights": row.weights, "sparsity": row.sparsity}
                for row in self.layers
            ],
            "notes": list(self.notes),
            "made_at": self.made_at or None,
            "measured_at": self.measured_at or None,
            "reused": list(self.reused),
            "history": self.history,
            "error": self.error,
        }

    def _accuracy_json(self) -> dict[str, Any] | None:
        if self.accuracy is None:
            return None
        dense, pruned = self.accuracy
        measured_on = {"samples": self.accuracy_samples, "runtime": self.accuracy_runtime or None}
        rows = [row.to_json() for row in self.accuracies]
        return {"dense": dense, "pruned": pruned, **measured_on, "rows": rows}

    @property
    def said(self) -> tuple[str, ...]:
        """The notes, the layers that lose most in int8, and what was reused."""
        return tuple(filter(None, (*self.notes, noise_text(self.noise), self.history)))

    @property
    def measurements(self) -> Measurements:
        """By target, those of the unpruned and of the pruned file."""
        pairs = zip(self.dense, self.pruned, strict=True)
        return Measurements(measurement for pair in pairs for measurement in pair)

    @property
    def noise(self) -> tuple[LayerNoise, ...]:
        """Noise of the layers of its pruned int8 file, in the order of execution."""
        return self.verdict.noise if self.verdict else ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the device could not be finished, and the checks that failed."""
        checks = self.verdict.checks if self.verdict else ()
        failed = tuple(f"{check.name}: {check.message}" for check in checks if not check.ok)
        return (self.error, *failed) if self.error else failed

    def grids(self) -> tuple[Grid, ...]:
        """A line that sums the device up, and every measurement."""
        ship = (str(self.ship),) if self.ship else ()
        notes = (*self.said, *ship, *(f"Error: {problem}" for problem in self.problems))
        return (
            device_grid(self.title, [self], *notes),
            *accuracy_grids([self]),
            *baseline_grids([self]),
            *self.measurements.grids(),
        )


def baseline_grids(reports: Iterable[DeviceReport]) -> tuple[Grid, ...]:
    """The dense files that each device runs, once, in one table; none where none was made."""
    by_device = {report.device: report.baselines for report in reports if report.baselines}
    rows = [(device, each) for device, found in by_device.items() for each in found]
    return (baseline_grid(rows),) if rows else ()


def accuracy_grids(reports: Iterable[DeviceReport]) -> tuple[Grid, ...]:
    """The accuracies of float networks and files, and what is lost where that is limited.

    Each is one table, and none where nothing is known.
    """
    every = list(reports)
    rows = [(report.title, row) for report in every for row in report.accuracies]
    drops = [(report.title, report.drop) for report in every if report.drop]
    accuracies = (accuracy_grid(rows),) if rows else ()
    return (*accuracies, drop_grid(drops)) if drops else accuracies


def device_grid(title: str, reports: Iterable[DeviceReport], *notes: str) -> Grid:
    """One line for every device, and for each of its routes."""
    return grid(title, _COLUMNS, map(_summary, reports), *notes)


_COLUMNS = (
    *("=device", "removed", "checks", ">sparsity asked / reached", ">accuracy", ">KiB"),
    *(">gzip KiB", ">cost of one inference", "gain"),
)


def _summary(device: DeviceReport) -> tuple[Cell, ...]:
    """What came of one device, below `_COLUMNS`."""
    pruned, dense = device.artifact, device.dense_artifact
    return (
        device.title,
        device.removed,
        passed_or_failed(device.ok),
        "-" if device.reached is None else f"{device.asked:g} / {device.reached:.3f}",
        "-" if not device.accuracy else "{:.3f} → {:.3f}".format(*device.accuracy),
        _pair(dense, pruned, lambda m: f"{m.size_bytes / 1024:.0f}"),
        _pair(dense, pruned, lambda m: f"{m.gzip_bytes / 1024:.0f}"),
        device.cost,
        "\n".join(filter(None, (device.gain.text, device.modelled_gain))),
    )


def _pair(dense: Artifact | None, pruned: Artifact | None, form: Callable[[Artifact], str]) -> str:
    return f"{form(dense)} → {form(pruned)}" if dense and pruned else "-"
