"""Which commands run in a child that is watched (see `guard`), and how that outlives no parent."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from edgeprune.core.work_note import parent_and_notes

_WITH_TENSORFLOW = frozenset({"plan", "prune", "export", "compare", "demo", "routes", "search"})
_KERAS_FILES = (".keras", ".h5")
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
    """Ends a watched child when its parent is gone."""
    watched = parent_and_notes()
    if watched is None:
        return
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != watched[0]:
            sys.exit(128 + signal.SIGTERM)
