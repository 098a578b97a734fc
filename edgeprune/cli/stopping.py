"""How this process ends on SIGTERM and Ctrl-C: in order, so that nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from edgeprune.core.work_note import note

STOPPING = "stopping"
"""The note of a child that received a signal and ends in order."""
_BEFORE_NEXT_TRY_S = 0.02


class Terminated(SystemExit):
    """SIGTERM arrived; ends the process as a shell reports it."""

    code: int


def end_in_order_on_signals() -> None:
    """Ends this process in order on SIGTERM, and on SIGINT unless whoever started it ignores that.

    Python drops what a signal's handler raises inside a finalizer or a callback from C: the signal
    is then sent again, and arrives a moment later somewhere else.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _hear_dropped


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    note(STOPPING)
    raise Terminated(128 + number)


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    note(STOPPING)
    raise KeyboardInterrupt


def _hear_dropped(dropped: sys.UnraisableHookArgs) -> None:
    """Sends the signal again whose exception was dropped; anything else is told as always."""
    if isinstance(dropped.exc_value, Terminated):
        _send_again(signal.SIGTERM)
    elif isinstance(dropped.exc_value, KeyboardInterrupt):
        _send_again(signal.SIGINT)
    else:
        sys.__unraisablehook__(dropped)


def _send_again(number: signal.Signals) -> None:
    with contextlib.suppress(RuntimeError):  # no thread starts in an interpreter that is ending
        threading.Timer(_BEFORE_NEXT_TRY_S, os.kill, (os.getpid(), number)).start()
