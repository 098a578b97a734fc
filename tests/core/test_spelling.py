from __future__ import annotations

import pytest

from edgeprune.core.spelling import with_article


@pytest.mark.parametrize(
    "words",
    [
        *("a Dense", "an Embedding", "an LSTM", "a GRU", "an RNN", "a ReLU", "an ELU", "a PReLU"),
        *("a UnitNormalization", "an UpSampling2D", "an InputLayer", "a NoneType", "a list"),
        *("an int", "a 1x1 kernel", "an 8x8 kernel", "an 11x11 kernel", "a 110x1 kernel"),
    ],
)
def test_an_article_goes_by_how_the_name_is_spoken(words: str) -> None:
    assert with_article(words.partition(" ")[2]) == words
