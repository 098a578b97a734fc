from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.core.errors import ModelError, PatternError
from edgeprune.core.mask import kept_channels, make_mask, zero_fraction
from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured
from edgeprune.core.score import magnitude

SHAPES = st.tuples(st.integers(1, 13), st.integers(1, 13))
# Few distinct values, so that ties are common.
SCORES = hnp.arrays(np.float64, SHAPES, elements=st.integers(0, 5).map(float))
SPARSITIES = st.floats(0, 0.999)
TILED: st.SearchStrategy[Pattern] = st.one_of(
    st.just(Unstructured()), st.builds(Block, st.integers(1, 5), st.integers(1, 5))
)


def oracle(scores: Any, pattern: Pattern, sparsity: float) -> list[list[bool]]:
    """The same masks by loops over units, written from the documentation alone."""
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


@given(SCORES, TILED, SPARSITIES)
@settings(max_examples=300)
def test_tiled_masks_equal_the_loop_oracle(scores: Any, pattern: Pattern, sparsity: float) -> None:
    assert make_mask(scores, pattern, sparsity).tolist() == oracle(scores, pattern, sparsity)


@given(SCORES, st.sampled_from([NofM(2, 4), NofM(1, 4), NofM(1, 2), NofM(4, 8), NofM(3, 5)]))
def test_n_of_m_masks_equal_the_loop_oracle(scores: Any, pattern: NofM) -> None:
    mask = make_mask(scores, pattern, pattern.sparsity)
    assert mask.tolist() == oracle(scores, pattern, pattern.sparsity)


@given(SCORES, st.integers(1, 9).map(Channels), SPARSITIES)
def test_channel_masks_equal_the_loop_oracle(scores: Any, pattern: Channels, s: float) -> None:
    assert make_mask(scores, pattern, s).tolist() == oracle(scores, pattern, s)


@given(SCORES, TILED, SPARSITIES)
def test_sparsity_is_exact_to_within_one_block(scores: Any, pattern: Pattern, s: float) -> None:
    block = pattern.out * pattern.in_ if isinstance(pattern, Block) else 1
    zeros = zero_fraction(make_mask(scores, pattern, s)) * scores.size
    assert abs(zeros - s * scores.size) <= min(block, scores.size) + 1e-6


@given(SCORES, TILED, SPARSITIES, SPARSITIES)
def test_a_higher_sparsity_keeps_a_subset(
    scores: Any, pattern: Pattern, a: float, b: float
) -> None:
    low, high = sorted([a, b])
    assert not (make_mask(scores, pattern, high) & ~make_mask(scores, pattern, low)).any()


@given(SCORES, TILED, SPARSITIES)
def test_masking_what_is_masked_changes_nothing(scores: Any, pattern: Pattern, s: float) -> None:
    scores = scores + 1
    mask = make_mask(scores, pattern, s)
    np.testing.assert_array_equal(make_mask(scores * mask, pattern, s), mask)


@given(SCORES, st.one_of(TILED, st.builds(Channels, st.integers(1, 9))), SPARSITIES)
def test_something_is_always_kept(scores: Any, pattern: Pattern, sparsity: float) -> None:
    assert make_mask(scores, pattern, sparsity).any()


@pytest.mark.parametrize(
    ("scores", "pattern", "sparsity", "expected"),
    [
        ([[1, 1, 9, 9]], Block(1, 2), 0.5, ["..##"]),
        ([[1, 9, 2, 8]], NofM(2, 4), 0.5, [".#.#"]),
        ([[5, 5, 5, 5]], NofM(2, 4), 0.5, ["##.."]),
        ([[5, 5, 5, 5]], Unstructured(), 0.5, ["##.."]),
        ([[1, 2], [3, 4], [9, 9]], Block(2, 1), 0.3, [".#", ".#", "##"]),
        ([[9, 9], [1, 1], [8, 8], [2, 2]], Channels(2), 0.5, ["##", "..", "##", ".."]),
        ([[1, 2, 3, 4, 0]], NofM(2, 4), 0.5, ["..###"]),
        ([[0.0]], Unstructured(), 0.9, ["#"]),
    ],
)
def test_masks_that_can_be_checked_by_eye(
    scores: Any, pattern: Pattern, sparsity: float, expected: list[str]
) -> None:
    mask = make_mask(np.array(scores, float), pattern, sparsity)
    assert ["".join("#" if kept else "." for kept in row) for row in mask] == expected


@pytest.mark.parametrize(
    ("channels", "multiple", "sparsity", "kept"),
    [
        (64, 16, 0.5, 32),
        (72, 16, 0.5, 32),
        (10, 16, 0.5, 10),
        (64, 64, 0.9, 64),
        (96, 16, 0.99, 16),
        (100, 8, 0.0, 100),
        (48, 32, 0.5, 32),
        (24, 16, 0.5, 16),
    ],
)
def test_kept_channels_are_a_multiple(
    channels: int, multiple: int, sparsity: float, kept: int
) -> None:
    assert kept_channels(channels, multiple, sparsity) == kept


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(PatternError, match="0 <= sparsity < 1"):
        make_mask(np.ones((2, 2)), Unstructured(), sparsity)


def test_n_of_m_refuses_another_sparsity_and_says_its_own() -> None:
    with pytest.raises(PatternError, match=r"NofM\(2,4\) has sparsity 0\.5 by definition"):
        make_mask(np.ones((2, 4)), NofM(2, 4), 0.8)


def test_scores_must_be_a_matrix() -> None:
    with pytest.raises(PatternError, match="shape"):
        make_mask(np.ones(4), Unstructured(), 0.5)


def test_weights_that_are_not_numbers_are_counted_and_refused() -> None:
    with pytest.raises(ModelError, match="2 NaN or infinite"):
        magnitude(np.array([[1.0, np.nan], [np.inf, 0.0]]))
