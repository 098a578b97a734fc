"""Runtimes in an environment of their own, for a Python that their wheels do not fit.

tflite-runtime 2.14.0, the reference, has wheels for Python 3.10 and 3.11 on Linux alone, built
against NumPy 1. Where such a Python is on the machine, a virtual environment of it in the cache
folder holds the runtime, and the worker runs there as it does on a board.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgeprune.core.errors import TargetError
from edgeprune.core.runtime import installed_version
from edgeprune.targets.cache import Tell, cache_folder, set_up
from edgeprune.targets.child import Launcher
from edgeprune.targets.commands import run_command
from edgeprune.targets.target import Readiness

RECORD = "versions.json"
STEPS = 3
ROOM_BYTES = 300 << 20
"""Free bytes that a set-up needs in the cache folder, NumPy and pip included."""
_PROBE = (
    "import json, platform, sys, venv\n"
    "print(json.dumps([platform.python_implementation(), *sys.version_info[:2]]))\n"
)
_PROBE_LIMIT_S = 30.0
_PLAIN_PIP = {"PYTHONPATH": "", "PYTHONHOME": "", "PIP_USER": "0"}
"""Keeps what is meant for the Python that edgeprune runs in away from the other one."""


@dataclass(frozen=True)
class OwnEnvironment:
    """A runtime that can have an environment of its own, and where its wheels exist."""

    runtime: str
    version: str
    module: str
    requirements: tuple[str, ...]
    """As pip takes them."""
    pythons: tuple[tuple[int, int], ...]
    """Versions of Python, the preferred one first."""
    system: str
    """As `sys.platform` says it."""
    machines: tuple[str, ...]
    """As `platform.machine()` says it."""

    @property
    def folder(self) -> Path:
        """Its place in the user's cache folder, set up or not."""
        return cache_folder() / f"{self.runtime}-{self.version}"

    @property
    def command(self) -> str:
        """What sets it up; empty where no wheel exists for this kind of computer."""
        return f"edgeprune targets install {self.runtime}" if self.fits_computer() else ""

    def fits_computer(self) -> bool:
        """Whether wheels exist for this kind of computer, whatever Python is there."""
        return sys.platform == self.system and platform.machine() in self.machines

    def readiness(self) -> Readiness:
        """Ready if the runtime is here, beside edgeprune or in its environment."""
        beside = installed_version(self.runtime)
        if beside is not None:
            return Readiness(True, f"{self.runtime} {beside} is installed beside edgeprune")
        if self.complete():
            return Readiness(True, f"{self.runtime} {self.version} is in {self.folder}")
        return Readiness(False, f"{self.runtime} is not installed", self.command)

    def complete(self) -> bool:
        """Whether it is set up, and the Python that it was made from is still there."""
        needed = (_python(self.folder), self.folder / RECORD)
        return all(os.access(path, os.R_OK) for path in needed)

    def launcher(self) -> Launcher:
        """Its Python, without what the user's variables add to the one edgeprune runs in."""
        return Launcher((str(_python(self.folder)), "-I"))

    def install(self, tell: Tell) -> None:
        """Sets it up if it is not; some 20 MB of downloads.

        Raises:
          TargetError: there is no wheel for this kind of computer or no Python that one fits, pip
            failed, or the cache folder cannot be written.
        """
        if self.readiness().ready:
            return
        if not self.fits_computer():
            raise TargetError(
                f"{self.runtime} {self.version} has wheels for {self.system} on "
                f"{', '.join(self.machines)} only. Received: {sys.platform} on "
                f"{platform.machine()}. Everything works without it, in LiteRT."
            )
        tell("looking for a Python", 0, STEPS)
        python = self.find_python()

        def build(folder: Path, _: Path) -> None:
            self._build(python, folder, tell)

        set_up(self.runtime, self.folder, self.complete, build, room_bytes=ROOM_BYTES)

    def find_python(self) -> Path:
        """A Python on this machine that the wheels fit.

        Raises:
          TargetError: there is none; says what to install.
        """
        for python in _candidates(self.pythons):
            if _probe(python) in [("CPython", *version) for version in self.pythons]:
                return python
        known = [".".join(map(str, version)) for version in self.pythons]
        raise TargetError(
            f"{self.runtime} {self.version} needs Python {' or '.join(known)}. Received: none that "
            f"starts as python{known[0]} on the PATH or in ~/.pyenv/versions. Install one, for "
            f"example: apt-get install python{known[0]}, or pyenv install {known[0]}; then run: "
            f"{self.command}"
        )

    def _build(self, python: Path, folder: Path, tell: Tell) -> None:
        remedy = f"Run again: {self.command}"
        tell(f"making an environment of {python}", 1, STEPS)
        run_command(
            self.runtime,
            [python, "-I", "-m", "venv", "--without-pip", folder],
            f"{python} is to make virtual environments. {remedy}",
        )
        tell(f"installing {', '.join(self.requirements)}", 2, STEPS)
        run_command(
            self.runtime,
            [
                *(sys.executable, "-m", "pip", "--python", _python(folder), "install", "--quiet"),
                *("--no-input", "--disable-pip-version-check", "--only-binary=:all:"),
                *self.requirements,
            ],
            "pip 22.3 or later and a package index are needed (python -m pip install --upgrade "
            f"pip). {remedy}",
            environment=_PLAIN_PIP,
        )
        program = (
            f"import json, numpy, platform, {self.module}\n"
            "print(json.dumps({'python': platform.python_version(), 'numpy': numpy.__version__}))"
        )
        said = run_command(self.runtime, [_python(folder), "-I", "-c", program], remedy)
        record = {self.runtime: self.version, **json.loads(said)}
        (folder / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")


OWN_ENVIRONMENTS: Mapping[str, OwnEnvironment] = MappingProxyType(
    {
        "tflite-runtime": OwnEnvironment(
            runtime="tflite-runtime",
            version="2.14.0",
            module="tflite_runtime.interpreter",
            requirements=("tflite-runtime==2.14.0", "numpy>=1.26,<2"),
            pythons=((3, 11), (3, 10)),
            system="linux",
            machines=("x86_64", "aarch64", "armv7l"),
        )
    }
)
"""By the name of the runtime."""


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _candidates(versions: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Where a Python of one of the versions may be, the preferred version first.

    The first on the PATH may be a pyenv shim that starts nothing, so all of the PATH counts.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for major, minor in versions:
        name = f"python{major}.{minor}"
        if (major, minor) == sys.version_info[:2]:
            yield Path(sys.executable)
        yield from (Path(folder, name) for folder in os.get_exec_path())
        found = sorted(pyenv.glob(f"{major}.{minor}.*"), key=_patch_number, reverse=True)
        yield from (folder / "bin" / name for folder in found)


def _patch_number(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.name))


def _probe(python: Path) -> tuple[str, int, int] | None:
    """Implementation and version of a Python that makes environments; None if it is none."""
    if not os.access(python, os.X_OK):
        return None
    try:
        done = subprocess.run(
            [python, "-I", "-c", _PROBE],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_LIMIT_S,
            check=True,
        )
        implementation, major, minor = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return implementation, major, minor
