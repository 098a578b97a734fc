"""Sets the emulator up in the user's cache folder: QEMU, an ARM64 Python, runtimes, plugins."""

from __future__ import annotations

import json
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeprune.core.errors import TargetError
from edgeprune.targets.arm64_emulated.debian import Archive, Machine, require_machine
from edgeprune.targets.arm64_emulated.emulator import (
    COUNT_SOURCE,
    CYCLES_SOURCE,
    EMULATED_RUNTIMES,
    GUEST_PACKAGES,
    NAME,
    QEMU_PACKAGES,
    RECORD,
    REQUIREMENTS,
    TRY_AGAIN,
    Emulator,
    cached_emulator,
)
from edgeprune.targets.cache import Tell, set_up
from edgeprune.targets.commands import run_command
from edgeprune.targets.worker import COUNT_BLOCKS, COUNT_CALLER, COUNT_MARK, MODULES

STEPS = 5
PLUGIN_API = 1
"""Version of the plugin interface of bookworm's QEMU 7.2."""
ROOM_BYTES = 600 << 20
"""Free bytes that a set-up needs in the cache folder; 180 MB of them stay in use."""
PLATFORMS = (
    "manylinux_2_34_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux2014_aarch64",
)
COMPILER_PACKAGES = (
    "gcc-12",
    "cpp-12",
    "libgcc-12-dev",
    "binutils",
    "libbinutils",
    "libctf0",
    "libctf-nobfd0",
    "libgprofng0",
    "libisl23",
    "libjansson4",
    "libmpc3",
    "libmpfr6",
    "libgmp10",
    "libzstd1",
)
COMPILES = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": ""}
"""Lets Python keep compiled modules beside their source, whatever the user's own variables say:
without them every emulated run compiles NumPy again, two thirds of the time of a short run."""
COMPILER_OPTIONS = (
    "-std=c11",
    "-O2",
    "-fPIC",
    "-shared",
    "-nostdlib",
    "-ffreestanding",
    "-fvisibility=hidden",
)


def install_emulator(tell: Tell) -> Emulator:
    """Sets the emulator up if it is not; some 75 MB of downloads, 115 MB without a C compiler.

    Raises:
      TargetError: the machine is of another kind, the cache folder cannot be written, or something
        could not be downloaded or does not work.
    """
    emulator = cached_emulator()
    if emulator.complete():
        return emulator
    machine = require_machine()

    def build(folder: Path, downloads: Path) -> None:
        _build(Emulator(folder), machine, downloads, tell)

    set_up(NAME, emulator.folder, emulator.complete, build, room_bytes=ROOM_BYTES)
    return emulator


