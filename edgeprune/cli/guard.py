"""The parent of a command that needs TensorFlow, which no crash takes down without a word.

TensorFlow's converter and the runtimes are native code, which can end their process without a word.
The parent imports neither TensorFlow nor a command. It passes signals on and waits; if the child
dies, it says of what, and what was being done.
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
from typing import IO

import click

from edgeprune.cli import terminal
from edgeprune.cli.watched import STOPPING
from edgeprune.core.work_note import MARKER, read_note

_CRASHES = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"})
TIME_TO_NOTICE_S = 1.5
"""After a signal, the time in which native code has to return; then the child is killed."""
TIME_TO_END_S = 60.0
"""The time to end in order, such as to remove files from a board."""


def run_in_child(arguments: Sequence[str]) -> int:
    """Runs this very program again in a child that is watched; returns the exit code.

    Args:
      arguments: of the command line, without the program.
    """
    with (
        tempfile.TemporaryFile() as notes,
        tempfile.TemporaryDirectory(prefix="edgeprune-", ignore_cleanup_errors=True) as folder,
    ):
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
        if code >= 0:
            return code
        _kill_group(child)
        if received:
            return 128 + received[-1]
        return _say_death(arguments, -code, read_note(notes.fileno()))


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


def _say_death(arguments: Sequence[str], number: int, noted: str) -> int:
    """Says why a child died of a signal; returns the exit code of the command."""
    name = signal.Signals(number).name
    while_doing = f" while {noted}" if noted else ""
    command = " ".join([word for word in arguments if not word.startswith("-")][:2])
    if name in _CRASHES:
        message = (
            f"{command}: TensorFlow or a runtime crashed in native code ({name}){while_doing}. "
            "Nothing half-written is left. Set EDGEPRUNE_LOG=1 to see what it wrote last; if the "
            "model has an unusual layer, replace it or leave it out, or try another --numerics."
        )
        _fail(arguments, message)
        return 2
    if number == signal.SIGKILL:
        _fail(arguments, f"{command}: the work was killed{while_doing}, perhaps for its memory.")
    return 128 + number


def _fail(arguments: Sequence[str], message: str) -> None:
    if "--json" in arguments:
        click.echo(json.dumps({"error": {"kind": "crash", "message": message}}))
    terminal.fail(message)
