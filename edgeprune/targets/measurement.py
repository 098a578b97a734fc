"""Measurements: what an instrument said about an artifact, with unit, runtime and spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

from edgeprune.core.grid import Grid, Printable, grid, shorten_name
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.terms import ModelledCore
from edgeprune.targets.latency import Latency, Speedup, speedup
from edgeprune.targets.modelled_cycles import MODELLED, ModelledCycles, fewer_cycles

DEFAULT_PYTHON = "python3"
_Cells: TypeAlias = Callable[["Measurement"], tuple[str, ...]]


@dataclass(frozen=True)
class LayerCost:
    """What one operator costs by an instrument; None is not known to it."""

    name: str
    op: str
    where: str
    """What it runs on, such as `NPU` or `CPU`."""
    cycles: int | None = None
    bytes: int | None = None
    """Bytes of its parameters, as the device stores them."""
    note: str = ""


@dataclass(frozen=True)
class Settings:
    """How to measure; a target uses the settings that apply to it."""

    runtime: str | None = None
    """The one that a person chose; the reference if None."""
    threads: int = 1
    artifacts: Path | None = None
    """Folder for what the instrument makes of the files; beside them if None."""
    affinity: tuple[int, ...] = ()
    """Numbers of the processors to run on; any if empty."""
    python: str = DEFAULT_PYTHON
    """The command of a board's Python."""
    benchmark_binary: Path | None = None
    """TensorFlow's `benchmark_model`, built for the phone that it is run on."""
    runtime_version: str | None = None
    """That of `runtime`; the first that the device lists and that is there if None."""
    tell: Progress = field(default=no_progress, compare=False)
    """Told what is being done, the step's number and the number of steps."""

    @property
    def runtime_words(self) -> str | None:
        """As `--runtime` takes it, `NAME` or `NAME==VERSION`; None if none was named."""
        if self.runtime is None or self.runtime_version is None:
            return self.runtime
        return f"{self.runtime}=={self.runtime_version}"


@dataclass(frozen=True)
class Measurement(Printable):
    """What a target said about one artifact; None is not known to it."""

    model: str
    device: str
    target: str
    runtime: str
    simulated: bool
    size_bytes: int
    gzip_bytes: int
    latency_ms: Latency | None = None
    speedup: Speedup | None = None
    """Beside the first file of the same call; None where the target is not one of the device's."""
    host_time_ratio: float | None = None
    """How many times less time this computer takes than for the first file, where it is not the
    device: it says nothing of the device. By `tflm`, of a file with packed weights: than for the
    same file with plain ones, in the same interpreter."""
    instructions: int | None = None
    """Executed by one inference."""
    instruction_classes: dict[str, int] = field(default_factory=dict)
    """The same by kind."""
    cycles: int | None = None
    modelled_cycles: dict[ModelledCore, ModelledCycles] | None = None
    """By a scheduling model of a core, of the code that was executed: always simulated."""
    cycles_core: ModelledCore | None = None
    """The core by whose modelled cycles the device's files are ranked, where there are some."""
    npu_cycles: int | None = None
    """Those of them that an accelerator computes; in the others it waits for memory."""
    memory: dict[str, int] = field(default_factory=dict)
    ops_on_device: int | None = None
    ops_on_cpu: int | None = None
    layers: tuple[LayerCost, ...] = ()
    artifact: str | None = None
    """The file that the instrument made of the model, where it makes one."""
    conditions: str = ""
    """Machine, threads and how the runs were made, in words."""
    rounds_ms: tuple[tuple[float, ...], ...] = ()
    """Raw samples, `[processes, rounds]`."""
    machine: dict[str, Any] = field(default_factory=dict)
    """What ran it, where that is a machine with a clock: processor, governor, temperatures."""
    stand_in: bool = False
    """Whether the target is not one of the device's own, and says nothing of its speed."""
    warnings: tuple[str, ...] = ()
    """What the numbers do not hold for."""
    route: str | None = None
    """The device's route that the file was made on, where that is known."""

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        content = asdict(self)
        if self.speedup is not None:
            content["speedup"]["significant"] = self.speedup.significant
        return content

    @property
    def kind(self) -> str:
        """Whether the numbers were measured or simulated, and if so on the device."""
        kind = "simulated" if self.simulated else "measured"
        return f"{kind} on a proxy" if self.stand_in else kind

    @property
    def source(self) -> str:
        """What the numbers are and where they come from: `measured by host, LiteRT 2.3.0`."""
        return f"{self.kind} by {self.target}, {self.runtime}"

    def grids(self) -> tuple[Grid, ...]:
        """What was found, as `Measurements` of one file prints it."""
        return measurement_grids([self])


class Measurements(Printable, tuple[Measurement, ...]):
    """Measurements in order: a tuple that prints as one table for each target."""

    __slots__ = ()

    def grids(self) -> tuple[Grid, ...]:
        """For each target, its files below each other, with conditions and warnings."""
        return tuple(
            table
            for _, measured in groupby(self, key=lambda m: (m.device, m.source, _numbers(m)[0]))
            for table in measurement_grids(list(measured))
        )


def measurement_grids(measurements: Sequence[Measurement]) -> tuple[Grid, ...]:
    """What one target found of several files, and below it their modelled cycles if it has any."""
    modelled = any(measurement.modelled_cycles for measurement in measurements)
    tables = (comparison_grid(measurements),)
    return (*tables, modelled_grid(measurements)) if modelled else tables


