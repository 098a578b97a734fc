"""Baselines: dense files that a user would take in place of a pruned one, in each number format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgeprune.core.files import Artifact
from edgeprune.core.grid import Grid, grid
from edgeprune.core.terms import Numerics
from edgeprune.targets.inference_cost import cost_of
from edgeprune.targets.measurement import Measurement

BASELINES: tuple[Numerics, ...] = ("float32", "float16-arithmetic", "int8")
"""Their number formats, where a device runs them."""


@dataclass(frozen=True)
class Baseline:
    """The dense model in one number format on one device; what could not be had is None."""

    numerics: str
    artifact: Artifact | None = None
    measurements: tuple[Measurement, ...] = ()
    accuracy: float | None = None
    """Fraction of samples named correctly."""
    accuracy_samples: int | None = None
    """Number of samples that accuracy was measured on."""
    accuracy_runtime: str = ""
    """The runtime that accuracy was measured in and, where it is emulated, the core."""
    reason: str = ""
    """Why something is missing; empty if all is there."""

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        return {
            "numerics": self.numerics,
            "artifact": artifact_json(self.artifact),
            "measurements": [measurement.to_json() for measurement in self.measurements],
            "accuracy": self.accuracy,
            "accuracy_samples": self.accuracy_samples,
            "accuracy_runtime": self.accuracy_runtime or None,
            "reason": self.reason or None,
        }


def artifact_json(artifact: Artifact | None) -> dict[str, Any] | None:
    """Path, hash and sizes of a file, as JSON."""
    if artifact is None:
        return None
    return {
        "path": str(artifact.path),
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "gzip_bytes": artifact.gzip_bytes,
    }


def baseline_grid(found: Iterable[tuple[str, Baseline]]) -> Grid:
    """The baselines of devices, each behind its device's name."""
    return grid(
        "Dense files that would be taken in place of pruned ones",
        (
            "=device",
            "number format",
            ">accuracy",
            ">KiB",
            ">cost of one inference",
            "by",
            "why not",
        ),
        (_cells(device, each) for device, each in found),
    ).compact()


def _cells(device: str, found: Baseline) -> tuple[str, ...]:
    costs = [(cost, m) for m in found.measurements if (cost := cost_of(m)) and not m.stand_in]
    return (
        device,
        found.numerics,
        "-" if found.accuracy is None else f"{found.accuracy:.3f} of {found.accuracy_samples}",
        "-" if found.artifact is None else f"{found.artifact.size_bytes / 1024:.0f}",
        "\n".join(str(cost) for cost, _ in costs) or "-",
        "\n".join(f"{m.target}, {m.runtime}" for _, m in costs) or "-",
        found.reason or "-",
    )
