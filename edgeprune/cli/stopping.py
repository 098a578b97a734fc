"""How this process ends on SIGTERM and Ctrl-C: in order, so that nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from edgeprune.cli import terminal
from edgeprune.core.work_note import note, parent_and_notes

if TYPE_CHECKING:
    from edgeprune.pruning.training.settings import Training

STOPPING = "stopping"
"""The note of a child that received a signal and ends in order."""
_BEFORE_NEXT_TRY_S = 0.02


class Stopped(SystemExit):
    """A signal arrived; ends the process with the code by which shells report it."""

    code: int


def end_in_order_on_signals() -> None:
    """Ends this process in order on SIGTERM, and on SIGINT unless whoever started it ignores that.

    Python drops what a signal's handler raises inside a finalizer or a callback from C: the signal
    is then sent again, and arrives a moment later somewhere else.
    """
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    sys.unraisablehook = _hear_dropped


def leave(stopped: Stopped) -> NoReturn:
    """Ends a process that was stopped, once all its blocks are left and its streams are written.

    A watched child skips Python's own finalization, in which TensorFlow takes a second; the parent
    removes its temporary folder.
    """
    if parent_and_notes() is not None:
        os._exit(stopped.code)
    raise stopped


@contextlib.contextmanager
def resumable(training: Training | None) -> Iterator[None]:
    """Says on standard error, where a training is stopped, that its epochs are kept."""
    checkpoint = training.checkpoint if training is not None else None
    try:
        yield
    except Stopped:
        if checkpoint is not None and checkpoint.is_dir() and any(checkpoint.iterdir()):
            terminal.say(
                f"Stopped. Finished epochs are kept in {checkpoint}: the same command with "
                "--resume goes on with them."
            )
        raise


def _stop(number: int, _: FrameType | None) -> NoReturn:
    note(STOPPING)
    raise Stopped(128 + number)


def _hear_dropped(dropped: sys.UnraisableHookArgs) -> None:
    """Sends the signal again whose exception was dropped; anything else is told as always."""
    if isinstance(dropped.exc_value, Stopped):
        _send_again(dropped.exc_value.code - 128)
    else:
        sys.__unraisablehook__(dropped)


def _send_again(number: int) -> None:
    with contextlib.suppress(RuntimeError):  # no thread starts in an interpreter that is ending
        threading.Timer(_BEFORE_NEXT_TRY_S, os.kill, (os.getpid(), number)).start()
