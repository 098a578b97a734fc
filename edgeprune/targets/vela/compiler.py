"""Runs Arm's compiler on a file, and reads what it writes."""

from __future__ import annotations

import csv
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.errors import TargetError
from edgeprune.core.terms import Accelerator
from edgeprune.targets.child import WorkerError, run_child

if TYPE_CHECKING:
    from edgeprune.profiles.facts import VelaSettings

_TIME_LIMIT_S = 600.0
MEMORIES = {
    "SRAM AC": "SRAM",
    "DRAM AC": "DRAM",
    "OnFlash AC": "on-chip flash",
    "OffFlash AC": "off-chip flash",
}
"""Columns of the per-layer table with the cycles that a memory is accessed, and its name."""
DEFAULTS: Mapping[str, tuple[str, str]] = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    "ethos-u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}
"""System configuration and memory mode where a profile names none: the compiler's own defaults.

Source: _set_default_sys_config and _set_default_mem_mode in architecture_features.py of
ethos-u-vela 5.2.0.
"""
_COLUMNS = 16
"""Columns of the per-layer table; the last is a name, which may hold unquoted commas."""
_FALLBACK = re.compile(
    r"^Warning \(supported operators\) operator: \w+, ofm: '(.*)'\nReason: (.*(?:\n.+)*)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Configuration:
    """The hardware that is compiled for, by the compiler's names."""

    accelerator: Accelerator
    system: str
    memory_mode: str

    @property
    def family(self) -> str:
        """The NPU without its size: `ethos-u85`."""
        return self.accelerator.rpartition("-")[0]

    def __str__(self) -> str:
        return f"{self.accelerator}, {self.system}, {self.memory_mode}"


def configuration(
    settings: VelaSettings | None, accelerator: Accelerator | None = None
) -> Configuration:
    """The hardware of a profile; with another accelerator, if one is given.

    The profile's system and memory are kept for other sizes of the same NPU.

    Raises:
      TargetError: neither the profile nor the caller names an accelerator.
    """
    chosen = accelerator or (settings.accelerator if settings else None)
    if chosen is None:
        raise TargetError(
            "expected an accelerator to compile for, in the table [vela] of the device profile. "
            "Received: none. Or name one: --target vela:ethos-u85-256"
        )
    family = chosen.rpartition("-")[0]
    system, memory_mode = DEFAULTS[family]
    if settings and family == settings.accelerator.rpartition("-")[0]:
        system, memory_mode = settings.system or system, settings.memory_mode or memory_mode
    return Configuration(chosen, system, memory_mode)


@dataclass(frozen=True)
class TableRow:
    """One line of the per-layer table: an operation that the compiler made of a layer."""

    original: str
    operation: str
    npu: bool
    cycles: int
    """Cycles until the slowest part is done: the NPU, or a memory."""
    npu_cycles: int
    access_cycles: Mapping[str, int]
    """Cycles that each memory is accessed, by its name."""
    macs: int
    """Multiplications; half of the layer's own where the NPU skips 2:4."""
    name: str
    """Name of the tensor that it computes."""


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of a file, and what it says of it."""

    configuration: Configuration
    model: bytes
    """The compiled .tflite file."""
    summary: Mapping[str, str]
    """Its table of one line."""
    rows: tuple[TableRow, ...]
    fallbacks: Mapping[str, str]
    """Why an operator stays on the CPU, by the tensor that it computes."""

    @property
    def cycles(self) -> int:
        """Cycles of one inference, without operators on the CPU."""
        return int(self.summary["cycles_total"])

    @property
    def npu_cycles(self) -> int:
        """Cycles that the NPU computes in one inference."""
        return int(self.summary["cycles_npu"])

    @property
    def clock_hz(self) -> float:
        """Clock of the accelerator, in hertz."""
        return float(self.summary["core_clock"])

    def memory_bytes(self, area: str) -> int:
        """What is used of a memory: `sram`, `dram`, `on_chip_flash` or `off_chip_flash`."""
        return round(float(self.summary[f"{area}_memory_used"]) * 1024)


def compile_for_npu(path: Path, hardware: Configuration) -> Compiled:
    """Compiles a .tflite file in a child process, in a folder of its own.

    Raises:
      TargetError: the compiler does not know the system configuration or memory mode.
      WorkerError: it refuses the file, crashes on it or does not end.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-vela-") as name:
        folder = Path(name)
        staged = folder / "model.tflite"
        staged.write_bytes(path.read_bytes())
        said = _run(hardware, staged, folder)
        (summary,) = folder.glob("model_summary_*.csv")
        return Compiled(
            configuration=hardware,
            model=(folder / "model_vela.tflite").read_bytes(),
            summary=_read_summary(summary.read_text(encoding="utf-8")),
            rows=read_rows((folder / "model_per-layer.csv").read_text(encoding="utf-8")),
            fallbacks={name: " ".join(reason.split()) for name, reason in _FALLBACK.findall(said)},
        )


def _run(hardware: Configuration, model: Path, folder: Path) -> str:
    """Runs the compiler; returns what it printed."""
    command = [sys.executable, "-m", "ethosu.vela", str(model)]
    options = {
        "--accelerator-config": hardware.accelerator,
        "--config": "Arm/vela.ini",
        "--system-config": hardware.system,
        "--memory-mode": hardware.memory_mode,
        "--output-dir": str(folder),
    }
    given = [part for pair in options.items() for part in pair]
    try:
        return run_child([*command, *given, "--verbose-performance"], _TIME_LIMIT_S)
    except WorkerError as error:
        if "CliOptionError" in str(error):
            raise TargetError(
                f"Target 'vela': expected a system configuration and a memory mode that its "
                f"Arm/vela.ini has. Received: {hardware} ({error}). Correct [vela] in the device "
                "profile."
            ) from error
        raise


def _read_summary(text: str) -> Mapping[str, str]:
    (row,) = csv.DictReader(text.splitlines())
    return row


def read_rows(text: str) -> tuple[TableRow, ...]:
    """Reads the per-layer table; a name that breaks a line is cut there."""
    header, *lines = text.splitlines()
    names = header.split(",")
    found = []
    for line in lines:
        cells = line.split(",", _COLUMNS - 1)
        if len(cells) == _COLUMNS:
            found.append(_row(dict(zip(names, cells, strict=True))))
    return tuple(found)


def _row(cells: Mapping[str, str]) -> TableRow:
    return TableRow(
        original=cells["Original Operator"],
        operation=cells["NNG Operator"],
        npu=cells["Target"] == "NPU",
        cycles=int(cells["Op Cycles"]),
        npu_cycles=int(cells["NPU"]),
        access_cycles={memory: int(cells[column]) for column, memory in MEMORIES.items()},
        macs=int(cells["MAC Count"]),
        name=cells["Name"],
    )
