"""Child processes that run the worker: what comes back, or why nothing does."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import CheckError
from edgeprune.tflite.format.file import Graph
from edgeprune.tflite.format.signature import input_ports, output_ports
from edgeprune.tflite.streams import is_fresh

WORKER = Path(__file__).with_name("worker.py")
DEFAULT_TIME_LIMIT_S = 300.0
MAX_MESSAGE = 400
_WINDOWS_CRASHES = 0xC0000000
"""Exit codes of programs that Windows ended begin here, such as 0xC0000005, an access violation."""


class WorkerError(CheckError):
    """A runtime refused a model, crashed or did not end in time."""


@dataclass(frozen=True)
class Reply:
    """What the worker reported, and the outputs of a run: one array `[n, ...]` per output."""

    facts: dict[str, Any]
    outputs: tuple[Array, ...] = ()


@dataclass(frozen=True)
class Launcher:
    """The Python that runs the worker: how it is started, and in which environment."""

    command: tuple[str, ...] = (sys.executable,)
    environment: Mapping[str, str] = field(default_factory=dict)
    inherits: bool = True
    """Whether it also gets the present environment."""

    def variables(self) -> dict[str, str]:
        """Its whole environment."""
        return {**(os.environ if self.inherits else {}), **self.environment}


THIS_PYTHON = Launcher()
"""The Python that edgeprune itself runs in."""


def worker_model(graph: Graph) -> dict[str, object]:
    """How a job names a file: its path, its tensors in the order of the signature, its state."""
    return {
        "path": str(graph.path.absolute()),
        "input_tensors": [port.tensor for port in input_ports(graph)],
        "output_tensors": [port.tensor for port in output_ports(graph)],
        "fresh": is_fresh(graph),
    }


def run_worker(
    job: dict[str, Any],
    inputs: list[list[Array]],
    *,
    launcher: Launcher = THIS_PYTHON,
    script: Path = WORKER,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> Reply:
    """Starts the worker in a child process and waits for it.

    Args:
      job: as worker.py describes it, without the paths of inputs, outputs and result.
      inputs: for every model, one array `[n, ...]` of real values per input.
      launcher: of the Python that has the runtime.
      script: the worker, where it is another one than worker.py.
      time_limit_s: seconds after which the child is killed.

    Raises:
      WorkerError: the runtime's error, the signal it died from, or the time limit.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        folder = Path(name)
        models = [
            {**model, "inputs": _save(folder / f"inputs{index}.npz", arrays)}
            for index, (model, arrays) in enumerate(zip(job["models"], inputs, strict=True))
        ]
        complete = {
            **job,
            "models": models,
            "outputs": str(folder / "outputs.npz"),
            "result": str(folder / "result.json"),
        }
        job_file = folder / "job.json"
        job_file.write_text(json.dumps(complete), encoding="utf-8")
        _wait(launcher, [str(script), str(job_file)], time_limit_s)
        return _read_reply(folder)


def _save(path: Path, arrays: list[Array]) -> str:
    path.write_bytes(input_archive(arrays))
    return str(path)


def _wait(launcher: Launcher, arguments: list[str], time_limit_s: float) -> None:
    run_child([*launcher.command, *arguments], time_limit_s, environment=launcher.variables())


def run_child(
    command: list[str], time_limit_s: float, *, environment: Mapping[str, str] | None = None
) -> str:
    """Runs a program and returns what it printed.

    Args:
      command: the program and its arguments.
      time_limit_s: seconds after which the child is killed.
      environment: its whole environment; the present one if None.

    Raises:
      WorkerError: its error, the signal it died from, or the time limit.
    """
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=time_limit_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"did not end within its time limit of {time_limit_s:g} s") from error
    require_success(done.returncode, done.stderr)
    return done.stdout


def require_success(code: int, errors: str) -> None:
    """Checks how the worker ended.

    Args:
      code: as `subprocess` gives it: minus the signal's number if it was killed by one; on Windows,
        a status.
      errors: what it wrote to standard error.

    Raises:
      WorkerError: the runtime's own message, or the signal it died from.
    """
    if code < 0:
        known = {number.value: number.name for number in signal.Signals}
        raise WorkerError(f"it crashed with {known.get(-code, f'signal {-code}')}")
    if code >= _WINDOWS_CRASHES:
        raise WorkerError(f"it crashed with {code:#x}")
    if code:
        raise WorkerError(last_error(errors) or f"exit code {code}")


def last_error(text: str) -> str:
    """The message of the exception that ended a Python program, which may have several lines."""
    lines = [line.strip() for line in text.splitlines()]
    begins = [i for i, line in enumerate(lines) if re.match(r"[\w.]+(Error|Exception)\b", line)]
    message = lines[begins[-1] :] if begins else lines[-1:]
    return " ".join(line for line in message if line)[:MAX_MESSAGE]


def _read_reply(folder: Path) -> Reply:
    saved = folder / "outputs.npz"
    return read_reply(
        (folder / "result.json").read_bytes(), saved.read_bytes() if saved.exists() else b""
    )


def read_reply(result: bytes, outputs: bytes) -> Reply:
    """What the worker's two files say; the second is empty if there were no outputs."""
    facts = json.loads(result)
    if not outputs:
        return Reply(facts)
    with np.load(io.BytesIO(outputs)) as archive:
        return Reply(facts, tuple(archive[f"out{index}"] for index in range(len(archive.files))))


def input_archive(arrays: list[Array]) -> bytes:
    """Arrays `[n, ...]`, one per input, as the worker reads them."""
    archive = io.BytesIO()
    np.savez(archive, **{f"in{index}": array for index, array in enumerate(arrays)})
    return archive.getvalue()
