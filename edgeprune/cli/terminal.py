"""What people see on a terminal: messages, progress, tables, and silence from libraries below.

Functions import rich when they write something, since help needs none of it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.core.grid import Grid, Printable

LOG_VARIABLE = "EDGEPRUNE_LOG"
NARROWEST = 100
"""Columns to write for when the output is not a terminal."""


def silence_libraries() -> None:
    """Sends what TensorFlow writes past Python to nowhere, unless EDGEPRUNE_LOG is set.

    TensorFlow's C++ side writes dozens of lines to file descriptor 2. That descriptor is pointed at
    the null device, and Python's own error stream at a copy of the real one.
    """
    if os.environ.get(LOG_VARIABLE):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _console(*, error: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else max(NARROWEST, int(os.environ.get("COLUMNS", "140")))
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def say(message: str, style: str = "") -> None:
    """Writes a sentence to standard error."""
    from rich.text import Text

    _console(error=True).print(Text(message, style=style), soft_wrap=True)


def warn(messages: Iterable[str]) -> None:
    """Writes warnings to standard error."""
    for message in messages:
        say(f"Warning: {message}", "yellow")


def fail(message: str) -> None:
    """Writes an error to standard error."""
    say(f"Error: {message}", "red")


@contextlib.contextmanager
def progress_bar() -> Iterator[Any]:
    """A bar on standard error; yields a function that takes (what, done, total)."""
    with progress_bars() as tell:
        tell("", "starting", 0, None)
        yield functools.partial(tell, "")


@contextlib.contextmanager
def progress_bars() -> Iterator[Any]:
    """A bar for everything that goes on at once; yields a function (who, what, done, total)."""
    from rich import progress

    with progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=_console(error=True),
        transient=True,
    ) as bar:
        tasks: dict[str, progress.TaskID] = {}

        def tell(who: str, what: str, done: int, total: int | None) -> None:
            if who not in tasks:
                tasks[who] = bar.add_task(what, total=None)
            bar.update(tasks[who], description=what, completed=done, total=total)

        yield tell


def show_grids(value: Printable) -> None:
    """Writes what a value prints to standard output, without its notes."""
    for grid in value.grids():
        show_grid(grid)


def show_grid(grid: Grid) -> None:
    """Writes a table to standard output, without its notes."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=grid.title, title_justify="left", header_style="bold", pad_edge=False)
    for column in grid.columns:
        table.add_column(column.heading, justify="right" if column.right else "left")
    for row in grid.rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    _console().print(table)