def speedup_over(first: Measurement, other: Measurement) -> Speedup | None:
    """How many times faster, or less work, one file is than another of the same call.

    None where the instrument says neither, gave averages alone, or counts cycles of files that
    leave more operators or fewer to the CPU.
    """
    if first.rounds_ms and other.rounds_ms:
        return speedup(first.rounds_ms, other.rounds_ms)
    known = [each.speedup for each in (first, other) if each.speedup is not None]
    left_open = max((each.ci95[1] / each.median for each in known), default=1.0)
    if first.instructions and other.instructions:
        ratio = first.instructions / other.instructions
        return Speedup(ratio, (ratio / left_open, ratio * left_open), of="instructions")
    if first.cycles and other.cycles and first.ops_on_cpu == other.ops_on_cpu:
        ratio = first.cycles / other.cycles
        return Speedup(ratio, (ratio / left_open, ratio * left_open), of="cycles")
    return None


def comparison_grid(measurements: Sequence[Measurement]) -> Grid:
    """What one target found of several files, and the sizes of these.

    Args:
      measurements: at least one, all with the same kind of number.
    """
    first = measurements[0]
    headings, cells = _numbers(first)
    return grid(
        f"{'Not ' if first.stand_in else ''}{first.device}: {first.source}",
        ("model", *headings, ">bytes", ">gzip", "faster"),
        (
            (m.model, *cells(m), str(m.size_bytes), str(m.gzip_bytes), str(m.speedup or "-"))
            for m in measurements
        ),
        *_notes(measurements),
    )


def modelled_grid(measurements: Sequence[Measurement]) -> Grid:
    """The modelled cycles of several files by the core, with the caches' misses beside them."""
    first = measurements[0]
    rows = []
    for m in measurements:
        fewer = fewer_cycles(first.modelled_cycles, m.modelled_cycles) if m is not first else {}
        for core, found in (m.modelled_cycles or {}).items():
            misses = (_millions(found.misses[level]) for level in ("l1", "l2", "l3"))
            gain = f"{fewer[core]:.2f}x by {MODELLED}" if core in fewer else "-"
            cycles = (_millions(found.cycles), f"{found.priced:.1%}")
            rows.append((m.model, core, *cycles, *misses, gain))
    return grid(
        f"{first.device}: {MODELLED} of one inference, by LLVM's model of each core; every access "
        "hits L1. Beside them the misses of simulated caches of 64 KB, 256 KB and 2 MB",
        (
            *("model", "core", ">M modelled cycles", ">priced"),
            *(">M misses L1", ">L2", ">L3", "fewer"),
        ),
        rows,
    )


def operator_grid(measurement: Measurement) -> Grid:
    """What every operator costs."""
    return grid(
        f"{measurement.model}: operator by operator",
        ("makes", "operator", "runs on", ">cycles", ">parameter bytes", "note"),
        (
            (
                shorten_name(row.name),
                row.op,
                row.where,
                _count(row.cycles),
                _count(row.bytes),
                row.note,
            )
            for row in measurement.layers
        ),
    )


def warnings_of(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """What the numbers do not hold for; where files differ in it, with their names."""
    first = measurements[0]
    named = ((m, f"{m.model}: " if m.warnings != first.warnings else "") for m in measurements)
    return tuple(
        f"{name}{warning}" for m, name in named if name or m is first for warning in m.warnings
    )


def _notes(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    averages = (
        f"{m.model}: {m.latency_ms} over {m.latency_ms.runs} rounds."
        for m in measurements
        if m.latency_ms is not None and m.latency_ms.median is None
    )
    conditions = dict.fromkeys(m.conditions for m in measurements if m.conditions)
    costs = ["`layers` holds the cost of every operator."] if measurements[0].layers else []
    return (*averages, *conditions, *costs, *warnings_of(measurements))


def _numbers(first: Measurement) -> tuple[tuple[str, ...], _Cells]:
    """Headings and cells of the kind of number that was found: latency, instructions or cost."""
    if first.latency_ms is not None:
        return (">median ms", ">95 % interval", ">p90 ms", ">rounds"), _latency_cells
    if first.instructions is not None:
        return (">M instructions", ">vector", ">loads, stores", ">branches", ">other"), _count_cells
    return (">cycles", ">memory, bytes", ">operators on the device, on the CPU"), _cost_cells


def _latency_cells(measurement: Measurement) -> tuple[str, ...]:
    time = measurement.latency_ms
    if time is None:
        return "-", "-", "-", "-"
    interval = "-" if time.ci95 is None else " to ".join(map(_milliseconds, time.ci95))
    return _milliseconds(time.median), interval, _milliseconds(time.p90), str(time.runs)


def _count_cells(measurement: Measurement) -> tuple[str, ...]:
    classes = measurement.instruction_classes
    kinds = (classes.get(name) for name in ("vector", "loads_stores", "branches", "other"))
    return tuple(map(_millions, (measurement.instructions, *kinds)))


def _cost_cells(measurement: Measurement) -> tuple[str, ...]:
    memory = (f"{name.removesuffix('_bytes')} {n}" for name, n in measurement.memory.items())
    counts = (measurement.ops_on_device, measurement.ops_on_cpu)
    npu = "" if measurement.npu_cycles is None else f"\nNPU {measurement.npu_cycles}"
    cycles = f"{_count(measurement.cycles)}{npu}"
    return cycles, "\n".join(memory) or "-", ", ".join(map(_count, counts))


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)


def _milliseconds(time: float | None) -> str:
    return "-" if time is None else _decimal(time)


def _millions(number: int | None) -> str:
    return "-" if number is None else _decimal(number / 1e6)


def _decimal(number: float) -> str:
    """A number with three decimals; with six where three would say little of it."""
    return f"{number:.3f}" if abs(number) >= 0.1 or not number else f"{number:.6f}"
