"""What the plugins report: counts by class (count.c), executed blocks and misses (cycles.c)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from edgeprune.targets.arm64_emulated.emulator import NAME, TRY_AGAIN, cached_emulator
from edgeprune.targets.child import WorkerError

Code: TypeAlias = tuple[int, ...]
"""A block by the opcodes of its instructions."""


@dataclass(frozen=True)
class Executed:
    """What one inference executed."""

    blocks: Mapping[Code, int]
    """How often each translated block was executed."""
    misses: Mapping[str, int]
    """Cache misses by level: l1, l2 and l3."""

    @property
    def instructions(self) -> int:
        """All that were executed."""
        return sum(len(code) * times for code, times in self.blocks.items())


def read_executed(log: str) -> Executed:
    """Reads what the plugin cycles.c reported of one inference.

    Raises:
      WorkerError: it reported something else.
    """
    misses = re.findall(r"^misses l1=(\d+) l2=(\d+) l3=(\d+)$", log, re.MULTILINE)
    blocks: Counter[Code] = Counter()
    for times, opcodes in re.findall(r"^block (\d+) ((?:[0-9a-f]{8})+)$", log, re.MULTILINE):
        blocks[tuple(int(word, 16) for word in re.findall(".{8}", opcodes))] += int(times)
    if len(misses) != 1 or not blocks:
        raise WorkerError(
            "expected the plugin to report blocks, and cache misses once. Received: "
            f"{len(blocks)} blocks, and misses {len(misses)} times."
        )
    levels = ("l1", "l2", "l3")
    return Executed(blocks, dict(zip(levels, map(int, misses[0]), strict=True)))


def read_counts(log: Path, expected: int) -> tuple[dict[str, int], ...]:
    """Instructions by class, from the plugin's lines, one for each counted inference.

    Raises:
      WorkerError: there are not as many as expected.
    """
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    lines = re.findall(r"^instructions (.+)$", text, re.MULTILINE)
    if len(lines) != expected:
        raise WorkerError(
            f"{NAME}: expected the plugin to report {expected} counts. Received: "
            f"{text or 'nothing'}. Remove the cache folder {cached_emulator().folder}. "
            f"{TRY_AGAIN}"
        )
    pairs = ([pair.split("=") for pair in line.split()] for line in lines)
    return tuple({name: int(number) for name, number in line} for line in pairs)
