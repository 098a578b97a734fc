from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.grid import (
    MAX_CELL_LINES,
    MAX_SHOWN_ROWS,
    WIDTH,
    Column,
    Grid,
    Judgement,
    Printable,
    Quantity,
    grid,
    visible,
)

TEXT = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(["<", ">", "&", '"', "'", "\n", "\r", "\t", " ", "\x1b", "\x00", "\u202e"]),
        st.sampled_from(["漢", "한", "\u0301", "\u200b", "…", "🙂"]),
    ),
    max_size=60,
)


@st.composite
def grids(draw: st.DrawFn, cell: st.SearchStrategy[str] = TEXT) -> Grid:
    count = draw(st.integers(1, 6))
    headings = draw(
        st.lists(st.builds(Column, cell, st.booleans()), min_size=count, max_size=count)
    )
    row = st.tuples(*[cell] * count)
    rows = draw(st.lists(row, max_size=5))
    return Grid(draw(cell), tuple(headings), tuple(rows), tuple(draw(st.lists(cell, max_size=2))))


def terminal_columns(line: str) -> int:
    """An independent count, one character after the other."""
    count = 0
    for character in line:
        if unicodedata.category(character) not in ("Mn", "Me"):
            count += 2 if unicodedata.east_asian_width(character) in ("F", "W") else 1
    return count


class Reader(HTMLParser):
    """What a table holds: its caption, its rows of cells, the scopes and tags that it uses."""

    def __init__(self) -> None:
        super().__init__()
        self.caption = ""
        self.rows: list[list[str]] = []
        self.notes: list[str] = []
        self.scopes: list[str | None] = []
        self.tags: set[str] = set()
        self._place = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
            if tag == "th":
                self.scopes.append(dict(attrs).get("scope"))
        elif tag == "p":
            self.notes.append("")
        elif tag == "br":
            self.handle_data("\n")
            return
        if tag != "strong":
            self._place = tag

    def handle_endtag(self, tag: str) -> None:
        if tag != "strong":
            self._place = ""

    def handle_data(self, data: str) -> None:
        if self._place in ("th", "td"):
            self.rows[-1][-1] += data
        elif self._place == "caption":
            self.caption += data
        elif self._place == "p":
            self.notes[-1] += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


@given(grids(), st.integers(30, 120))
def test_text_keeps_to_its_width_and_shows_no_character_that_does_not_print(
    made: Grid, width: int
) -> None:
    lines = made.to_text(width).split("\n")
    assert all(terminal_columns(line) <= width for line in lines)
    assert all(line.isprintable() and line == line.rstrip() for line in lines)


@given(grids(st.text(st.characters(exclude_characters="-"), max_size=30)), st.integers(30, 120))
def test_every_column_begins_at_the_same_place_in_every_row(made: Grid, width: int) -> None:
    """The rule says where columns lie; between them every line has spaces only."""
    bare = Grid("", made.columns, made.rows)
    lines = bare.to_text(width).split("\n")
    rule = next(line for line in lines if line and set(line) <= {"-", " "})
    gaps = {place for place, mark in enumerate(rule) if mark == " "}
    assert len(rule.split()) == len(made.columns)
    for line in lines:
        place = 0
        for character in line:
            width_here = terminal_columns(character)
            assert character == " " or place not in gaps or width_here == 0
            place += width_here


@given(st.lists(st.text("ab漢", min_size=1, max_size=9), min_size=1, max_size=5))
def test_cells_that_fit_are_found_whole_in_a_line_of_their_own(cells: list[str]) -> None:
    lines = grid("", ("cell", ">n"), [(cell, "1") for cell in cells]).to_text().split("\n")
    assert [line.split() for line in lines[2:]] == [[cell, "1"] for cell in cells]


@given(grids())
def test_html_gives_every_text_back_as_it_is_shown(made: Grid) -> None:
    found = read(made.to_html())
    headings, *rows = found.rows
    assert headings == [visible(column.heading) for column in made.columns]
    assert rows == [[visible(str(cell)) for cell in row] for row in made.rows]
    assert found.caption == visible(made.title)
    assert found.notes == [visible(note) for note in made.notes]
    assert found.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p", "br"}
    assert found.scopes == ["col"] * len(made.columns) + ["row"] * len(made.rows)


def test_a_judgement_is_marked_in_html_and_plain_in_text() -> None:
    made = grid("", ("check", "result"), [("a", Judgement("<bad>", False))])
    assert '<strong class="bad">&lt;bad&gt;</strong>' in made.to_html()
    assert "<bad>" in made.to_text()


def test_a_quantity_has_its_value_in_html_and_its_text_in_both() -> None:
    made = grid("", ("file", ">cost"), [("a", Quantity("1.2 M", 1.2e6)), ("b", "-")])
    cells = re.findall(r"<td[^>]*?(?: data-value=\"([^\"]*)\")?>([^<]*)</td>", made.to_html())
    assert cells == [("1200000.0", "1.2 M"), ("", "-")]
    assert "1.2 M" in made.to_text()
    assert "1200000" not in made.to_text()


def test_numbers_stand_to_the_right_and_stay_whole_beside_long_prose() -> None:
    words = "many words " * 20
    made = grid("title", (">number", "why"), [("123456789012", words), ("7", "none")])
    lines = made.to_text(50).split("\n")
    assert lines[0] == "title"
    assert lines[3].startswith("123456789012  many words")
    assert lines[-1] == "           7  none"
    assert " ".join(lines[3:-1]).split() == ["123456789012", *words.split()]


def test_a_cell_too_long_to_read_is_shortened() -> None:
    lines = grid("", ("name",), [("x" * 10_000,)]).to_text().split("\n")
    assert len(lines) == 2 + MAX_CELL_LINES
    assert lines[-1] == "x" * (WIDTH - 1) + "…"


def test_columns_without_content_are_left_out_but_never_the_first() -> None:
    made = grid("", ("a", "b", "c"), [("-", "-", "1"), ("", "", "")]).compact()
    assert [column.heading for column in made.columns] == ["a", "c"]
    assert made.rows == (("-", "1"), ("", ""))
    assert grid("", ("a", "b"), []).compact().columns == (Column("a"), Column("b"))
    assert made.without("a").rows == (("1",), ("",))


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="every row needs 2 cells"):
        grid("t", ("a", "b"), [("1",)])


@dataclass(frozen=True)
class Numbers(Printable):
    count: int

    def grids(self) -> tuple[Grid, ...]:
        rows = [(str(n),) for n in range(self.count)]
        return grid("numbers", (">n",), rows, "the end"), grid("empty", ("x",), [])


def test_a_value_prints_its_grids_below_each_other_and_keeps_its_repr() -> None:
    assert str(Numbers(1)) == "numbers\nn\n-\n0\nthe end\n\nempty\nx\n-"
    assert repr(Numbers(1)) == "Numbers(count=1)"
    assert Numbers(1)._repr_html_().count("<table>") == 2


def test_rows_beyond_the_most_that_are_printed_are_counted() -> None:
    text = str(Numbers(MAX_SHOWN_ROWS + 7))
    assert f"\n{MAX_SHOWN_ROWS}\n" not in text
    assert "7 more rows are not shown; to_json() has them all.\nthe end" in text
    assert "7 more rows" in Numbers(MAX_SHOWN_ROWS + 7)._repr_html_()
