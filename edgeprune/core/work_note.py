"""What a command is doing, noted where the process that started it can read it after a crash.

On Windows nobody watches a command, and nothing is noted.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

MARKER = "EDGEPRUNE_CHILD_OF"
"""Environment variable of a watched child: its parent's process id, a colon, and the descriptor
of the open file that notes are written to."""
UNDER_WAY = "under-way"
"""File in the temporary folder of a watched child: the number of the part that it works on."""
CRASH = "crash-"
"""Begins the name of a file there, before the number of a part: the message of its crash."""
_LONGEST = 2000


def parent_and_notes() -> tuple[int, int] | None:
    """The process that watches this one and the descriptor for notes; None if nobody watches.

    A child of a watched process inherits the variable, but has another parent.
    """
    parent, _, notes = os.environ.get(MARKER, "").partition(":")
    if not (parent.isdecimal() and notes.isdecimal() and int(parent) == os.getppid()):
        return None
    return int(parent), int(notes)


def note(text: str) -> None:
    """Replaces the note; does nothing in a process that nobody watches."""
    watched = parent_and_notes()
    if watched is not None and sys.platform != "win32":
        os.ftruncate(watched[1], 0)
        os.pwrite(watched[1], text.encode(errors="replace")[:_LONGEST], 0)


def read_note(notes: int) -> str:
    """What was noted last."""
    noted = b""
    if sys.platform != "win32":
        noted = os.pread(notes, _LONGEST, 0)
    return noted.decode(errors="replace")


@contextlib.contextmanager
def working(on: str) -> Iterator[None]:
    """Notes what goes on inside a block, such as "Keras loaded model.keras", and that it ended."""
    note(on)
    try:
        yield
    finally:
        watched = parent_and_notes()
        if watched is not None and read_note(watched[1]) == on:
            note("")
