"""Sets the newer emulator up beside the first one: builds QEMU 10, adds plugin and runtimes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from edgeprune.targets.arm64_emulated.build_qemu import build_qemu
from edgeprune.targets.arm64_emulated.emulator import NAME, RECORD, cached_emulator
from edgeprune.targets.arm64_emulated.install import (
    compile_plugins,
    install_emulator,
    try_runtime,
    unpack_wheels,
)
from edgeprune.targets.arm64_emulated.latest import (
    ADDED_RUNTIMES,
    PLUGIN_API,
    UNNAMED_CORE,
    LatestEmulator,
    cached_latest,
)
from edgeprune.targets.arm64_emulated.target import ARM64_EMULATED
from edgeprune.targets.cache import Tell, set_up
from edgeprune.targets.target import Readiness
from edgeprune.targets.worker import MODULES

ROOM_BYTES = 300 << 20
"""Free bytes that plugin and runtimes need, QEMU aside; 100 MB of them stay in use."""


class LatestArm64Emulated:
    """What `--latest` adds to `arm64-emulated`."""

    def readiness(self) -> Readiness:
        """That of the whole instrument."""
        return ARM64_EMULATED.readiness()

    def install(self, tell: Tell) -> None:
        """Sets up what is missing of both emulators; minutes of processor time the first time.

        Raises:
          TargetError: the machine is of another kind, the cache folder cannot be written, something
            could not be fetched or built, or does not work.
        """
        latest = cached_latest()
        if latest.complete():
            return
        install_emulator(tell)
        build_qemu(tell)

        def build(folder: Path, downloads: Path) -> None:
            _build(LatestEmulator(cached_emulator().folder, latest.built, folder), downloads, tell)

        set_up(f"{NAME}-latest", latest.parts, latest.complete, build, room_bytes=ROOM_BYTES)


LATEST_ARM64_EMULATED = LatestArm64Emulated()


def _build(latest: LatestEmulator, downloads: Path, tell: Tell) -> None:
    downloads.mkdir()
    steps = 1 + 2 * len(ADDED_RUNTIMES)
    tell("building the plugins", 0, steps)
    compile_plugins(["gcc"], latest, PLUGIN_API, {})
    _lay_root(latest)
    for index, added in enumerate(ADDED_RUNTIMES):
        tell(f"fetching {added.runtime} for ARM64", 1 + 2 * index, steps)
        requirements = downloads / f"{added.runtime}.txt"
        requirements.write_text("\n".join(added.wheels), encoding="utf-8")
        site = latest.site(added.runtime)
        unpack_wheels(requirements, downloads / site.name, site)
        tell(f"trying {added.runtime}", 2 + 2 * index, steps)
        running, module = latest.running(added.runtime), MODULES[added.runtime.name][0]
        try_runtime(running, module, downloads / "count.log")
    record = {"runtimes": [asdict(added.runtime) for added in ADDED_RUNTIMES]}
    (latest.parts / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")


def _lay_root(latest: LatestEmulator) -> None:
    """Makes the folder of the files that programs find: links, and a processor of no name."""
    root = latest.own_root
    (root / "proc").mkdir(parents=True)
    for entry in (latest.folder / "root").iterdir():
        (root / entry.name).symlink_to(entry)
    processors = (UNNAMED_CORE.format(number=number) for number in range(os.cpu_count() or 1))
    (root / "proc/cpuinfo").write_text("".join(processors), encoding="utf-8")
