"""Commands that are killed: what they write is there whole or not at all, and nothing lives on.

A case is one of the commands that write or measure, on a small model, with or without an older file
at its output. It gets SIGKILL, SIGTERM or SIGINT at a random share of the time that it takes, or
within milliseconds of its first temporary folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.errors import EdgepruneError
from edgeprune.tflite.format.file import read
from edgeprune.tflite.store_sparsely import encode_file
from tests.support.campaign_outcome import LONGEST_S, Outcome
from tests.support.tflite_builder import dense_net, prune
from tests.support.tflite_fuzz import RULES

assert sys.platform == "linux"

MARK = "EDGEPRUNE_CAMPAIGN"
OLD = b"an older file"
TIME_TO_END_S = LONGEST_S
PROMPT_S = 2.0
"""What a command may take to end in order; more is counted, since a busy machine does it too."""
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
    """A command line without its output, and the ending of that output's name.

    The ending is None where nothing is written, and empty where a folder is.
    """

    arguments: tuple[str, ...]
    ending: str | None = None

    def with_output(self, folder: Path) -> tuple[str, ...]:
        """The command line with its output in a folder."""
        written = () if self.ending is None else ("-o", str(folder / f"new{self.ending}"))
        return (*self.arguments, *written)


def commands(folder: Path, *, keras: bool = True) -> tuple[Command, ...]:
    """The commands, on files that are made here; `keras` asks for those that need Keras too."""
    rng = np.random.default_rng(0)
    weights = prune(rng.standard_normal((2048, 1024)).astype(np.float32), 0.95, (1, 4))
    dense = dense_net(folder / "dense.tflite", weights)
    sparse = folder / "sparse.tflite"
    encode_file(dense, RULES, sparse)
    device = ("--device", "xnnpack-x86")
    files = (
        Command(("encode", str(dense), *device), ".tflite"),
        Command(("densify", str(sparse)), ".tflite"),
        Command(("measure", str(dense), str(sparse), *device)),
        Command(("validate", str(sparse), *device, "--reference", str(dense))),
    )
    if not keras:
        return files
    model, data = folder / "model.keras", folder / "data.npz"
    subprocess.run([sys.executable, "-c", _MODELS, str(model), str(data)], check=True)
    return (
        *files,
        Command(("export", str(model), *device), ".tflite"),
        Command(("prune", str(model), *device, "--data", str(data)), ".keras"),
        Command(("prune", str(model), *device, "--data", str(data), "--epochs", "9"), ".keras"),
        Command(("plan", str(model), *device), ".json"),
        Command(("compare", str(model), "--devices", "xnnpack-x86", "--data", str(data)), ""),
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


def start(command: Command, place: Path, marker: str) -> subprocess.Popen[bytes]:
    """Starts a command that writes to `out` in a folder, with temporary files in `tmp` there."""
    (place / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "edgeprune", *command.with_output(place / "out")],
        env={**os.environ, MARK: marker, "TMPDIR": str(place / "tmp")},
        stdout=subprocess.DEVNULL,
        stderr=(place / "errors").open("wb"),
        preexec_fn=_hear_interrupts,  # noqa: PLW1509  this process has one thread
    )


def _hear_interrupts() -> None:
    """Undoes what a shell does to programs that it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _whole_run(command: Command, folder: Path) -> float:
    """The seconds of a run that nobody kills; what it writes has to be whole."""
    place = Path(tempfile.mkdtemp(prefix="whole-", dir=folder))
    (place / "out").mkdir()
    begin = time.monotonic()
    process = start(command, place, "whole")
    if process.wait() or not all(map(whole, (place / "out").iterdir())):
        raise RuntimeError(f"{command}: {(place / 'errors').read_text()}")
    return time.monotonic() - begin


def _kill(command: Command, seconds: float, folder: Path, seed: int, number: int) -> Outcome:
    rng = random.Random(seed * 1_000_003 + number)  # noqa: S311
    output = folder / "out" / f"new{command.ending}"
    output.parent.mkdir(parents=True)
    if command.ending and rng.random() < 0.5:
        output.write_bytes(OLD)
    sent = rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
    marker = f"{os.getpid()}-{seed}-{number}"
    process = start(command, folder, marker)
    _wait_for_moment(process, output.parent, rng, seconds)
    process.send_signal(sent)
    faults, took = _ending(process, command, sent, marker)
    notes = [
        sent.name,
        command.arguments[0],
        *([f"over 2 s ({command.arguments[0]})"] if took > PROMPT_S else []),
    ]
    for fault, note in _remains(folder, output, sent):
        if fault:
            faults.append(("torn files", f"{command.arguments[0]}, {sent.name}: {fault}"))
        notes.append(note)
    if b"Traceback" in (folder / "errors").read_bytes():
        faults.append(("tracebacks", (folder / "errors").read_text()[-900:]))
    return Outcome(number, tuple(faults), tuple(notes))


def _ending(
    process: subprocess.Popen[bytes], command: Command, sent: signal.Signals, marker: str
) -> tuple[list[tuple[str, str]], float]:
    """Waits for a command and all that it started; returns the faults, and the seconds it took."""
    begin = time.monotonic()
    faults = []
    left = survivors(marker)
    if left:
        faults.append(("orphans", f"{command.arguments[0]}, {sent.name}: {left}"))
        end_all(left)
    process.wait()
    took = time.monotonic() - begin
    if took > LONGEST_S:
        faults.append(("hangs", f"{command.arguments[0]}: {took:.1f} s after {sent.name}"))
    return faults, took


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
    elif output.is_file() and output.read_bytes() == OLD:
        yield "", "older file"
    else:
        yield ("" if whole(output) else f"{output.name} is torn"), "new file"
    beside = [*output.parent.glob(".*"), *(folder / "tmp").iterdir()]
    if beside and sent is signal.SIGKILL:
        yield "", "left after SIGKILL"
    elif beside:
        yield f"left {[path.name for path in beside]}", f"left after {sent.name}"


def whole(path: Path) -> bool:
    """Whether a file reads as what its name says, or every file in a folder does.

    What a folder hides is what a later run goes on from, and judges for itself.
    """
    if path.is_dir():
        return all(whole(inner) for inner in path.iterdir() if not inner.name.startswith("."))
    try:
        if path.suffix == ".tflite":
            return bool(read(path).operators)
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None and "config.json" in archive.namelist()
        if path.suffix == ".json":
            return bool(json.loads(path.read_bytes()))
        return path.stat().st_size > 0
    except (OSError, ValueError, EdgepruneError, zipfile.BadZipFile):
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
