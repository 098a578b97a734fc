"""Builds QEMU 10 for ARM64 programs, with plugins, from Debian's source package.

Debian's own program of it has no plugins, so that it runs files and counts nothing. The build takes
some five minutes of processor time; its steps are resumed where they were interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.errors import TargetError
from edgeprune.targets.arm64_emulated.debian import download_source
from edgeprune.targets.arm64_emulated.emulator import LATEST_COMMAND, NAME
from edgeprune.targets.cache import Step, Tell, cache_folder, set_up_in_steps, unfinished_folder
from edgeprune.targets.commands import run_command, run_logged

SUITE = "trixie"
"""Debian's release whose source package is built; bookworm's is QEMU 7.2."""
ROOM_BYTES = 2 << 30
"""Free bytes that the build needs in the cache folder; some 10 MB of them stay in use."""
BUILD_REQUIREMENTS = Path(__file__).with_name("build_requirements.txt")
BUILD_PACKAGES: Mapping[str, str] = {
    "gcc": "gcc",
    "libc6-dev": "",
    "libglib2.0-dev": "",
    "ninja-build": "ninja",
    "pkg-config": "pkg-config",
    "xz-utils": "xz",
}
"""Debian's packages that the build needs, and the program that shows that one is there."""
CONFIGURE_OPTIONS = (
    "--target-list=aarch64-linux-user",
    "--without-default-features",
    "--enable-plugins",
    "--disable-system",
    "--disable-tools",
    "--disable-docs",
    "--disable-werror",
    "--disable-debug-info",
    "--disable-install-blobs",
)
SYSTEM_CALLS = "linux-user/syscall.c"
SHOWN_CORE = '        { "/proc/cpuinfo", open_cpuinfo, is_proc },\n'
"""The line of QEMU 10's source that shows the emulated core to programs; it is left out.

XNNPACK takes kernels tuned to the core that it reads there, those for any core where it knows none.
Under QEMU 7.2 programs see the file of this machine, so cost tables and published counts are of the
latter: MobileNetV1 in LiteRT 2.1.6 on cortex-a76 is 192.9 M instructions, 202.3 M with the tuned
ones (under 7.2 with such a file, and under 10.0.13 as it is). Without the line QEMU 10 shows what
the emulator's root has there. Measured 2026-11-27.
"""
RECORD = "versions.json"
_PROGRAM = "qemu-aarch64"
_FOLDER = f"{NAME}-qemu"
_NINJA_STATUS = "[%f/%t] "


@dataclass(frozen=True)
class BuiltQemu:
    """What a build left in its folder."""

    folder: Path

    @property
    def program(self) -> Path:
        """The emulator program."""
        return self.folder / _PROGRAM

    @property
    def log(self) -> Path:
        """What the build printed; it stays when it fails."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def complete(self) -> bool:
        """Whether it is there for this user."""
        return all(os.access(path, os.R_OK) for path in (self.program, self.folder / RECORD))

    def version(self) -> str:
        """QEMU's version as the build recorded it."""
        record = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        return str(record["qemu"])


def cached_qemu() -> BuiltQemu:
    """Its place in the user's cache folder, named after how it is built; built or not."""
    recipe = hashlib.sha256(BUILD_REQUIREMENTS.read_bytes())
    recipe.update(" ".join((SUITE, platform.machine(), SHOWN_CORE, *CONFIGURE_OPTIONS)).encode())
    return BuiltQemu(cache_folder() / f"{_FOLDER}-{recipe.hexdigest()[:12]}")


def build_qemu(tell: Tell) -> BuiltQemu:
    """Builds it if that is not done; 40 MB of downloads and 700 MB of room while it is built.

    Raises:
      TargetError: packages are missing that only root installs, something could not be fetched, or
        the build failed: names its log and the last line of that.
    """
    qemu = cached_qemu()
    if qemu.complete():
        return qemu
    tell("looking for what the build needs", 0, 1)
    _require_packages()

    def steps(new: Path, rest: Path) -> tuple[Step, ...]:
        return _Build(qemu.log, new, rest, tell).steps()

    set_up_in_steps(_FOLDER, qemu.folder, qemu.complete, steps, tell, room_bytes=ROOM_BYTES)
    return qemu


def missing_packages() -> tuple[str, ...]:
    """Those of Debian's packages that the build needs and that are not here."""
    return tuple(
        package
        for package, program in BUILD_PACKAGES.items()
        if not (shutil.which(program) if program else _has_package(package))
    )


