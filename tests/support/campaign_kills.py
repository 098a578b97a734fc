"""Commands that are killed: what they write is there whole or not at all, and nothing lives on.

A case is one of the commands that write, on a small model, with or without an older file at its
output. It gets SIGKILL or SIGTERM at a random share of the time that it takes, or within
milliseconds of its first temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.errors import EdgepruneError
from edgeprune.core.plan import read_plan
from edgeprune.tflite.format.file import read
from edgeprune.tflite.store_sparsely import encode_file
from tests.support.campaign_outcome import LONGEST_S, Outcome
from tests.support.tflite_builder import dense_net, prune
from tests.support.tflite_fuzz import RULES

assert sys.platform == "linux"

MARK = "EDGEPRUNE_CAMPAIGN"
OLD = b"an older file"
TIME_TO_END_S = LONGEST_S
_MODELS = """
import sys, keras, numpy as np
from keras import layers
keras.utils.set_random_seed(0)
model = keras.Sequential([
    keras.Input((16, 16, 3)), layers.Conv2D(16, 3, activation="relu"), layers.Conv2D(32, 1),
    layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax"),
])
model.save(sys.argv[1])
np.savez(sys.argv[2], x=np.random.default_rng(0).standard_normal((64, 16, 16, 3)).astype("float32"))
"""


@dataclass(frozen=True)
class Command:
    """A command line without its output, and the ending of that output's name."""

    arguments: tuple[str, ...]
    ending: str


def commands(folder: Path, *, keras: bool = True) -> tuple[Command, ...]:
    """Every command that writes, on files that are made here; `keras` asks for those of Keras."""
    rng = np.random.default_rng(0)
    weights = prune(rng.standard_normal((2048, 1024)).astype(np.float32), 0.95, (1, 4))
    dense = dense_net(folder / "dense.tflite", weights)
    sparse = folder / "sparse.tflite"
    encode_file(dense, RULES, sparse)
    device = ("--device", "xnnpack-x86")
    files = (
        Command(("encode", str(dense), *device), ".tflite"),
        Command(("densify", str(sparse)), ".tflite"),
    )
    if not keras:
        return files
    model, data = folder / "model.keras", folder / "data.npz"
    subprocess.run([sys.executable, "-c", _MODELS, str(model), str(data)], check=True)
    return (
        *files,
        Command(("export", str(model), *device), ".tflite"),
        Command(("prune", str(model), *device, "--data", str(data)), ".keras"),
        Command(("plan", str(model), *device), ".json"),
    )


def cases(
    folder: Path, seed: int, numbers: Sequence[int], *, keras: bool = True
) -> Iterator[Outcome]:
    """Runs cases one behind the other; yields how each ended."""
    known = commands(folder, keras=keras)
    seconds: dict[Command, float] = {}
    for number in numbers:
        command = known[number % len(known)]
        if command not in seconds:
            seconds[command] = _whole_run(command, folder)
        yield _kill(command, seconds[command], folder / f"case{number}", seed, number)


def start(command: Command, output: Path, marker: str) -> subprocess.Popen[bytes]:
    """Starts a command, with temporary files in `tmp` beside the folder of its output."""
    temporary = output.parent.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "edgeprune", *command.arguments, "-o", str(output)],
        env={**os.environ, MARK: marker, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=(output.parent.parent / "errors").open("wb"),
    )


def _whole_run(command: Command, folder: Path) -> float:
    """The seconds of a run that nobody kills; its output has to be whole."""
    place = folder / f"whole-{command.arguments[0]}" / "out"
    place.mkdir(parents=True)
    begin = time.monotonic()
    process = start(command, place / f"new{command.ending}", "whole")
    if process.wait() or not whole(place / f"new{command.ending}"):
        raise RuntimeError(f"{command}: {(place.parent / 'errors').read_text()}")
    return time.monotonic() - begin


def _kill(command: Command, seconds: float, folder: Path, seed: int, number: int) -> Outcome:
    rng = random.Random(seed * 1_000_003 + number)  # noqa: S311
    output = folder / "out" / f"new{command.ending}"
    output.parent.mkdir(parents=True)
    if rng.random() < 0.5:
        output.write_bytes(OLD)
    sent = rng.choice((signal.SIGKILL, signal.SIGTERM))
    marker = f"{os.getpid()}-{seed}-{number}"
    process = start(command, output, marker)
    _wait_for_moment(process, output.parent, rng, seconds)
    process.send_signal(sent)
    begin = time.monotonic()
    faults = []
    left = survivors(marker)
    if left:
        faults.append(("orphans", f"{command.arguments[0]}, {sent.name}: {left}"))
        end_all(left)
    process.wait()
    took = time.monotonic() - begin
    notes = [sent.name, command.arguments[0]]
    if took > LONGEST_S:
        faults.append(("hangs", f"{command.arguments[0]}: {took:.1f} s after {sent.name}"))
    for fault, note in _remains(folder, output, sent):
        if fault:
            faults.append(("torn files", f"{command.arguments[0]}, {sent.name}: {fault}"))
        notes.append(note)
    if b"Traceback" in (folder / "errors").read_bytes():
        faults.append(("tracebacks", (folder / "errors").read_text()[-900:]))
    return Outcome(number, tuple(faults), tuple(notes))


def _wait_for_moment(
    process: subprocess.Popen[bytes], place: Path, rng: random.Random, seconds: float
) -> None:
    moment, delay = rng.random() * seconds, rng.random() * 0.02
    while_writing = rng.random() < 0.5
    begin = time.monotonic()
    while process.poll() is None:
        if while_writing and any(place.glob(".edgeprune-*")):
            time.sleep(delay)
            return
        if not while_writing and time.monotonic() - begin > moment:
            return
        time.sleep(0.0005)


def _remains(folder: Path, output: Path, sent: signal.Signals) -> Iterator[tuple[str, str]]:
    """Looks at what is left; yields what is wrong with it, or nothing, and what it is."""
    if not output.exists():
        yield "", "absent"
    elif output.read_bytes() == OLD:
        yield "", "older file"
    else:
        yield ("" if whole(output) else f"{output.name} is torn"), "new file"
    beside = [*output.parent.glob(".*"), *(folder / "tmp").iterdir()]
    if beside and sent is signal.SIGTERM:
        yield f"left {[path.name for path in beside]}", "left after SIGTERM"
    elif beside:
        yield "", "left after SIGKILL"


def whole(path: Path) -> bool:
    """Whether a file reads as what its name says."""
    try:
        if path.suffix == ".tflite":
            return bool(read(path).operators)
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None and "config.json" in archive.namelist()
        return bool(read_plan(path).layers)
    except (OSError, EdgepruneError, zipfile.BadZipFile):
        return False


def marked(marker: str) -> list[int]:
    """The processes with a marker in their environment."""
    wanted = f"{MARK}={marker}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ended = (path / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            if not ended and wanted in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found


def survivors(marker: str) -> Mapping[int, Any]:
    """What still runs when the time to end is over: command lines by process."""
    end = time.monotonic() + TIME_TO_END_S
    while (found := marked(marker)) and time.monotonic() < end:
        time.sleep(0.05)
    lines = {}
    for process in found:
        with contextlib.suppress(OSError):
            lines[process] = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")[-200:]
    return lines


def end_all(processes: Mapping[int, Any]) -> None:
    """Kills the processes that `survivors` found."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
