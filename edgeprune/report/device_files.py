"""The files of one device side by side: pruned ones and dense ones, with every number of theirs.

Each number says how it came about (measured, simulated, modelled or expected) and what it leaves
open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from edgeprune.core.amounts import count_text
from edgeprune.core.files import Artifact
from edgeprune.inspection.accuracy import interval
from edgeprune.report.baseline import Baseline
from edgeprune.report.headline import Expected, Shipping
from edgeprune.report.loading.snippet import Snippet
from edgeprune.targets.inference_cost import RANKED_BY, Unit
from edgeprune.targets.measurement import Measurement

Kind: TypeAlias = Literal["measured", "simulated", "modelled", "expected"]
_EXACT, _UNKNOWN = "no spread", "spread not known"


class Finished(Protocol):
    """What is asked of a device on one of its routes."""

    @property
    def title(self) -> str:
        """Its name, with the route where that is not the default."""

    @property
    def numerics(self) -> str:
        """Number format of both its files."""

    @property
    def removed(self) -> str:
        """What was done to the network."""

    @property
    def artifact(self) -> Artifact | None:
        """The pruned file."""

    @property
    def dense_artifact(self) -> Artifact | None:
        """The unpruned file."""

    @property
    def dense(self) -> tuple[Measurement, ...]:
        """Measurements of the unpruned file."""

    @property
    def pruned(self) -> tuple[Measurement, ...]:
        """Measurements of the pruned file."""

    @property
    def accuracy(self) -> tuple[float, float] | None:
        """Accuracy of the unpruned and of the pruned file."""

    @property
    def accuracy_samples(self) -> int | None:
        """Number of samples that accuracy was measured on."""

    @property
    def accuracy_runtime(self) -> str:
        """In which runtime."""

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """The dense files in other number formats."""

    @property
    def expected(self) -> Expected | None:
        """What its cost table expects."""

    @property
    def ship(self) -> Shipping | None:
        """The file to ship."""

    @property
    def loading(self) -> tuple[Snippet, ...]:
        """Code that loads it."""


@dataclass(frozen=True)
class Scale:
    """What costs have in common that may be compared: unit, kind, and what found them."""

    unit: str
    kind: Kind
    by: str
    """The instrument or table."""
    runtime: str
    ranks: int
    """Place among the units that files are ranked by, the best first."""

    @property
    def source(self) -> str:
        """Kind, instrument and runtime: `simulated by arm64-emulated, LiteRT 2.3.0`."""
        return f"{self.kind} by {self.by}, {self.runtime}"

    @property
    def title(self) -> str:
        """The unit as a heading."""
        return "Latency, ms" if self.unit == "ms" else f"{self.unit[0].upper()}{self.unit[1:]}"


@dataclass(frozen=True)
class Figure:
    """One number of a file."""

    scale: Scale
    value: float
    text: str
    spread: str
    """Its 95 % interval, or why it has none."""


@dataclass(frozen=True)
class Named:
    """How many samples a file names correctly."""

    value: float
    samples: int
    runtime: str

    @property
    def ci95(self) -> tuple[float, float]:
        """The 95 % interval."""
        return interval(self.value, self.samples)


@dataclass(frozen=True)
class DeviceFile:
    """One file that a device can be given; what is not known of it is None or empty."""

    name: str
    """`pruned` or `dense`, and the number format."""
    what: str
    """What was done to the network, or why something is missing."""
    dense: bool
    artifact: Artifact | None = None
    named: Named | None = None
    figures: tuple[Figure, ...] = ()

    def figure(self, scale: Scale) -> Figure | None:
        """Its number on a scale."""
        return next((each for each in self.figures if each.scale == scale), None)


def files_of(routes: Sequence[Finished]) -> tuple[DeviceFile, ...]:
    """The files of one device on its routes, each once: the pruned ones, then the dense ones."""
    pruned = [file for route in routes for file in _pruned(route, several=len(routes) > 1)]
    own = [file for route in routes for file in _own_dense(route)]
    others = [_baseline(each) for route in routes for each in route.baselines]
    found: dict[tuple[bool, str], DeviceFile] = {}
    for file in (*pruned, *own, *others):
        found.setdefault(_identity(file), file)
    return _with_spreads(tuple(found.values()))


def _with_spreads(files: tuple[DeviceFile, ...]) -> tuple[DeviceFile, ...]:
    """The same, where what one file says of an instrument's spread holds for all on the scale."""
    figures = [figure for file in files for figure in file.figures]
    known = {figure.scale: figure.spread for figure in figures if figure.spread}
    return tuple(
        replace(
            file,
            figures=tuple(
                replace(each, spread=each.spread or known.get(each.scale, _UNKNOWN))
                for each in file.figures
            ),
        )
        for file in files
    )


