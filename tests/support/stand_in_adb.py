"""A program that stands in for `adb` and for one device: no real one was at hand.

It knows the commands that edgeprune gives, keeps the device's files in the folder ADB_DEVICE, and
answers `benchmark_model` with the file ADB_OUTPUT. Every command is added to ADB_LOG.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PLACE = "/data/local/tmp"


def fail(message: str) -> None:
    """Ends as `adb` does when it cannot do what it should."""
    sys.stderr.write(f"adb: {message}\n")
    sys.exit(1)


def on_device(path: str) -> Path:
    """Where a path of the device is here."""
    return Path(os.environ["ADB_DEVICE"]) / Path(path).relative_to("/")


def shell(command: str) -> None:
    """Runs a command line; the benchmark itself is answered from a file."""
    if "benchmark_model --graph=" in command:
        words = command.split()
        program = next(word for word in words if word.endswith("/benchmark_model"))
        graph = next(word for word in words if word.startswith("--graph="))
        if not (on_device(program).exists() and on_device(graph[8:]).exists()):
            fail("benchmark_model or the graph is not there")
        if os.environ.get("ADB_LOSES"):
            fail("device 'serial' not found")
        time.sleep(float(os.environ.get("ADB_TAKES", "0")))
        sys.stdout.write(Path(os.environ["ADB_OUTPUT"]).read_text())
        return
    device = os.environ["ADB_DEVICE"]
    local = command.replace(PLACE, f"{device}{PLACE}").replace("/sys/", f"{device}/sys/")
    properties = 'getprop() { case $1 in *model) echo "Pixel 6";; *release) echo 13;; esac; }\n'
    sys.exit(subprocess.run(["/bin/sh", "-c", properties + local], check=False).returncode)


def main() -> None:
    """Does what one call asks for."""
    arguments = sys.argv[1:]
    with Path(os.environ["ADB_LOG"]).open("a") as log:
        log.write(" ".join(arguments) + "\n")
    serial = None
    if arguments[0] == "-s":
        serial, arguments = arguments[1], arguments[2:]
    if arguments[0] == "version":
        sys.stdout.write("Android Debug Bridge version 1.0.41\n")
        return
    if serial not in (None, "serial"):
        fail(f"device '{serial}' not found")
    if arguments[0] == "get-state":
        sys.stdout.write("device\n")
    elif arguments[0] == "push":
        shutil.copy(arguments[1], on_device(arguments[2]))
    elif arguments[0] == "shell":
        shell(arguments[1])


main()