def _has_package(package: str) -> bool:
    command = ["dpkg-query", "--show", "--showformat=${Status}", package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.stdout.endswith(" installed")


def _require_packages() -> None:
    """Installs what is missing where this user may, else says what to install."""
    missing = missing_packages()
    if not missing:
        return
    install = ["apt-get", "install", "--yes", "-qq", "--no-install-recommends", *missing]
    if not _is_root():
        raise TargetError(
            f"{NAME}: expected {', '.join(missing)}, which building QEMU needs. Received: "
            f"a user who cannot install them. Run: sudo apt-get install {' '.join(missing)}; "
            f"then: {LATEST_COMMAND}"
        )
    remedy = f"Install {', '.join(missing)} yourself, then run: {LATEST_COMMAND}"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run_command(NAME, ["apt-get", "-qq", "update"], remedy)
    run_command(NAME, install, remedy, environment=quiet)


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def hide_core(source: Path) -> None:
    """Takes the line out of QEMU's source that shows the emulated core.

    Raises:
      TargetError: it is not there once; another version of QEMU needs another line.
    """
    text = source.read_text(encoding="utf-8")
    if text.count(SHOWN_CORE) != 1:
        raise TargetError(
            f"{NAME}: {source}: expected the line {SHOWN_CORE.strip()!r} once. Received: "
            f"{text.count(SHOWN_CORE)} times. Debian's {SUITE} has another QEMU than the one that "
            "this edgeprune builds; please report it."
        )
    source.write_text(text.replace(SHOWN_CORE, ""), encoding="utf-8")


@dataclass(frozen=True)
class _Build:
    """One build: what becomes the final folder, the rest, and who is told."""

    log: Path
    new: Path
    rest: Path
    tell: Tell

    def steps(self) -> tuple[Step, ...]:
        return (
            Step("source", "fetching QEMU's source from Debian", self.fetch),
            Step("tools", "fetching what configures it", self.make_environment),
            Step("unpacked", "unpacking QEMU's source", self.unpack),
            Step("configured", "configuring QEMU", self.configure),
            Step("compiled", "compiling QEMU", self.compile),
            Step("kept", "trying QEMU", self.keep),
        )

    @property
    def remedy(self) -> str:
        unfinished = unfinished_folder(cached_qemu().folder)
        return (
            f"Run again: {LATEST_COMMAND} (it goes on from there; to start over, remove "
            f"{unfinished})"
        )

    @property
    def tree(self) -> Path:
        return self.rest / "tree"

    @property
    def python(self) -> Path:
        return self.rest / "tools/bin/python"

    def fetch(self) -> None:
        download_source("qemu", SUITE, self.rest / "source")

    def make_environment(self) -> None:
        tools, wheels = self.rest / "tools", self.rest / "wheels"
        for left in (tools, wheels):
            shutil.rmtree(left, ignore_errors=True)
        plain = {"PYTHONPATH": "", "PYTHONHOME": "", "PIP_USER": "0"}
        run_command(
            NAME,
            [sys.executable, "-I", "-m", "venv", "--without-pip", tools],
            "Python's module venv is needed: apt-get install python3-venv",
        )
        run_command(
            NAME,
            [
                *(sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet"),
                *("--no-input", "--disable-pip-version-check", "--no-deps"),
                *("--only-binary=:all:", "--require-hashes", "--requirement", BUILD_REQUIREMENTS),
            ],
            f"pip 22.3 or later and a package index are needed. {self.remedy}",
            environment=plain,
        )

    def unpack(self) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)
        (archive,) = (self.rest / "source").glob("qemu_*.orig.tar.xz")
        self.tree.mkdir()
        run_command(
            NAME, ["tar", "-xJf", archive, "-C", self.tree, "--strip-components=1"], self.remedy
        )
        # Debian's archive is without firmware, which a user-mode emulator does not need.
        (self.tree / "pc-bios/meson.build").write_text("roms = []\n", encoding="utf-8")
        hide_core(self.tree / SYSTEM_CALLS)

    def configure(self) -> None:
        shutil.rmtree(self.tree / "build", ignore_errors=True)
        (self.tree / "build").mkdir()
        command = ["../configure", f"--python={self.python}", *CONFIGURE_OPTIONS]
        run_logged(NAME, command, self.log, self.remedy, folder=self.tree / "build")

    def compile(self) -> None:
        def said(line: str) -> None:
            found = re.match(r"\[(\d+)/(\d+)\]", line)
            if found is not None:
                self.tell("compiling QEMU", int(found[1]), int(found[2]))

        run_logged(
            NAME,
            ["nice", "-n", "10", "ninja", f"-j{os.cpu_count() or 1}", _PROGRAM],
            self.log,
            self.remedy,
            folder=self.tree / "build",
            environment={"NINJA_STATUS": _NINJA_STATUS},
            said=said,
        )

    def keep(self) -> None:
        program = self.new / _PROGRAM
        shutil.copy2(self.tree / "build" / _PROGRAM, program)
        said = run_command(NAME, [program, "--version"], self.remedy)
        found = re.search(r"version (\d+(?:\.\d+)+)", said)
        if found is None:
            raise TargetError(f"{program}: expected a version. Received: {said}. {self.remedy}")
        (source,) = (self.rest / "source").glob("qemu_*.dsc")
        record = {"qemu": found[1], "source": source.name}
        (self.new / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
