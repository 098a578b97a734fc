"""Measurements as tables for people: of files, and of a report on several devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeprune.cli.terminal import fail, say, show, show_grid, warn
from edgeprune.core.layer_noise import noise_text
from edgeprune.report.ranking import INTERVAL
from edgeprune.targets.measurement import measurement_grids, operator_grid, warnings_of

if TYPE_CHECKING:
    from edgeprune.report.report import Report
    from edgeprune.targets.measurement import Measurement


def show_measurements(measurements: Sequence[Measurement]) -> None:
    """What a target found, sizes, comparison with the first file, and what does not hold."""
    for table in measurement_grids(measurements):
        show_grid(table)
    for measurement in measurements:
        if measurement.layers:
            show_grid(operator_grid(measurement))
    say(measurements[0].conditions)
    warn(warnings_of(measurements))


def show_shipping(report: Report) -> None:
    """For every device that was finished the file to ship, and why."""
    for device in report.devices:
        if device.ship:
            show(f"{device.title}: {device.ship}")


def show_report(report: Report) -> None:
    """One line per device, then what has to be said about each."""
    from edgeprune.report.device_report import accuracy_grids, baseline_grids

    show_grid(report.overview())
    for table in (*accuracy_grids(report.devices), *baseline_grids(report.devices)):
        show_grid(table)
    for ranking in report.shown_rankings:
        show_grid(ranking.grid().without(INTERVAL))
    for device in report.devices:
        for text in filter(None, (noise_text(device.noise), device.history)):
            say(f"{device.title}: {text}")
        warn(f"{device.title}: {note}" for note in device.notes)
        for problem in device.problems:
            fail(f"{device.title}: {problem}")
