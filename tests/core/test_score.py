from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.core.errors import ModelError
from edgeprune.core.pattern import Block
from edgeprune.core.score import magnitude, tile_maximum

MATRICES = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.int8]),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.integers(-100, 100),
)


@given(MATRICES)
def test_a_weight_scores_its_distance_from_zero(matrix: Any) -> None:
    scores = magnitude(matrix)
    assert scores.dtype == np.float64
    assert scores.tolist() == [[abs(float(weight)) for weight in row] for row in matrix]


def test_the_lowest_int8_weight_scores_128() -> None:
    """Its absolute value is not an int8."""
    assert magnitude(np.array([[-128, 127]], np.int8)).tolist() == [[128, 127]]


def test_weights_that_are_not_numbers_are_counted_and_refused() -> None:
    with pytest.raises(ModelError, match="2 NaN or infinite"):
        magnitude(np.array([[1.0, np.nan], [np.inf, 0.0]]))


@given(MATRICES, st.integers(1, 5), st.integers(1, 5))
def test_every_weight_of_a_tile_gets_the_highest_score_in_it(
    matrix: Any, out: int, in_: int
) -> None:
    scores = magnitude(matrix)
    rows, columns = scores.shape
    expected = [
        [
            max(
                scores[r][c]
                for r in range(rows)
                for c in range(columns)
                if (r // out, c // in_) == (row // out, column // in_)
            )
            for column in range(columns)
        ]
        for row in range(rows)
    ]
    assert tile_maximum(scores, Block(out, in_)).tolist() == expected
