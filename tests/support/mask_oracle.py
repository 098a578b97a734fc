"""The masks of every pattern by loops over units, written from the documentation alone."""

from __future__ import annotations

import itertools
import math
from typing import Any

from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured


def mask_by_loops(scores: Any, pattern: Pattern, sparsity: float) -> list[list[bool]]:
    """Returns which weights of a matrix of scores `[out, in]` are kept."""
    rows, columns = scores.shape
    kept = [[True] * columns for _ in range(rows)]
    if sparsity == 0:
        return kept
    units = _units(rows, columns, pattern)
    for group, allowed in units:
        means = [sum(scores[r][c] for r, c in unit) / len(unit) for unit in group]
        # Lowest mean first; of equal means the smaller unit, of equal sizes the later one first.
        order = sorted(range(len(group)), key=lambda i: (means[i], len(group[i]), -i))
        for index in order[: _how_many(group, order, allowed, sparsity, scores.size)]:
            for r, c in group[index]:
                kept[r][c] = False
    return kept


def _units(rows: int, columns: int, pattern: Pattern) -> list[tuple[list[Any], Any]]:
    match pattern:
        case Unstructured():
            return _units(rows, columns, Block(1, 1))
        case Block(out, in_):
            tiles = [
                [
                    (r, c)
                    for r in range(top, min(top + out, rows))
                    for c in range(left, min(left + in_, columns))
                ]
                for top in range(0, rows, out)
                for left in range(0, columns, in_)
            ]
            return [(tiles, "nearest")]
        case NofM(n, m):
            return [
                ([[(r, c)] for c in range(left, min(left + m, columns))], (n, m))
                for r in range(rows)
                for left in range(0, columns, m)
            ]
        case Channels(multiple):
            return [([[(r, c) for c in range(columns)] for r in range(rows)], multiple)]


def _how_many(group: Any, order: Any, allowed: Any, sparsity: float, size: int) -> int:
    """How many units of a group to prune."""
    if isinstance(allowed, tuple):
        n, m = allowed
        return int(len(group) - math.ceil(len(group) * n / m))
    if allowed == "nearest":
        counts = list(itertools.accumulate((len(group[i]) for i in order), initial=0))[:-1]
        best: int = min(range(len(counts)), key=lambda k: (abs(counts[k] - sparsity * size), k))
        return best
    rows = len(group)
    choices = [k for k in range(1, rows + 1) if k == rows or k % allowed == 0]
    kept: int = min(choices, key=lambda k: (abs(k - (1 - sparsity) * rows), -k))
    return rows - kept