def _identity(file: DeviceFile) -> tuple[bool, str]:
    return file.dense, file.artifact.sha256 if file.artifact else file.name


def _pruned(route: Finished, *, several: bool) -> Iterator[DeviceFile]:
    if route.artifact is None:
        return
    accuracy = route.accuracy[1] if route.accuracy else None
    expected = _expected(route.expected, "pruned")
    yield DeviceFile(
        name=f"pruned {route.numerics}{f' ({route.title})' if several else ''}",
        what=route.removed,
        dense=False,
        artifact=route.artifact,
        named=_named(accuracy, route.accuracy_samples, route.accuracy_runtime),
        figures=tuple(figures_of(route.pruned)) or expected,
    )


def _own_dense(route: Finished) -> Iterator[DeviceFile]:
    if route.dense_artifact is None:
        return
    accuracy = route.accuracy[0] if route.accuracy else None
    yield DeviceFile(
        name=f"dense {route.numerics}",
        what="nothing removed",
        dense=True,
        artifact=route.dense_artifact,
        named=_named(accuracy, route.accuracy_samples, route.accuracy_runtime),
        figures=tuple(figures_of(route.dense)) or _expected(route.expected, "dense"),
    )


def _baseline(found: Baseline) -> DeviceFile:
    return DeviceFile(
        name=f"dense {found.numerics}",
        what=found.reason or "nothing removed",
        dense=True,
        artifact=found.artifact,
        named=_named(found.accuracy, found.accuracy_samples, found.accuracy_runtime),
        figures=tuple(figures_of(found.measurements)),
    )


def _named(value: float | None, samples: int | None, runtime: str) -> Named | None:
    return None if value is None or not samples else Named(value, samples, runtime)


def _expected(found: Expected | None, which: Literal["dense", "pruned"]) -> tuple[Figure, ...]:
    if found is None:
        return ()
    value = found.pruned if which == "pruned" else found.dense
    scale = Scale(found.unit, "expected", found.source, found.runtime, len(RANKED_BY))
    return (Figure(scale, value, count_text(value), _UNKNOWN),)


def figures_of(measurements: Iterable[Measurement]) -> Iterator[Figure]:
    """What instruments of the device itself say a file costs; a proxy says nothing of it."""
    for found in measurements:
        if not found.stand_in:
            yield from _costs(found)


def _costs(found: Measurement) -> Iterator[Figure]:
    kind: Kind = "simulated" if found.simulated else "measured"
    by = found.target, found.runtime
    time = found.latency_ms
    middle = None if time is None else time.mean if time.median is None else time.median
    if time is not None and middle is not None:
        between = "{:.3f} to {:.3f}".format(*time.ci95) if time.ci95 else _UNKNOWN
        scale = Scale("ms", kind, *by, _place("ms"))
        yield Figure(scale, middle, f"{middle:.3f}", between)
    if found.instructions is not None:
        scale = Scale("instructions", kind, *by, _place("instructions"))
        yield Figure(scale, found.instructions, count_text(found.instructions), _of_count(found))
    for core, cycles in (found.modelled_cycles or {}).items():
        ranked = core == found.cycles_core
        place = _place("modelled cycles") if ranked else len(RANKED_BY)
        scale = Scale(f"modelled cycles of {core}", "modelled", *by, place)
        yield Figure(scale, cycles.cycles, count_text(cycles.cycles), _EXACT)
    if found.cycles is not None:
        scale = Scale("cycles", kind, *by, _place("cycles"))
        yield Figure(scale, found.cycles, count_text(found.cycles), _EXACT)
    for name in ("arena_bytes", "flash_bytes", "sram_bytes"):
        if found.memory.get(name):
            scale = Scale(name.replace("_", " "), kind, *by, len(RANKED_BY))
            yield Figure(scale, found.memory[name], f"{found.memory[name]:,}", _EXACT)


def _place(unit: Unit) -> int:
    return list(RANKED_BY).index(unit)


def _of_count(found: Measurement) -> str:
    """How far a count may be off, which its ratio to another says; empty where there is none."""
    if found.speedup is None or found.speedup.of != "instructions":
        return ""
    return f"±{100 * (found.speedup.ci95[1] / found.speedup.median - 1):.1g} %"


def scales_of(files: Iterable[DeviceFile]) -> tuple[Scale, ...]:
    """The scales on which files have numbers, those first that files are ranked by."""
    found = dict.fromkeys(figure.scale for file in files for figure in file.figures)
    return tuple(sorted(found, key=lambda scale: scale.ranks))
