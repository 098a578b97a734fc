"""Finds the line of a key in a TOML file, for messages about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

Location: TypeAlias = tuple[str | int, ...]
"""A key behind the tables, and the places in lists, that it is in."""

_PART = r"\"[^\"]*\"|'[^']*'|[\w-]+"
_NAME = rf"(?:{_PART})(?:\s*\.\s*(?:{_PART}))*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_NAME})\s*\]\]?")
_KEY = re.compile(rf"\s*({_NAME})\s*=")
_SPAN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|' + r"'''.*?'''|" + r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'|#[^\n]*",
    re.DOTALL,
)
"""Strings and comments, in which brackets mean nothing."""


def line_of(text: str, location: Location) -> int | None:
    """The line, counted from 1, of a key, or of the innermost table around it that is found.

    Args:
      text: of a file that is valid TOML.
      location: as a validation error has it.
    """
    lines = key_lines(text)
    for length in range(len(location), 0, -1):
        if location[:length] in lines:
            return lines[location[:length]]
    return None


def key_lines(text: str) -> Mapping[Location, int]:
    """The line of every table, key and element of a list that begins a line of its own."""
    found: dict[Location, int] = {}
    counts: dict[Location, int] = {}
    table: Location = ()
    blanked = _SPAN.sub(_blank, text)
    place = 0
    while place < len(text):
        line = text.count("\n", 0, place) + 1
        header, key = _HEADER.match(text, place), _KEY.match(text, place)
        if header and not blanked[place : header.start(1)].strip():
            table = _entered(_parts(header[2]), header[1] == "[[", counts)
            found.setdefault(table, line + text.count("\n", place, header.start(1)))
            place = header.end()
        elif key:
            name = (*table, *_parts(key[1]))
            found[name] = line + text.count("\n", place, key.start(1))
            place = _value_end(blanked, key.end())
            for number, start in enumerate(_elements(blanked, key.end(), place)):
                found[(*name, number)] = text.count("\n", 0, start) + 1
        place = _next_line(text, place)
    return found


def _blank(span: re.Match[str]) -> str:
    """As many characters that mean nothing: spaces for a comment, letters for a string."""
    return (" " if span[0].startswith("#") else "s") * len(span[0])


def _parts(name: str) -> Location:
    return tuple(part.strip("\"'") for part in re.findall(_PART, name))


def _entered(name: Location, listed: bool, counts: dict[Location, int]) -> Location:
    """The location that a header enters: a name with the places in the lists on its way."""
    location: Location = ()
    for depth, part in enumerate(name, start=1):
        location = (*location, part)
        if depth == len(name) and listed:
            counts[location] = counts.get(location, -1) + 1
        if location in counts:
            location = (*location, counts[location])
    return location


def _value_end(blanked: str, start: int) -> int:
    """Where a value ends: at the first end of a line outside brackets."""
    depth = 0
    for place in range(start, len(blanked)):
        character = blanked[place]
        if character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "\n" and depth == 0:
            return place
    return len(blanked)


def _elements(blanked: str, start: int, end: int) -> Iterator[int]:
    """Where the elements of a list begin; nothing for other values."""
    value = blanked[start:end]
    if not value.lstrip().startswith("["):
        return
    depth, waits = 0, False
    for place, character in enumerate(value, start=start):
        if waits and depth == 1 and not character.isspace() and character not in ",]":
            yield place
            waits = False
        if character in "[{":
            depth += 1
            waits = waits or depth == 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth == 1:
            waits = True


def _next_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end + 1
