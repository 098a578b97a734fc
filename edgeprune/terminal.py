"""What people see on a terminal: tables, progress, and silence from the libraries below."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from edgeprune.checks import Verdict
from edgeprune.encode import EncodingResult
from edgeprune.inspect import Inspection
from edgeprune.measure import Measurement
from edgeprune.outlook import Outlook
from edgeprune.plan import Plan
from edgeprune.profile import DeviceProfile
from edgeprune.ranking import Ranking, cost_change, kind_of
from edgeprune.report import Report
from edgeprune.targets import Readiness

LOG_VARIABLE = "EDGEPRUNE_LOG"
_TIME_COLUMNS = (">median ms", ">95 % interval", ">p90 ms", ">rounds")
_COST_COLUMNS = (">cycles", ">memory, bytes", ">operators on the device, on the CPU")
_COUNT_COLUMNS = (">M instructions", ">vector", ">loads, stores", ">branches", ">other")
NARROWEST = 100
"""Columns to write for when the output is not a terminal."""


def silence_libraries() -> None:
    """Sends what TensorFlow writes past Python to nowhere, unless EDGEPRUNE_LOG is set.

    TensorFlow's C++ side writes dozens of lines to file descriptor 2. That descriptor is pointed at
    the null device, and Python's own error stream at a copy of the real one.
    """
    if os.environ.get(LOG_VARIABLE):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _console(*, error: bool = False) -> Console:
    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else max(NARROWEST, int(os.environ.get("COLUMNS", "140")))
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def say(message: str) -> None:
    """Writes a sentence to standard error."""
    _console(error=True).print(Text(message), soft_wrap=True)


def warn(messages: Iterable[str]) -> None:
    """Writes warnings to standard error."""
    for message in messages:
        _console(error=True).print(Text(f"Warning: {message}", style="yellow"), soft_wrap=True)


def fail(message: str) -> None:
    """Writes an error to standard error."""
    _console(error=True).print(Text(f"Error: {message}", style="red"), soft_wrap=True)


@contextlib.contextmanager
def progress_bar() -> Iterator[Any]:
    """A bar on standard error; yields a function that takes (what, done, total)."""
    with progress_bars() as tell:
        tell("", "starting", 0, None)
        yield functools.partial(tell, "")


@contextlib.contextmanager
def progress_bars() -> Iterator[Any]:
    """A bar for everything that goes on at once; yields a function (who, what, done, total)."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=_console(error=True),
        transient=True,
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(who: str, what: str, done: int, total: int | None) -> None:
            if who not in tasks:
                tasks[who] = bar.add_task(what, total=None)
            bar.update(tasks[who], description=what, completed=done, total=total)

        yield tell


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", header_style="bold", pad_edge=False)
    for column in columns:
        name = column.lstrip(">")
        table.add_column(name, justify="right" if column.startswith(">") else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    _console().print(table)


def show_devices(profiles: Iterable[DeviceProfile]) -> None:
    """The device profiles, as a table for a newcomer."""
    _table(
        "Devices: what makes a model faster or smaller there",
        ("device", "what it is", "numbers", "pattern (goal)", "> zeros", "measured by"),
        (
            (
                profile.name,
                f"{profile.device}\n{profile.summary}\n",
                profile.numerics,
                "\n".join(
                    f"{strategy.rules[0].pattern} ({', '.join(strategy.goals)})"
                    for strategy in profile.strategies
                ),
                "\n".join(f"{strategy.default_sparsity:g}" for strategy in profile.strategies),
                ", ".join(profile.targets),
            )
            for profile in profiles
        ),
    )


def show_plan(plan: Plan) -> None:
    """The layers that have a kernel, one line each; the others are counted."""
    shown = [layer for layer in plan.layers if layer.shape]
    _table(
        f"Plan for {plan.device}: sparsity {plan.asked:g} asked, "
        f"{plan.expected_sparsity:.3f} expected over the prunable weights",
        ("layer", "kind", "kernel", "then", "pattern", ">sparsity", ">error", "why"),
        (
            (
                layer.path,
                layer.kind,
                "x".join(map(str, layer.shape)),
                "x".join(map(str, layer.after or ())) if layer.after != layer.shape else "",
                str(layer.pattern or "-"),
                f"{layer.sparsity:.3f}" if layer.pattern else "-",
                _cell(layer.expected_error),
                layer.reason,
            )
            for layer in shown
        ),
    )
    if plan.padding:
        _table(
            "Padding made symmetric before training",
            ("layer", "now", "then"),
            ((row.path, row.before, row.after) for row in plan.padding),
        )
    if plan.network:
        _show_outlook(plan.network)
    hidden = len(plan.layers) - len(shown)
    if hidden:
        say(f"{hidden} more layers have no kernel and are left alone (--json lists them).")


def _show_outlook(network: Outlook) -> None:
    """What the network as a whole can gain."""
    rows = [(runtime.runtime, f"{runtime.state}: {runtime.reason}") for runtime in network.runtimes]
    changes = ", ".join(f"{change.name} ({change.places})" for change in network.rewrites)
    facts = (
        ("it gains", {True: "yes", False: "no", None: "not known"}[network.gains]),
        ("because it", network.reason),
        ("rewritten, exactly", changes),
        ("in the way", network.breaker),
        ("remedy", network.remedy),
        *(
            (
                f"{runtime}, expected",
                f"{dense / 1e6:.1f} to {sparse / 1e6:.1f} M instructions in layers with weights, "
                f"{dense / sparse:.2f}x",
            )
            for runtime, dense, sparse in network.instructions
        ),
        ("elsewhere", ", ".join(f"{e.pattern} on {e.device}" for e in network.elsewhere)),
    )
    title = "The network as a whole, with zeros enough"
    _table(title, ("", "what is expected"), [*rows, *(fact for fact in facts if fact[1])])


def show_verdict(verdict: Verdict) -> None:
    """Every check, and the outcome."""
    _table(
        f"{verdict.model} for {verdict.device}: {'passed' if verdict.ok else 'FAILED'}",
        ("check", "result", ">value", ">limit", "what it means"),
        (
            (
                check.name,
                "passed" if check.ok else "FAILED",
                _cell(check.value),
                _cell(check.limit),
                check.message,
            )
            for check in verdict.checks
        ),
    )


def _cell(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def show_measurements(measurements: Sequence[Measurement]) -> None:
    """What a target found, sizes, comparison with the first file, and what does not hold."""
    first = measurements[0]
    columns, cells = _found_by(first)
    _table(
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
    _table(
        f"{measurement.model}: operator by operator",
        ("makes", "operator", "runs on", ">cycles", ">parameter bytes", "note"),
        (
            (_short(row.name), row.op, row.where, _count(row.cycles), _count(row.bytes), row.note)
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
    _table(
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
    _table(
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


def show_encoding(result: EncodingResult) -> None:
    """How each weight of a file is stored now, and why."""
    sparse = sum(tensor.way != "dense" for tensor in result.tensors)
    _table(
        f"{result.output}: {sparse} of {len(result.tensors)} weights stored sparsely, "
        f"{result.bytes_before} to {result.bytes_after} bytes",
        ("weight of", "stored", ">zeros", ">dense bytes", ">sparse bytes", "why"),
        (
            (
                f"{tensor.operator} {_short(tensor.name)}",
                tensor.way,
                f"{tensor.sparsity:.3f}",
                str(tensor.dense_bytes),
                str(tensor.sparse_bytes),
                tensor.reason,
            )
            for tensor in result.tensors
        ),
    )


def _short(name: str, limit: int = 40) -> str:
    """The end of a long tensor name, where the layer is."""
    return name if len(name) <= limit else "…" + name[-limit:]


def show_inspection(inspection: Inspection) -> None:
    """Sizes, operators and findings of a file."""
    _table(
        f"{inspection.model}: {inspection.parameters} weights, "
        f"{inspection.sparsity:.3f} of them zero; sparse inference: {inspection.sparse_inference}",
        ("size", ">bytes"),
        (
            ("file", str(inspection.size_bytes)),
            ("file after gzip", str(inspection.gzip_bytes)),
            ("weights as stored", str(inspection.weight_bytes)),
            ("weights, each in its smaller form", str(inspection.sparse_weight_bytes)),
        ),
    )
    _table(
        "Operators",
        (">#", "operator", ">version", "kernel", ">zeros", "why"),
        (
            (
                str(op.index),
                op.op,
                str(op.version),
                op.kernel,
                "-" if op.sparsity is None else f"{op.sparsity:.3f}",
                op.reason,
            )
            for op in inspection.ops
        ),
    )
    if inspection.findings:
        _table(
            "Findings",
            (">operator", "rule", "what", "remedy"),
            (
                (
                    "-" if finding.op is None else str(finding.op),
                    finding.rule,
                    finding.message,
                    finding.remedy,
                )
                for finding in inspection.findings
            ),
        )
    if inspection.manifest:
        versions = inspection.manifest.get("versions", {})
        say(
            f"Made by edgeprune {versions.get('edgeprune', '?')} for "
            f"{inspection.manifest.get('device', '?')} from the model with sha256 "
            f"{inspection.manifest.get('model_sha256', '?')} (--json shows the whole manifest)."
        )


def show_targets(states: dict[str, Readiness]) -> None:
    """Which instruments are ready, and what installs the others."""
    _table(
        "Targets: the instruments that run or compile a file",
        ("target", "ready", "found", "to install"),
        (
            (name, "yes" if state.ready else "no", state.detail, state.remedy)
            for name, state in states.items()
        ),
    )
