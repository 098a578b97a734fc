"""Reads the commands that documentation shows, and compares what they print loosely."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LEFT_OUT = "..."
"""A line that stands for any number of lines."""
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d[\d.,]*")
_DRAWN = re.compile(r"[\s─-╿]+")
"""Spaces, and what tables are drawn with."""


@dataclass(frozen=True)
class Fence:
    """A block of a page: its language, the line it begins on and its text."""

    language: str
    line: int
    text: str


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it, and the lines that it prints there."""

    line: int
    command: str
    printed: tuple[str, ...]


def fences(page: str) -> Iterator[Fence]:
    """The fenced blocks of a page in Markdown."""
    for found in _FENCE.finditer(page):
        yield Fence(found[1], page[: found.start()].count("\n") + 1, found[2])


def shown_commands(fence: Fence) -> Iterator[Shown]:
    """The commands of a block of the language `console`, each with what it prints.

    A command begins with `$ ` and goes on behind a backslash; what precedes the first is none.
    """
    text = fence.text.replace("\\\n", " ")
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *printed = part.splitlines()
        yield Shown(fence.line, " ".join(command.split()), tuple(filter(str.strip, printed)))


def missing_lines(expected: Sequence[str], printed: str) -> list[str]:
    """The expected lines that were not printed, in this order; numbers may be others."""
    lines = iter([_loose(line) for line in printed.splitlines()])
    return [
        line
        for line in expected
        if line.strip() != LEFT_OUT and not any(_loose(line) in other for other in lines)
    ]


def _loose(line: str) -> str:
    return _NUMBER.sub("0", _DRAWN.sub(" ", line)).strip()
