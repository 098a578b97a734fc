"""The newer emulator beside the first one: QEMU 10, and the runtimes that need it.

It shares the ARM64 Python and the wheels of the first one, which stays what measures wherever it
can, so that numbers do not change when this one is added.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.core.runtime import Runtime
from edgeprune.targets.arm64_emulated.build_qemu import BuiltQemu, cached_qemu
from edgeprune.targets.arm64_emulated.emulator import (
    NAME,
    RECORD,
    Emulator,
    cached_emulator,
    plugin_sources,
)
from edgeprune.targets.cache import cache_folder


@dataclass(frozen=True)
class AddedRuntime:
    """A runtime that crashes in the first emulator, with its wheels for CPython 3.11 on aarch64.

    What it shares with the first emulator's runtimes, NumPy for one, comes from there.
    """

    runtime: Runtime
    wheels: tuple[str, ...]
    """As pip takes them, each with its checksum."""


ADDED_RUNTIMES: tuple[AddedRuntime, ...] = (
    AddedRuntime(
        Runtime("LiteRT", "2.3.0"),
        (
            "ai-edge-litert==2.3.0 --hash=sha256:"
            "853fc608f96da87bd5f3458465dfb9abbf18d5ae6b94eceacead407146f175ae",
            "ml-dtypes==0.5.4 --hash=sha256:"
            "bc11d7e8c44a65115d05e2ab9989d1e045125d7be8e05a071a48bc76eb6d6040",
        ),
    ),
)
"""Oldest first; a later version is an entry here, and then needs the checks of the gate."""
PLUGIN_API = 4
"""Version of the plugin interface of QEMU 10.0."""
UNNAMED_CORE = """\
processor\t: {number}
BogoMIPS\t: 100.00
Features\t: fp asimd
CPU implementer\t: 0x00
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0x000
CPU revision\t: 0

"""
"""A processor in the /proc/cpuinfo that runtimes find here: of ARM, and no core that they know.

LiteRT 2.2 and later end with SIGSEGV where that file is of an x86 processor, under QEMU 7.2 and 10
alike. What a core can do XNNPACK asks the system, not this file; only its choice among kernels
that are tuned to single cores depends on it (see `build_qemu.SHOWN_CORE`). The first emulator's
runtimes do without, so that their counts stay: with it, dense float is 0.2 % off. Tried 2026-11-27.
"""


@dataclass(frozen=True)
class LatestEmulator(Emulator):
    """QEMU 10 with the first emulator's Python, and one of the runtimes that were added."""

    built: BuiltQemu
    parts: Path
    """Holds the plugins, root/, a folder of wheels for each added runtime, and versions.json."""
    added: Runtime | None = None
    """The one that Python finds; those of the first emulator if None."""

    @property
    def qemu(self) -> Path:
        """The emulator program."""
        return self.built.program

    @property
    def plugin(self) -> Path:
        """The counting plugin."""
        return self.parts / "count.so"

    @property
    def root(self) -> Path:
        """The first emulator's; with an added runtime, also the processor that it needs to see."""
        return super().root if self.added is None else self.own_root

    @property
    def own_root(self) -> Path:
        """What programs find beside an added runtime: the first emulator's files, a processor."""
        return self.parts / "root"

    def complete(self) -> bool:
        """Whether everything is there for this user, the first emulator included."""
        needed = (self.plugin, self.cycles_plugin, self.parts / RECORD)
        present = all(os.access(path, os.R_OK) for path in needed)
        return present and self.built.complete() and Emulator(self.folder).complete()

    def version(self, name: str) -> str:
        """Version of `qemu`, or of one of the first emulator's wheels."""
        return self.built.version() if name == "qemu" else super().version(name)

    def runtimes(self) -> tuple[Runtime, ...]:
        """The first emulator's runtimes, then those that were added."""
        record = json.loads((self.parts / RECORD).read_text(encoding="utf-8"))
        return (*super().runtimes(), *(Runtime(**added) for added in record["runtimes"]))

    def sites(self) -> tuple[Path, ...]:
        """The wheels of the added runtime, then those of the first emulator."""
        own = () if self.added is None else (self.site(self.added),)
        return (*own, *super().sites())

    def site(self, runtime: Runtime) -> Path:
        """Where the wheels of an added runtime are."""
        return self.parts / f"{runtime.name}-{runtime.version}"

    def running(self, runtime: Runtime) -> LatestEmulator:
        """The same with a Python that finds a runtime at its version."""
        added = any(runtime == each.runtime for each in ADDED_RUNTIMES)
        return replace(self, added=runtime if added else None)


def cached_latest() -> LatestEmulator:
    """Its place in the user's cache folder, set up or not."""
    recipe = hashlib.sha256(b"\0".join(plugin_sources()))
    first = cached_emulator().folder
    recipe.update(repr((PLUGIN_API, ADDED_RUNTIMES, UNNAMED_CORE, first.name)).encode())
    parts = cache_folder() / f"{NAME}-latest-{recipe.hexdigest()[:12]}"
    return LatestEmulator(first, cached_qemu(), parts)
