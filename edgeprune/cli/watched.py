"""Which commands run in a child that is watched (see `guard`), and how that child ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from edgeprune.core.work_note import note, parent_and_notes

_WITH_TENSORFLOW = frozenset({"plan", "prune", "export", "compare", "demo"})
_KERAS_FILES = (".keras", ".h5")
STOPPING = "stopping"
"""The note of a child that received a signal and ends in order."""
_PR_SET_PDEATHSIG = 1


def needs_child(arguments: Sequence[str]) -> bool:
    """Whether a command line imports TensorFlow, and nobody watches this process yet."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    if os.name != "posix" or not words or {"-h", "--help", "--version"} & set(arguments):
        return False
    keras = words[0] == "validate" and any(
        word.endswith(_KERAS_FILES) or word.startswith("--preprocess") for word in arguments
    )
    ours = tuple(sys.orig_argv[len(sys.orig_argv) - len(arguments) :]) == tuple(arguments)
    return ours and (keras or words[0] in _WITH_TENSORFLOW) and parent_and_notes() is None


def watch_parent() -> None:
    """In a watched child: notes when a signal arrives, and ends when the parent is gone."""
    watched = parent_and_notes()
    if watched is None:
        return
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != watched[0]:
            sys.exit(128 + signal.SIGTERM)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def stop(number: int, _: object) -> NoReturn:
    """Ends in order on SIGTERM, so that nothing stays behind here or on a device."""
    note(STOPPING)
    sys.exit(128 + number)


def _interrupt(number: int, frame: Any) -> None:
    note(STOPPING)
    signal.default_int_handler(number, frame)
