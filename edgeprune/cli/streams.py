"""Standard streams that may be closed, full or cut off at any time.

A lost standard output ends the program quietly, since nobody reads what it was asked for; a lost
standard error does not stop the work.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable

LOST_OUTPUT = 1
"""Exit code of a program that nobody reads."""


class _Stream(io.RawIOBase):
    """Bytes to a descriptor; from the first that cannot be written on, all are dropped."""

    def __init__(self, descriptor: int, *, needed: bool) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._needed = needed
        self._lost = False
        self._console: io.RawIOBase | None = None
        if sys.platform == "win32" and os.isatty(descriptor):
            # A Windows console takes its own encoding as bytes, and any character only this way.
            self._console = os.fdopen(descriptor, "wb", 0, closefd=False)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person reads."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """True, also where nothing arrives."""
        return True

    def write(self, content: object) -> int:
        """Writes some of the bytes, and says how many.

        Raises:
          SystemExit: they cannot be written, and the stream is one that is needed.
        """
        view = memoryview(content)  # type: ignore[arg-type]
        try:
            return len(view) if self._lost else self._write(view)
        except OSError:
            self._lost = True
            if self._needed:
                sys.exit(LOST_OUTPUT)
            return len(view)

    def _write(self, view: memoryview) -> int:
        if self._console is not None:
            return self._console.write(view) or 0
        while True:
            try:
                return os.write(self._descriptor, view)
            except BlockingIOError:  # whoever reads made it so, and is slower than this
                select.select([], [self._descriptor], [])


def open_streams() -> None:
    """Puts streams that stand every loss in place of Python's own.

    Closed descriptors are opened, so that no output file gets the number of one and then what
    libraries print. Standard error goes on to a descriptor of its own, since 2 is silenced later.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # For output this one cannot be written to, which is found out when something is.
            os.open(os.devnull, mode)
    sys.stdout = _text(1, sys.stdout, needed=True)
    sys.stderr = _text(os.dup(2), sys.stderr, needed=False)


def _text(descriptor: int, before: object, *, needed: bool) -> io.TextIOWrapper:
    """A text stream in the encoding of the one before, that writes any character."""
    stream = _Stream(descriptor, needed=needed)
    return io.TextIOWrapper(
        io.BufferedWriter(stream),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=stream.isatty() or not needed,
    )


def flushed(work: Callable[[], object]) -> None:
    """Does work and writes what is still held back, also when that ends the program.

    Raises:
      SystemExit: as the work does, or with `LOST_OUTPUT`.
    """
    try:
        work()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
