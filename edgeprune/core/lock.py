"""One process at a time: a lock that the system drops when its holder ends, however that ends."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from edgeprune.core.errors import OutputError

PAUSE_S = 0.2
"""Seconds between two looks at a lock that another process holds."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})
"""What file systems answer that have none, such as some network drives."""


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds a lock on a file, which is made if it is not there, while a block runs.

    Where the file system has no locks, the block runs without one.

    Args:
      path: the file; its folder must exist.
      waiting: told once if another process holds the lock, which is then waited for.

    Raises:
      OutputError: the file cannot be opened.
    """
    with _opened(path) as file:
        if not _try(file):
            waiting()
            while not _try(file):
                time.sleep(PAUSE_S)
        yield


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("ab")
    except OSError as error:
        raise OutputError(
            f"{path}: expected a file that can be written, to lock the folder with. Received: "
            f"{error.strerror or error}. Remove it, or name another output folder."
        ) from error


def _try(file: BinaryIO) -> bool:
    """Takes the lock if nobody holds it; closing the file gives it back."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True
