from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import PatternError
from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured, parse_pattern

COUNTS = st.integers(1, 64)
PATTERNS: st.SearchStrategy[Pattern] = st.one_of(
    st.just(Unstructured()),
    st.builds(Block, COUNTS, COUNTS),
    COUNTS.flatmap(lambda n: st.builds(NofM, st.just(n), st.integers(n + 1, 2 * n + 8))),
    st.builds(Channels, COUNTS),
)


@given(PATTERNS)
def test_a_written_pattern_reads_back_as_itself(pattern: Pattern) -> None:
    assert parse_pattern(str(pattern)) == pattern


def test_spaces_do_not_matter() -> None:
    assert parse_pattern(" Block( 2 , 1 ) ") == Block(2, 1)


def test_n_of_m_knows_its_sparsity() -> None:
    assert NofM(2, 4).sparsity == 0.5
    assert NofM(1, 4).sparsity == 0.75


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Block",
        "Block(2)",
        "Block(2,1,1)",
        "Block(2,x)",
        "Block(-2,1)",
        "Block(0,1)",
        "2:4",
        "NofM(4,4)",
        "NofM(5,4)",
        "Channels()",
        "Channels(1.5)",
        "Unstructured(1)",
        "block(2,1)",
        "Block(²,1)",
        "Block(2,1) or",
        "Channels(16",
    ],
)
def test_what_is_not_a_pattern_is_refused_with_the_text_that_was_given(text: str) -> None:
    with pytest.raises(PatternError, match="Received"):
        parse_pattern(text)
