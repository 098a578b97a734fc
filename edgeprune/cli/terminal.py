"""What people see on a terminal: messages, progress, tables, and silence from libraries below.

Functions import rich when they write something, since help needs none of it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from edgeprune.core.grid import visible

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.core.grid import Grid, Printable

LOG_VARIABLE = "EDGEPRUNE_LOG"
HELP_PAGE = "docs/troubleshooting.md"
"""The page with a heading for every kind of error."""
NARROWEST = 100
"""Columns to write for when the output is not a terminal."""
SECONDS_BETWEEN_LINES = 30.0
"""Between two reports of long work, where they are lines of a log."""
_WIDEST_BAR = 40
_LEFT_FROM = 60
"""Terminal columns from which on a bar has the time that is left beside it."""
_BESIDE_BAR = 24
"""Terminal columns of a spinner, two times, a word and the spaces between them."""
_BESIDE_SHORT_BAR = 11
"""The same without the time that is left."""
_DOTS = "..."
_LEAST_WIDTH = 6
"""Terminal columns that every column of a table gets, however narrow the terminal."""
_BORDER = " │ "
"""What stands between the columns of a table."""


def silence_libraries() -> None:
    """Sends what TensorFlow writes past Python to nowhere, unless EDGEPRUNE_LOG is set.

    TensorFlow's C++ side writes dozens of lines to file descriptor 2. That descriptor is pointed at
    the null device; Python's own error stream goes to a copy of the real one (`open_streams`).
    """
    if os.environ.get(LOG_VARIABLE):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _console(*, error: bool = False) -> Console:
    """A console whose size is that of its terminal, or what COLUMNS says in decimal digits."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"COLUMNS", "LINES"} or re.fullmatch(r"[1-9][0-9]{0,3}", value)
    }
    width = None
    if not stream.isatty():
        width = max(NARROWEST, int(environment.get("COLUMNS", "140")))
    return Console(file=stream, width=width, highlight=False, soft_wrap=False, _environ=environment)


def printable(text: str, encoding: str | None) -> str:
    """Text as a stream of this encoding shows it.

    Characters that do not print, such as those that steer a terminal, are shown as Python escapes,
    other than newlines; so are those that the encoding lacks, but for some that have a like.
    """
    shown, coding = visible(text), encoding or "ascii"
    try:
        shown.encode(coding)
    except UnicodeEncodeError:
        return shown.translate(_LIKE).encode(coding, "backslashreplace").decode(coding)
    return shown


_LIKE = {ord("…"): "...", ord("→"): "->", ord("°"): "deg "}
"""What edgeprune itself writes beyond ASCII, and what an ASCII terminal gets."""


def show(line: str) -> None:
    """Writes a line to standard output."""
    click.echo(printable(line, sys.stdout.encoding))


def say(message: str, style: str = "") -> None:
    """Writes a sentence to standard error."""
    from rich.text import Text

    console = _console(error=True)
    console.print(Text(printable(message, console.encoding), style=style), soft_wrap=True)


def warn(messages: Iterable[str]) -> None:
    """Writes warnings to standard error."""
    for message in messages:
        say(f"Warning: {message}", "yellow")


def fail(message: str) -> None:
    """Writes an error to standard error."""
    say(f"Error: {message}", "red")


def point_to_help(kind: str) -> None:
    """Says on standard error where errors of a kind are explained."""
    say(f"See {HELP_PAGE}#{kind.lower()}", "dim")


@contextlib.contextmanager
def progress_bar() -> Iterator[Any]:
    """A bar on standard error; yields a function that takes (what, done, total)."""
    with progress_bars() as tell:
        tell("", "starting", 0, None)
        yield functools.partial(tell, "")


@contextlib.contextmanager
def progress_bars() -> Iterator[Any]:
    """A bar for everything that goes on at once; yields a function (who, what, done, total).

    Where standard error is no terminal, it writes a line now and then in place of the bars.
    """
    from rich import progress

    console = _console(error=True)
    if not console.is_terminal:
        yield progress_lines(say)
        return
    plain = not console.encoding.startswith("utf")
    width = console.width
    bar_width = min(_WIDEST_BAR, width // 4)
    left = (progress.TextColumn("left"), progress.TimeRemainingColumn())
    room = width - bar_width - (_BESIDE_BAR if width >= _LEFT_FROM else _BESIDE_SHORT_BAR)
    with progress.Progress(
        progress.SpinnerColumn("line" if plain else "dots"),
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width),
        progress.TimeElapsedColumn(),
        *(left if width >= _LEFT_FROM else ()),
        console=console,
        transient=True,
    ) as bar:
        tasks: dict[str, progress.TaskID] = {}

        def tell(who: str, what: str, done: int, total: int | None) -> None:
            shown = shorten_middle(printable(what, console.encoding), room)
            if who not in tasks:
                tasks[who] = bar.add_task(shown, total=None)
            bar.update(tasks[who], description=shown, completed=done, total=total)

        yield tell


def progress_lines(
    write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> Callable[[str, str, int, int | None], None]:
    """Reports of work as lines of a log, so that nobody takes long work for a stuck one.

    Args:
      write: takes a line.
      clock: gives seconds; there are `SECONDS_BETWEEN_LINES` between lines at least.
    """
    last = clock()

    def tell(_: str, what: str, done: int, total: int | None) -> None:
        nonlocal last
        if clock() - last < SECONDS_BETWEEN_LINES:
            return
        last = clock()
        write(f"{what} ({done} of {total})" if total is not None and total > 1 else what)

    return tell


def shorten_middle(text: str, width: int) -> str:
    """Text in at most so many characters, dots in the place of its middle: names end tellingly."""
    if len(text) <= width:
        return text
    kept = max(width - len(_DOTS), 0)
    behind = kept // 2
    return (text[: kept - behind] + _DOTS + text[len(text) - behind :])[: max(width, 0)]


def show_grids(value: Printable) -> None:
    """Writes what a value prints to standard output, without its notes."""
    for grid in value.grids():
        show_grid(grid)


def show_grid(grid: Grid) -> None:
    """Writes a table to standard output, without its notes.

    Where a terminal is too narrow for words that are never broken, lines are wider than it.
    """
    from rich.table import Table
    from rich.text import Text

    console = _console()

    def text(content: object) -> Text:
        return Text(printable(str(content), console.encoding))

    title = text(grid.title) if grid.title else None
    table = Table(title=title, title_justify="left", header_style="bold", pad_edge=False)
    least = len(_BORDER)
    for column, *cells in zip(grid.columns, *grid.rows, strict=True):
        texts = [str(cell) for cell in (column.heading, *cells)]
        words = [word for each in texts for word in each.split()]
        width = max(map(len, words), default=0) if column.whole else _LEAST_WIDTH
        least += width + len(_BORDER)
        table.add_column(
            text(column.heading),
            justify="right" if column.right else "left",
            overflow="fold",
            min_width=width,
            # Else rich takes from this column first, gives back, and crops the table's last one.
            no_wrap=column.whole and all(len(each.split()) < 2 for each in texts),
        )
    for row in grid.rows:
        table.add_row(*map(text, row))
    console.width = max(console.width, least)
    console.print(table)
