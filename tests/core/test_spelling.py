from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.spelling import suggestion, with_article

WORDS = ("numerics", "limits", "latency", "flash", "memory")


@pytest.mark.parametrize(
    ("received", "nearest"),
    [("numeriks", "numerics"), ("limit", "limits"), ("latncy", "latency"), ("memory", "memory")],
)
def test_the_nearest_word_is_suggested(received: str, nearest: str) -> None:
    assert suggestion(received, WORDS) == f" Did you mean '{nearest}'?"


@pytest.mark.parametrize("received", ["", "x", "quantization"])
def test_what_is_like_none_of_the_words_gets_no_suggestion(received: str) -> None:
    assert suggestion(received, WORDS) == ""


def test_words_may_be_read_once_only() -> None:
    assert suggestion("flsh", iter(WORDS)) == " Did you mean 'flash'?"
    assert suggestion("flash", ()) == ""


@given(st.text(min_size=4, max_size=12), st.integers(0, 11))
def test_one_letter_that_is_missing_does_no_harm(word: str, place: int) -> None:
    place %= len(word)
    assert suggestion(word[:place] + word[place + 1 :], [word]) == f" Did you mean '{word}'?"


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
