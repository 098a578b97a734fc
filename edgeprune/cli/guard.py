"""The parent of a command that needs TensorFlow, which no crash takes down without a word.

TensorFlow's converter and the runtimes are native code, which can end their process without a word.
The parent imports neither TensorFlow nor a command. It passes signals on and waits; if the child
dies, it says of what, and what was being done. It works by process groups, which Windows does not
have: there, commands run unwatched.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import click

from edgeprune.cli import terminal
from edgeprune.cli.stopping import STOPPING
from edgeprune.core.work_note import CRASH, MARKER, UNDER_WAY, read_note

assert sys.platform != "win32"  # noqa: S101  for the type checker: nothing imports it there

_KIND = "crash"
_CRASHES = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"})
TIME_TO_NOTICE_S = 1.5
"""After a signal, the time in which native code has to return; then the child is killed."""
TIME_TO_END_S = 60.0
"""The time to end in order, such as to remove files from a board."""


def run_in_child(arguments: Sequence[str]) -> int:
    """Runs this very program again in a child that is watched; returns the exit code.

    A child that crashed in one of several parts is started again, and goes on with the next part.

    Args:
      arguments: of the command line, without the program.
    """
    with (
        tempfile.TemporaryFile() as notes,
        tempfile.TemporaryDirectory(prefix="edgeprune-", ignore_cleanup_errors=True) as name,
    ):
        while True:
            code, received = _run_once(notes, name)
            if code >= 0:
                return code
            if received:
                return 128 + received[-1]
            message = _death(arguments, -code, read_note(notes.fileno()))
            if message is None:
                return 128 - code
            if not _goes_on(Path(name), message):
                _fail(arguments, message)
                return 2 if signal.Signals(-code).name in _CRASHES else 128 - code


def _run_once(notes: IO[bytes], folder: str) -> tuple[int, list[int]]:
    """Runs the child to its end; returns its code as `subprocess` does, and signals received."""
    place = {MARKER: f"{os.getpid()}:{notes.fileno()}", "TMPDIR": folder}
    child = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        env={**os.environ, **place},
        pass_fds=(notes.fileno(),),
        # A group of its own can be ended with all that it started.
        preexec_fn=os.setpgrp,  # noqa: PLW1509  this process has one thread
    )
    with _passing_signals_on(child, notes) as received:
        code = child.wait()
    if code < 0:
        _kill_group(child)
    return code, received


def _goes_on(folder: Path, message: str) -> bool:
    """Whether the child worked on one of several parts, whose crash is left there for the next."""
    under_way = folder / UNDER_WAY
    if not under_way.exists():
        return False
    crash = folder / f"{CRASH}{under_way.read_text(encoding='utf-8')}"
    under_way.unlink()
    crash.write_text(message, encoding="utf-8")
    return True


@contextlib.contextmanager
def _passing_signals_on(child: subprocess.Popen[bytes], notes: IO[bytes]) -> Iterator[list[int]]:
    """Hands SIGINT and SIGTERM to the child; yields the signals that came, in order."""
    received: list[int] = []

    def pass_on(number: int, _: object) -> None:
        received.append(number)
        with contextlib.suppress(ProcessLookupError):
            # As a terminal does, Ctrl-C reaches what the child started too.
            (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)
        threading.Thread(target=_require_end, args=(child, notes), daemon=True).start()

    numbers = [signal.SIGINT, signal.SIGTERM]
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _require_end(child: subprocess.Popen[bytes], notes: IO[bytes]) -> None:
    """Kills a child that does not notice a signal, or does not end in order."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(TIME_TO_NOTICE_S)
        return
    if read_note(notes.fileno()) == STOPPING:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(TIME_TO_END_S)
            return
    _kill_group(child)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _death(arguments: Sequence[str], number: int, noted: str) -> str | None:
    """Why a child died of a signal, in words; None where there is nothing to say."""
    name = signal.Signals(number).name
    while_doing = f" while {noted}" if noted else ""
    command = " ".join([word for word in arguments if not word.startswith("-")][:2])
    if name in _CRASHES:
        return (
            f"{command}: TensorFlow or a runtime crashed in native code ({name}){while_doing}. "
            "Nothing half-written is left. Set EDGEPRUNE_LOG=1 to see what it wrote last; if the "
            "model has an unusual layer, replace it or leave it out, or try another --numerics."
        )
    if number == signal.SIGKILL:
        return f"{command}: the work was killed{while_doing}, perhaps for its memory."
    return None


def _fail(arguments: Sequence[str], message: str) -> None:
    if "--json" in arguments:
        click.echo(json.dumps({"error": {"kind": _KIND, "message": message}}))
    terminal.fail(message)
    terminal.point_to_help(_KIND)
