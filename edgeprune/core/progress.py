"""Progress reports of long operations, wherever they are shown."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the number of steps done and the total number of steps."""


def no_progress(what: str, done: int, total: int) -> None:
    """Reports nothing."""
    del what, done, total
