"""What edgetpu_compiler prints, as values.

Source of the format: outputs of `edgetpu_compiler -s` in issues of google-coral/edgetpu: 60 (2.1),
211 (14.1), 461, 490 and 601 (16.0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeprune.core.errors import CheckError

MAPPED = "Mapped to Edge TPU"
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([\d.]+)\s*(B|KiB|MiB|GiB)\b")
_ROW = re.compile(r"(\S+)\s+(\d+)\s+(\S.*)")
_HEADER = re.compile(r"Operator\s+Count\s+Status")
_CACHED = "On-chip memory used for caching model parameters"
_REMAINING = "On-chip memory remaining for caching model parameters"
_STREAMED = "Off-chip memory used for streaming uncached model parameters"
_FAILED = ("Compilation failed", "Internal compiler error", "Invalid model", "ERROR", "Error")


class CompilerError(CheckError):
    """edgetpu_compiler refused a model, crashed or did not end in time."""


@dataclass(frozen=True)
class StatusRow:
    """Operators of one kind that the compiler treated alike."""

    op: str
    count: int
    status: str


@dataclass(frozen=True)
class CompilerLog:
    """What the compiler said of a model; sizes are rounded to two decimals of their unit."""

    version: str
    cached_bytes: int
    remaining_bytes: int
    streamed_bytes: int
    operators: int
    """All operators of the model."""
    rows: tuple[StatusRow, ...]

    @property
    def mapped(self) -> int:
        """Operators on the Edge TPU; all of them if the log has no table."""
        if not self.rows:
            return self.operators
        return sum(row.count for row in self.rows if row.status == MAPPED)


def parse(text: str) -> CompilerLog:
    """Reads what the compiler printed.

    Raises:
      CompilerError: it did not compile the model; says what the compiler said.
    """
    facts = dict(re.findall(r"^(\S[^:\n]*):[ \t]*(\S.*?)[ \t\r]*$", text, re.MULTILINE))
    missing = [name for name in (_CACHED, _STREAMED) if name not in facts]
    if missing:
        raise CompilerError(f"edgetpu_compiler did not compile the model: {_failure(text)}")
    version = re.search(r"Edge TPU Compiler version (\S+)", text)
    rows = _rows(text)
    total = facts.get("Total number of operations", "")
    return CompilerLog(
        version=version.group(1) if version else "of unknown version",
        cached_bytes=_bytes(facts[_CACHED]),
        remaining_bytes=_bytes(facts.get(_REMAINING, "0B")),
        streamed_bytes=_bytes(facts[_STREAMED]),
        operators=int(total) if total.isdigit() else sum(row.count for row in rows),
        rows=rows,
    )


def _failure(text: str) -> str:
    """The lines that say why, without the compiler's way of saying that it ended."""
    lines = [line.strip() for line in text.splitlines()]
    causes = [line for line in lines if line.startswith(_FAILED) and line != "Compilation failed!"]
    return " ".join(causes) or next(filter(None, reversed(lines)), "it printed nothing")


def _rows(text: str) -> tuple[StatusRow, ...]:
    header = _HEADER.search(text)
    lines = text[header.end() :].splitlines() if header else []
    matches = (_ROW.fullmatch(line.strip()) for line in lines)
    return tuple(StatusRow(m.group(1), int(m.group(2)), m.group(3)) for m in matches if m)


def _bytes(text: str) -> int:
    match = _SIZE.match(text)
    if match is None:
        raise CompilerError(f"edgetpu_compiler printed a size that cannot be read: {text!r}")
    return round(float(match.group(1)) * _UNITS[match.group(2)])
