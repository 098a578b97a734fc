"""Measurements as tables for people: of files, and of a report on several devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgeprune.cli.tables import shorten
from edgeprune.cli.terminal import fail, say, show_table, warn
from edgeprune.report.ranking import cost_change, kind_of

if TYPE_CHECKING:
    from edgeprune.report.ranking import Ranking
    from edgeprune.report.report import Report
    from edgeprune.targets.measurement import Measurement

_TIME_COLUMNS = (">median ms", ">95 % interval", ">p90 ms", ">rounds")
_COST_COLUMNS = (">cycles", ">memory, bytes", ">operators on the device, on the CPU")
_COUNT_COLUMNS = (">M instructions", ">vector", ">loads, stores", ">branches", ">other")


def show_measurements(measurements: Sequence[Measurement]) -> None:
    """What a target found, sizes, comparison with the first file, and what does not hold."""
    first = measurements[0]
    columns, cells = _found_by(first)
    show_table(
        f"{first.device}: {kind_of(first)} by {first.target}, {first.runtime}",
        ("model", *columns, ">bytes", ">gzip", "faster"),
        (
            (
                m.model,
                *cells(m),
                str(m.size_bytes),
                str(m.gzip_bytes),
                str(m.speedup) if m.speedup else "-",
            )
            for m in measurements
        ),
    )
    for measurement in measurements:
        if measurement.layers:
            _show_layers(measurement)
    say(first.conditions)
    for measurement in measurements:
        named = f"{measurement.model}: " if measurement.warnings != first.warnings else ""
        if named or measurement is first:
            warn(f"{named}{warning}" for warning in measurement.warnings)


def _found_by(first: Measurement) -> tuple[Sequence[str], Callable[[Measurement], Sequence[str]]]:
    """Columns and cells of the kind of thing that was found: latency, instructions or cost."""
    if first.latency_ms is not None:
        return _TIME_COLUMNS, _latency_cells
    if first.instructions is not None:
        return _COUNT_COLUMNS, _count_cells
    return _COST_COLUMNS, _cost_cells


def _cost_cells(measurement: Measurement) -> tuple[str, ...]:
    memory = (f"{name.removesuffix('_bytes')} {n}" for name, n in measurement.memory.items())
    counts = (measurement.ops_on_device, measurement.ops_on_cpu)
    npu = "" if measurement.npu_cycles is None else f"\nNPU {measurement.npu_cycles}"
    cycles = f"{_count(measurement.cycles)}{npu}"
    return cycles, "\n".join(memory) or "-", ", ".join(map(_count, counts))


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)


def _show_layers(measurement: Measurement) -> None:
    """What every operator costs."""
    show_table(
        f"{measurement.model}: operator by operator",
        ("makes", "operator", "runs on", ">cycles", ">parameter bytes", "note"),
        (
            (shorten(row.name), row.op, row.where, _count(row.cycles), _count(row.bytes), row.note)
            for row in measurement.layers
        ),
    )


def _latency_cells(measurement: Measurement) -> tuple[str, ...]:
    time = measurement.latency_ms
    if time is None:
        return "-", "-", "-", "-"
    spread = "-" if time.ci95 is None else f"{time.ci95[0]:.3f} to {time.ci95[1]:.3f}"
    return _milliseconds(time.median), spread, _milliseconds(time.p90), str(time.runs)


def _milliseconds(time: float | None) -> str:
    return "-" if time is None else f"{time:.3f}"


def _count_cells(measurement: Measurement) -> tuple[str, ...]:
    classes = measurement.instruction_classes
    kinds = (classes.get(name) for name in ("vector", "loads_stores", "branches", "other"))
    return tuple(map(_millions, (measurement.instructions, *kinds)))


def _millions(number: int | None) -> str:
    return "-" if number is None else f"{number / 1e6:.3f}"


def show_report(report: Report) -> None:
    """One line per device, then what has to be said about each."""
    rows = []
    for device in report.devices:
        measured = device.pruned[0] if device.pruned else None
        dense = device.dense[0] if device.dense else None
        rows.append(
            (
                device.device,
                device.removed,
                "passed" if device.ok else "FAILED",
                "-" if device.reached is None else f"{device.asked:g} / {device.reached:.3f}",
                "-" if not device.accuracy else "{:.3f} → {:.3f}".format(*device.accuracy),
                _pair(dense, measured, lambda m: f"{m.size_bytes / 1024:.0f}"),
                _pair(dense, measured, lambda m: f"{m.gzip_bytes / 1024:.0f}"),
                cost_change(dense, measured),
                str(measured.speedup) if measured and measured.speedup else "-",
            )
        )
    show_table(
        f"{report.model}: dense → pruned",
        (
            "device",
            "removed",
            "checks",
            ">sparsity asked / reached",
            ">accuracy",
            ">KiB",
            ">gzip KiB",
            ">cost of one inference",
            "times faster",
        ),
        rows,
    )
    for ranking in report.shown_rankings:
        _show_ranking(ranking)
    for device in report.devices:
        warn(f"{device.device}: {note}" for note in device.notes)
        if device.error:
            fail(f"{device.device}: {device.error}")
        if device.verdict and not device.verdict.ok:
            for check in device.verdict.checks:
                if not check.ok:
                    fail(f"{device.device}: {check.name}: {check.message}")


def _show_ranking(ranking: Ranking) -> None:
    """The entries of one kind of number, the cheapest first."""
    show_table(
        f"{ranking.title}: the cheapest first",
        (">", "device", "by", ">dense → pruned", "kind", "times faster"),
        (
            (
                str(place),
                entry.pruned.device,
                f"{entry.pruned.target}, {entry.pruned.runtime}",
                entry.change,
                ranking.kind,
                str(entry.pruned.speedup or "-"),
            )
            for place, entry in enumerate(ranking.entries, 1)
        ),
    )


def _pair(dense: Measurement | None, pruned: Measurement | None, form: Any) -> str:
    return f"{form(dense)} → {form(pruned)}" if dense and pruned else "-"