def _build(emulator: Emulator, machine: Machine, downloads: Path, tell: Tell) -> None:
    folder = emulator.folder
    tell("fetching Debian's package lists", 0, STEPS)
    archive = Archive(downloads / "debian", [machine.architecture, "arm64"])
    tell("fetching QEMU and an ARM64 Python", 1, STEPS)
    packages = archive.unpack(QEMU_PACKAGES, machine.architecture, folder / "host")
    for program in (folder / "host/usr/bin").iterdir():
        if program != emulator.qemu:
            program.unlink()
    packages |= archive.unpack(GUEST_PACKAGES, "arm64", folder / "root")
    tell("fetching the ARM64 runtimes", 2, STEPS)
    wheels = unpack_wheels(REQUIREMENTS, downloads / "wheels", folder / "site")
    tell("building the plugins", 3, STEPS)
    packages |= _build_plugins(emulator, machine, archive, downloads / "compiler")
    tell("trying both runtimes", 4, STEPS)
    for name in EMULATED_RUNTIMES:
        try_runtime(emulator, MODULES[name][0], downloads / "count.log")
    record = {"qemu": qemu_version(emulator), "wheels": wheels, "debian": packages}
    (folder / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")


def unpack_wheels(requirements: Path, downloads: Path, site: Path) -> dict[str, str]:
    """Downloads pinned wheels, which pip checks against their sums; version by name.

    Args:
      requirements: a file of pip's, with a checksum for every wheel.
      downloads: gets the wheels.
      site: gets what is in them.

    Raises:
      TargetError: pip failed, or a wheel is not the one that was pinned.
    """
    run_command(
        NAME,
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input"),
            *("--disable-pip-version-check", "--no-deps", "--only-binary=:all:"),
            *("--require-hashes", "--requirement", requirements, "--dest", downloads),
            *("--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"),
            *(part for name in PLATFORMS for part in ("--platform", name)),
        ],
        f"pip and a package index are needed (python -m ensurepip installs pip). {TRY_AGAIN}",
    )
    versions = {}
    for wheel in sorted(downloads.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        name, version = wheel.name.split("-")[:2]
        versions[name.replace("_", "-")] = version
    return versions


def _build_plugins(
    emulator: Emulator, machine: Machine, archive: Archive, folder: Path
) -> dict[str, str]:
    """Compiles the plugins with this machine's gcc, or with one that is only unpacked for it.

    Returns:
      The packages that the compiler came from; none if it was here.
    """
    command, environment, packages = ["gcc"], {}, {}
    if shutil.which("gcc") is None:
        names = [*COMPILER_PACKAGES, f"binutils-{machine.triplet.replace('_', '-')}"]
        packages = archive.unpack(names, machine.architecture, folder)
        programs = folder / "usr/bin"
        command = [str(programs / "gcc-12"), f"-B{programs}"]
        environment = {"LD_LIBRARY_PATH": str(folder / "usr/lib" / machine.triplet)}
    compile_plugins(command, emulator, PLUGIN_API, environment)
    return packages


def compile_plugins(
    compiler: Sequence[str], emulator: Emulator, api: int, environment: Mapping[str, str]
) -> None:
    """Compiles the plugins of an emulator.

    Args:
      compiler: the command of the C compiler.
      emulator: what they are for.
      api: version of QEMU's plugin interface that it is built for.
      environment: variables that the compiler needs beside the present ones.

    Raises:
      TargetError: the compiler failed.
    """
    for source, plugin in (
        (COUNT_SOURCE, emulator.plugin),
        (CYCLES_SOURCE, emulator.cycles_plugin),
    ):
        run_command(
            NAME,
            [*compiler, *COMPILER_OPTIONS, f"-DPLUGIN_API={api}", "-o", plugin, source],
            "The C compiler of this machine does not work; repair it: apt-get install gcc",
            environment=environment,
        )


def try_runtime(emulator: Emulator, module: str, log: Path) -> None:
    """Imports a runtime and counts a stretch of it; leaves its modules compiled in the cache.

    Args:
      emulator: what is tried.
      module: of the runtime.
      log: gets the count; removed again.

    Raises:
      TargetError: it does not start, or nothing is counted.
    """
    launcher = emulator.emulated("cortex-a76", log, blocks=True)
    program = (
        "import contextlib, gc, json, numpy, platform, zipfile\n"
        f"import {module}\n"
        "import os\n"
        f"for counted in ({COUNT_CALLER}, 0, {COUNT_BLOCKS}, 0):\n"
        f"    with contextlib.suppress(OSError): os.getpriority({COUNT_MARK}, counted)\n"
    )
    options = [part for part in launcher.command if part != "-B"]
    run_command(
        NAME,
        [*options, "-c", program],
        "The emulated runtime does not start on this machine.",
        environment={**launcher.environment, **COMPILES},
    )
    said = log.read_text(encoding="utf-8")
    if "instructions" not in said or "misses" not in said:
        raise TargetError(
            f"{NAME}: expected QEMU {qemu_version(emulator)} to report counts through "
            f"the plugins. Received: {said or 'nothing'} for {module}. {TRY_AGAIN}"
        )
    log.unlink()


def qemu_version(emulator: Emulator) -> str:
    """What QEMU says of itself.

    Raises:
      TargetError: it does not start.
    """
    environment = {"LD_LIBRARY_PATH": emulator.libraries()}
    said = run_command(NAME, [emulator.qemu, "--version"], TRY_AGAIN, environment=environment)
    found = re.search(r"version (\d+(?:\.\d+)+)", said)
    if found is None:
        raise TargetError(f"{emulator.qemu}: expected a version. Received: {said}. {TRY_AGAIN}")
    return found[1]
