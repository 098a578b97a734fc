"""Measurements: what an instrument said about an artifact, with unit, runtime and spread."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.core.progress import Progress, no_progress

if TYPE_CHECKING:
    from edgeprune.targets.latency import Latency, Speedup

DEFAULT_PYTHON = "python3"


@dataclass(frozen=True)
class LayerCost:
    """What one operator costs by an instrument; None is not known to it."""

    name: str
    op: str
    where: str
    """What it runs on, such as `NPU` or `CPU`."""
    cycles: int | None = None
    bytes: int | None = None
    """Size of its parameters, as the device stores them."""
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
    tell: Progress = field(default=no_progress, compare=False)
    """Told what is being done, the step's number and the number of steps."""


@dataclass(frozen=True)
class Measurement:
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
    instructions: int | None = None
    """Executed by one inference."""
    instruction_classes: dict[str, int] = field(default_factory=dict)
    """The same by kind."""
    cycles: int | None = None
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
    """Whether the target is not one of the device's own, and only a proxy for it."""
    warnings: tuple[str, ...] = ()
    """What the numbers do not hold for."""

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        content = asdict(self)
        if self.speedup is not None:
            content["speedup"]["significant"] = self.speedup.significant
        return content
