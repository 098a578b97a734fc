from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.core.errors import PatternError
from edgeprune.core.mask import kept_channels, make_mask
from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured
from tests.support.mask_oracle import mask_by_loops

SHAPES = st.tuples(st.integers(1, 13), st.integers(1, 13))
# Few distinct values, so that ties are common.
SCORES = hnp.arrays(np.float64, SHAPES, elements=st.integers(0, 5).map(float))
SPARSITIES = st.floats(0, 0.999)
TILED: st.SearchStrategy[Pattern] = st.one_of(
    st.just(Unstructured()), st.builds(Block, st.integers(1, 5), st.integers(1, 5))
)


@given(SCORES, TILED, SPARSITIES)
@settings(max_examples=300)
def test_tiled_masks_equal_the_loop_oracle(scores: Any, pattern: Pattern, sparsity: float) -> None:
    assert make_mask(scores, pattern, sparsity).tolist() == mask_by_loops(scores, pattern, sparsity)


@given(SCORES, st.sampled_from([NofM(2, 4), NofM(1, 4), NofM(1, 2), NofM(4, 8), NofM(3, 5)]))
def test_n_of_m_masks_equal_the_loop_oracle(scores: Any, pattern: NofM) -> None:
    mask = make_mask(scores, pattern, pattern.sparsity)
    assert mask.tolist() == mask_by_loops(scores, pattern, pattern.sparsity)


@given(SCORES, st.integers(1, 9).map(Channels), SPARSITIES)
def test_channel_masks_equal_the_loop_oracle(scores: Any, pattern: Channels, s: float) -> None:
    assert make_mask(scores, pattern, s).tolist() == mask_by_loops(scores, pattern, s)


@given(SCORES, TILED, SPARSITIES)
def test_sparsity_is_exact_to_within_one_block(scores: Any, pattern: Pattern, s: float) -> None:
    block = pattern.out * pattern.in_ if isinstance(pattern, Block) else 1
    zeros = np.count_nonzero(~make_mask(scores, pattern, s))
    assert abs(zeros - s * scores.size) <= min(block, scores.size)


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
