"""Grids: how a value prints itself, as aligned text and as an HTML table.

A value builds grids from its own facts and inherits the rest from `Printable`; reports and the
command line show the same grids.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import compress, zip_longest
from typing import TypeAlias, TypeVar

WIDTH = 100
"""Terminal columns that text is written for."""
MAX_SHOWN_ROWS = 100
"""Rows of a grid that a value prints; more are counted in a note."""
MAX_CELL_LINES = 8
"""Lines that a cell may be wrapped into; a longer one ends with an ellipsis."""
_GAP = "  "
_BREAKABLE = 20
"""Terminal columns of a word from which on it may be broken before columns of numbers are."""
_NARROWEST = 2
"""Terminal columns that any character fits into."""
_CAPTION = "caption-side:top;text-align:left;font-weight:bold"


@dataclass(frozen=True)
class Column:
    """The heading of a column; numbers stand to the right and are the last to be wrapped."""

    heading: str
    right: bool = False
    whole: bool = False
    """Whether words are never broken, such as names that are typed again."""


@dataclass(frozen=True)
class Judgement:
    """A cell that says whether something is good; HTML shows it in a class `ok` or `bad`."""

    text: str
    good: bool

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Quantity:
    """A cell that shows a number; HTML has its value too, which pages sort by."""

    text: str
    value: float

    def __str__(self) -> str:
        return self.text


Cell: TypeAlias = str | Judgement | Quantity
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Grid:
    """A title, columns, rows of cells and notes below them.

    Newlines within a cell are kept; other characters that do not print, such as those that steer a
    terminal, are shown as Python escapes.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: every row needs {len(self.columns)} cells")

    def without(self, *headings: str) -> Grid:
        """The same without the columns of these headings."""
        return self._keep([c.heading not in headings for c in self.columns])

    def compact(self) -> Grid:
        """The same without columns whose cells are all empty or `-`; the first column stays."""
        if not self.rows:
            return self
        empty = ({str(cell) for cell in cells} <= {"", "-"} for cells in _transposed(self.rows))
        return self._keep([not (gone and place) for place, gone in enumerate(empty)])

    def _keep(self, kept: Sequence[bool]) -> Grid:
        return replace(
            self,
            columns=tuple(compress(self.columns, kept)),
            rows=tuple(tuple(compress(row, kept)) for row in self.rows),
        )

    def head(self, rows: int = MAX_SHOWN_ROWS) -> Grid:
        """The first rows, with a note of how many are not shown."""
        more = len(self.rows) - rows
        if more <= 0:
            return self
        note = f"{more} more rows are not shown; to_json() has them all."
        return replace(self, rows=self.rows[:rows], notes=(note, *self.notes))

    def to_text(self, width: int = WIDTH) -> str:
        """Aligned columns with a rule below the headings; no line ends with a space.

        Args:
          width: of a line, in terminal columns; prose is wrapped to keep to it, then names and
            numbers. A grid of more columns than fit is wider, as is one of whole words.
        """
        cells = [[visible(str(cell)) for cell in row] for row in self.rows]
        headings = [visible(column.heading) for column in self.columns]
        widths = self._widths(headings, cells, width)
        table = [
            *self._lines(headings, widths),
            _GAP.join("-" * w for w in widths),
            *(line for row in cells for line in self._lines(row, widths)),
        ]
        above = _wrap(visible(self.title), width) if self.title else []
        below = [line for note in self.notes for line in _wrap(visible(note), width)]
        return "\n".join(line.rstrip() for line in [*above, *table, *below])

    def _widths(self, headings: list[str], cells: list[list[str]], width: int) -> list[int]:
        """Terminal columns of every column: prose gives way first, then words are broken."""
        everything = [headings, *cells]
        widths = [min(max(1, *map(_span, column)), width) for column in _transposed(everything)]
        longest = [max(1, *map(_longest_word, cells)) for cells in _transposed(everything)]
        words = [
            length if column.whole else min(length, _BREAKABLE)
            for length, column in zip(longest, self.columns, strict=True)
        ]
        numbers = [max(map(_span, column)) for column in _transposed(cells)] or words
        floors = [
            max(n, w) if column.right else w
            for n, w, column in zip(numbers, words, self.columns, strict=True)
        ]
        room = width - len(_GAP) * (len(widths) - 1)
        least = [
            w if column.whole else _NARROWEST for w, column in zip(words, self.columns, strict=True)
        ]
        for floor in (floors, words, least):
            widths = _narrowed(widths, floor, room)
        return widths

    def _lines(self, cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
        """The lines of one row; a cell that is too wide goes over several."""
        wrapped = [_shortened(_wrap(cell, w), w) for cell, w in zip(cells, widths, strict=True)]
        for parts in zip_longest(*wrapped, fillvalue=""):
            yield _GAP.join(
                _padded(part, width, column.right)
                for part, width, column in zip(parts, widths, self.columns, strict=True)
            )

    def to_html(self) -> str:
        """A `<table>` whose headings name their column or row, and the notes below it.

        It has no colours, so that it takes those of the page, light or dark.
        """
        caption = f'<caption style="{_CAPTION}">{_html(self.title)}</caption>\n'
        head = "".join(_tag("th", column, column.heading, "col") for column in self.columns)
        body = "".join(f"<tr>{self._row_html(row)}</tr>\n" for row in self.rows)
        return (
            f"<table>\n{caption if self.title else ''}<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}</tbody>\n</table>\n"
            + "".join(f"<p>{_html(note)}</p>\n" for note in self.notes)
        )

    def _row_html(self, row: Sequence[Cell]) -> str:
        first, *others = zip(self.columns, row, strict=True)
        return _tag("th", *first, "row") + "".join(_tag("td", *pair) for pair in others)


class Printable:
    """A value that prints as grids: `str()` as text, a notebook's output as HTML."""

    __slots__ = ()

    def grids(self) -> tuple[Grid, ...]:
        """What is printed, one grid below the other."""
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n\n".join(grid.compact().head().to_text() for grid in self.grids())

    def _repr_html_(self) -> str:
        return f"<div>\n{''.join(g.compact().head().to_html() for g in self.grids())}</div>"


def grid(title: str, headings: Sequence[str], rows: Iterable[Sequence[Cell]], *notes: str) -> Grid:
    """A grid by its headings.

    A column whose heading has `>` before it stands to the right; the words of one with `=` before
    it are never broken.
    """
    marks = (name[:1] if name[:1] in {">", "="} else "" for name in headings)
    columns = (
        Column(name.removeprefix(mark), right=mark == ">", whole=mark == "=")
        for name, mark in zip(headings, marks, strict=True)
    )
    return Grid(title, tuple(columns), tuple(map(tuple, rows)), notes)


def passed_or_failed(ok: bool) -> Judgement:
    """The outcome of a check."""
    return Judgement("passed" if ok else "FAILED", ok)


def quantity(value: float | None, form: Callable[[float], str]) -> Cell:
    """A number as a form writes it, `-` for None."""
    return "-" if value is None else Quantity(form(value), value)


def brief(value: float | str | None) -> str:
    """Three digits of a float, other values as they are, `-` for None."""
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def shorten_name(name: str, limit: int = 40) -> str:
    """The end of a long name, where a path names its layer, behind an ellipsis."""
    return name if len(name) <= limit else "…" + name[-limit:]


def visible(text: str) -> str:
    """Characters that do not print, other than newlines, as Python escapes."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _transposed(rows: Iterable[Iterable[_Item]]) -> Iterable[tuple[_Item, ...]]:
    return zip(*rows, strict=True)


def _html(text: str) -> str:
    return escape(visible(text)).replace("\n", "<br>")


def _tag(name: str, column: Column, cell: Cell, scope: str = "") -> str:
    """One cell; numbers are in a class `n`, for pages that style them."""
    scoped = f' scope="{scope}"' if scope else ""
    side = ' class="n" style="text-align:right"' if column.right else ' style="text-align:left"'
    content = _html(str(cell))
    if isinstance(cell, Judgement):
        content = f'<strong class="{"ok" if cell.good else "bad"}">{content}</strong>'
    value = f' data-value="{cell.value!r}"' if isinstance(cell, Quantity) else ""
    return f"<{name}{scoped}{side}{value}>{content}</{name}>"


def _narrowed(widths: list[int], floors: Sequence[int], room: int) -> list[int]:
    """Takes from the widest column above its floor until all fit, or none is above it."""
    widths = list(widths)
    while sum(widths) > room:
        above = [w if w > floor else 0 for w, floor in zip(widths, floors, strict=True)]
        if not any(above):
            break
        widths[above.index(max(above))] -= 1
    return widths


def _shortened(lines: list[str], width: int) -> list[str]:
    if len(lines) <= MAX_CELL_LINES:
        return lines
    start = next(_pieces(lines[MAX_CELL_LINES - 1], max(width - 1, 1)), "")
    return [*lines[: MAX_CELL_LINES - 1], (start if _length(start) < width else "") + "…"]


def _wrap(text: str, width: int) -> list[str]:
    return [part for line in text.split("\n") for part in _wrap_line(line, width)]


def _wrap_line(line: str, width: int) -> list[str]:
    """Breaks a line between words, and a word that is too long anywhere."""
    if _length(line) <= width:
        return [line]
    lines: list[str] = []
    current = ""
    for word in line.split():
        joined = f"{current} {word}" if current else word
        if _length(joined) <= width:
            current = joined
            continue
        *full, last = _pieces(word, width)
        lines += [current, *full] if current else full
        current = last
    return [*lines, current]


def _pieces(word: str, width: int) -> Iterator[str]:
    """Parts of a word that fit into `width` terminal columns, at least one character each."""
    piece = ""
    for character in word:
        if piece and _length(piece + character) > width:
            yield piece
            piece = ""
        piece += character
    yield piece


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _length(text))
    return space + text if right else text + space


def _span(text: str) -> int:
    """Terminal columns of the widest line."""
    return max(map(_length, text.split("\n")))


def _longest_word(text: str) -> int:
    return max(map(_length, text.split()), default=0)


def _length(line: str) -> int:
    """Terminal columns of a line: East Asian wide characters take two, combining ones none.

    Source: Unicode Standard Annex 11, "East Asian Width".
    """
    if line.isascii():
        return len(line)
    return sum(map(_character_width, line))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
