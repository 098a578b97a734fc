"""Runs the real edgetpu_compiler where it is installed: a child process in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from edgeprune.targets.edgetpu_model.compiler_log import CompilerError, CompilerLog, parse

COMPILER = "edgetpu_compiler"
_TIME_LIMIT_S = 300.0
"""The compiler itself gives up after 180 s."""


def find_compiler() -> str | None:
    """The path of edgetpu_compiler, None where it is not installed."""
    return shutil.which(COMPILER)


def run_compiler(program: str, model: Path, *, time_limit_s: float = _TIME_LIMIT_S) -> CompilerLog:
    """Compiles a model and returns what the compiler says of it; the compiled file is not kept.

    Raises:
      CompilerError: it refuses the model, crashes or does not end in time.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        folder = Path(name)
        text = _run([program, "-s", "-o", name, str(model.absolute())], folder, time_limit_s)
        logs = sorted(folder.glob("*.log"))
        if logs and "Operator" not in text:
            text += "\n" + logs[0].read_text(encoding="utf-8", errors="replace")
    try:
        return parse(text)
    except CompilerError as error:
        raise CompilerError(f"{model}: {error}") from error


def _run(command: list[str], folder: Path, time_limit_s: float) -> str:
    """Runs it in a session of its own, since it starts a child that would outlive it."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        text, _ = process.communicate(timeout=time_limit_s)
    except subprocess.TimeoutExpired as error:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise CompilerError(
            f"{command[-1]}: {COMPILER} did not end within its time limit of {time_limit_s:g} s"
        ) from error
    if process.returncode < 0:
        ended = signal.Signals(-process.returncode).name
        raise CompilerError(f"{command[-1]}: {COMPILER} crashed with {ended}")
    return text
