"""Android devices as the `adb` program reaches them."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.core.errors import TargetError
from edgeprune.targets.child import MAX_MESSAGE
from edgeprune.targets.worker import hottest

_PROGRAM = "adb"
PLACE = "/data/local/tmp"
"""Where Android lets the shell's user write and run programs."""
_TIME_LIMIT_S = 600.0
_MAX_SAID = 4 << 20
"""Bytes that a device may say at once."""
_FACTS = """
echo "board=$(getprop ro.product.manufacturer) $(getprop ro.product.model)"
echo "soc=$(getprop ro.soc.model)"
echo "platform=$(getprop ro.board.platform)"
echo "system=Android $(getprop ro.build.version.release) $(uname -m)"
echo "cores=$(nproc)"
for f in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor
do echo "governor=$(cat $f 2>/dev/null)"; done
for z in /sys/class/thermal/thermal_zone*
do echo "zone=$(cat $z/type 2>/dev/null):$(cat $z/temp 2>/dev/null)"; done
true
"""


@dataclass(frozen=True)
class Device:
    """One device; None as serial number is the only one that is connected."""

    serial: str | None

    def __str__(self) -> str:
        return self.serial or "the connected device"

    def adb(self, *arguments: str, check: bool = True) -> str:
        """Runs `adb`; returns what it wrote, both streams together.

        Raises:
          TargetError: it is not there, takes too long or, with `check`, ends with an error.
        """
        chosen = ["-s", self.serial] if self.serial else []
        try:
            code, said = _run([_PROGRAM, *chosen, *arguments])
        except OSError as error:
            raise TargetError(
                f"Target 'adb' is not ready: {_PROGRAM}: {error.strerror}. Install it: apt-get "
                "install adb"
            ) from error
        if code is None:
            raise TargetError(
                f"{self}: adb {arguments[0]} did not end within {_TIME_LIMIT_S:g} s and "
                f"{_MAX_SAID} bytes."
            )
        if code and (check or _lost(said)):
            raise TargetError(
                f"{self}: adb {arguments[0]} failed: {said.strip()[:MAX_MESSAGE] or code}. "
                "Look with: adb devices"
            )
        return said

    def shell(self, command: str, *, check: bool = True) -> str:
        """Runs a command line in the device's shell."""
        return self.adb("shell", command, check=check)

    @contextmanager
    def folder(self) -> Iterator[str]:
        """A folder on the device that is removed afterwards, also when the program is interrupted.

        Raises:
          TargetError: the device is disconnected, and the folder stays; says how to remove it.
        """
        path = f"{PLACE}/edgeprune-{os.urandom(6).hex()}"

        def remove() -> None:
            atexit.unregister(remove)
            self.shell(f"rm -rf {path}")

        self.shell(f"mkdir {path}")
        atexit.register(remove)
        try:
            yield path
        finally:
            try:
                remove()
            except TargetError as error:
                raise TargetError(f"{error} This stays on it: {path}") from error

    def push(self, file: Path, path: str) -> None:
        """Copies a file to the device."""
        self.adb("push", str(file), path)

    def facts(self) -> dict[str, Any]:
        """What the device is and how warm; None is hidden by the system."""
        lines = [line.strip().partition("=") for line in self.shell(_FACTS).splitlines()]
        found = {key: value.strip()[:MAX_MESSAGE] for key, _, value in lines}
        zones = [value.rpartition(":") for key, _, value in lines if key == "zone"]
        governors = {value.strip() for key, _, value in lines if key == "governor"} - {""}
        cores = re.fullmatch("[0-9]{1,4}", found.get("cores", ""))
        return {
            "board": found.get("board") or None,
            "cpu": found.get("soc") or found.get("platform") or None,
            "cores": int(cores[0]) if cores else None,
            "governor": ", ".join(sorted(governors)) or None,
            "system": found.get("system") or None,
            "temperature_c": hottest((kind, degrees) for kind, _, degrees in zones),
        }


def _run(command: list[str]) -> tuple[int | None, str]:
    """Runs a program; returns its exit code and what it wrote, both streams together.

    The code is None if it was stopped, since it took or wrote too much.
    """
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(_TIME_LIMIT_S, stop)
        timer.start()
        try:
            said = process.stdout.read(_MAX_SAID + 1) if process.stdout else b""
            if len(said) > _MAX_SAID:
                stop()
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
    text = said.decode(errors="replace").replace("\r\n", "\n")
    return (None if late.is_set() else code), text


def _lost(said: str) -> bool:
    """Whether `adb` itself failed, and not what it ran."""
    return said.startswith(("adb:", "error:"))


def command_line(*words: str) -> str:
    """Words as one line for the device's shell."""
    return shlex.join(words)
