"""What edgeprune runs in, for a report of a fault: versions, instruments, memory, caches.

Nothing is imported or started to find a version. Personal folders, users and hosts are not named.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from edgeprune.core.grid import Grid, Printable, grid
from edgeprune.core.runtime import Runtime, RuntimeName, installed_version
from edgeprune.targets.arm64_emulated.emulator import cached_emulator
from edgeprune.targets.arm64_emulated.latest import cached_latest
from edgeprune.targets.cache import cache_folder
from edgeprune.targets.find import TARGETS, find_target
from edgeprune.targets.host import installed_runtimes
from edgeprune.targets.target import Readiness
from edgeprune.tflite.gate.rules import delegating, rules_for

PACKAGES = (
    *("tensorflow", "keras", "numpy", "ai-edge-litert", "tflite-runtime", "flatbuffers", "optuna"),
    *("ethos-u-vela", "tflite-micro"),
)
"""The packages whose versions matter most, as pip names them."""
_HOMES = re.compile(r"(?P<folder>[/\\](?:home|Users|media)[/\\])[^/\\\s;,]+")
"""A folder named after a user, also where that is another one than who runs this."""


@dataclass(frozen=True)
class FoundRuntime:
    """A runtime that can be used here."""

    name: str
    version: str
    where: str
    """`beside edgeprune`, or the QEMU that it runs under."""
    xnnpack: str | None
    """The runtime by whose rules the gate judges networks for it; None if it has no XNNPACK."""

    def __str__(self) -> str:
        rules = f", XNNPACK by the rules of {self.xnnpack}" if self.xnnpack else ""
        return f"{self.name} {self.version} ({self.where}{rules})"


@dataclass(frozen=True)
class Surroundings(Printable):
    """What a report of a fault needs to say of a computer."""

    edgeprune: str
    python: str
    system: str
    machine: str
    """The processor's architecture, as `platform.machine()` says it."""
    cores: int
    """Those that this process may use."""
    memory_bytes: int | None
    """Memory of the computer; None where the system does not say."""
    free_memory_bytes: int | None
    """What may be taken without swapping; None where the system does not say."""
    packages: Mapping[str, str | None]
    """Version by name; None where it is not installed."""
    runtimes: tuple[FoundRuntime, ...]
    targets: Mapping[str, Readiness]
    cache: str
    """The cache folder; what can be downloaded again is there."""

    def to_json(self) -> dict[str, Any]:
        """The facts as a document; lists and keys are in the order of the tables."""
        return {
            **asdict(replace(self, targets={})),
            "targets": [
                {"target": name, "ready": state.ready, "detail": state.detail}
                for name, state in self.targets.items()
            ],
        }

    def grids(self) -> tuple[Grid, ...]:
        """The computer with its packages, the runtimes, the instruments."""
        return (
            grid(f"edgeprune {self.edgeprune}", ("what", "here"), self._facts()),
            grid(
                "Runtimes",
                ("runtime", "where", "XNNPACK by the rules of"),
                ((f"{r.name} {r.version}", r.where, r.xnnpack or "-") for r in self.runtimes),
            ),
            grid(
                "Instruments",
                ("target", "ready", "found"),
                ((n, "yes" if s.ready else "no", s.detail) for n, s in self.targets.items()),
            ),
        )

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "Python", self.python
        yield "system", self.system
        yield "processor", f"{self.machine}, {self.cores} cores"
        yield "memory", f"{_gibibytes(self.free_memory_bytes)} of {_gibibytes(self.memory_bytes)}"
        yield "cache folder", self.cache
        yield from ((name, found or "not installed") for name, found in self.packages.items())


def surroundings() -> Surroundings:
    """Looks at this computer; personal folders are written as ~ or as USER."""
    total, free = memory()
    return Surroundings(
        edgeprune=installed_version("edgeprune") or "not installed",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cores=_usable_cores(),
        memory_bytes=total,
        free_memory_bytes=free,
        packages={name: installed_version(name) for name in PACKAGES},
        runtimes=found_runtimes(),
        targets={name: _impersonal_state(name) for name in TARGETS},
        cache=impersonal(str(cache_folder())),
    )


def found_runtimes() -> tuple[FoundRuntime, ...]:
    """The runtimes beside edgeprune, then those that the emulators run."""
    here = [(name, found, "beside edgeprune") for name, found in installed_runtimes().items()]
    first, latest = cached_emulator(), cached_latest()
    known: list[Runtime] = []
    for emulator in (first, latest):
        if emulator.complete():
            added = [each for each in emulator.runtimes() if each not in known]
            where = f"QEMU {emulator.version('qemu')}"
            here += [(each.name, each.version, where) for each in added]
            known += added
    return tuple(FoundRuntime(*each, xnnpack=_rules_of(*each[:2])) for each in here)


def _rules_of(name: str, found: str) -> str | None:
    own: list[RuntimeName] = [known for known in get_args(RuntimeName) if known == name]
    delegates = delegating(Runtime(known, found) for known in own)
    return next((str(rules_for(each).runtime) for each in delegates), None)


def memory(root: Path = Path("/")) -> tuple[int | None, int | None]:
    """Bytes of this computer's memory and of what is free of it; None where Linux is not there."""
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None, None
    found = dict(re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE))
    total, free = (
        int(found[name]) << 10 if name in found else None for name in ("MemTotal", "MemAvailable")
    )
    return total, free


def impersonal(text: str) -> str:
    """A text with the home folder as ~, and other users' folders without the user's name.

    A cache folder that is named in XDG_CACHE_HOME is written as that variable.
    """
    cache, home = os.environ.get("XDG_CACHE_HOME", ""), str(Path.home())
    for folder, short in ((cache, "$XDG_CACHE_HOME"), (home, "~")):
        if len(Path(folder).parts) > 1:
            text = re.sub(rf"{re.escape(folder)}(?![^/\\\s;,:)])", short, text)
    return _HOMES.sub(r"\g<folder>USER", text)


def _impersonal_state(name: str) -> Readiness:
    state = find_target(name).readiness()
    return replace(state, detail=impersonal(state.detail))


def _usable_cores() -> int:
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def _gibibytes(size: int | None) -> str:
    return "not known" if size is None else f"{size / 2**30:.1f} GiB"
