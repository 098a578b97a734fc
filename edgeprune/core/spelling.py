"""Suggests the closest valid name, and puts the right article before a name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def suggestion(received: str, valid: Iterable[str]) -> str:
    """` Did you mean '...'?` with the closest valid name; empty if none is close."""
    near = difflib.get_close_matches(received, list(valid), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


_VOWEL_LETTERS = frozenset("AEFHILMNORSX")
"""Letters whose names begin with a vowel, as in "an LSTM"."""


def with_article(words: str) -> str:
    """`an Embedding`, `a Dense`, `an LSTM`, `a UnitNormalization`, `an 8x8 convolution`.

    Args:
      words: a name from code or a number first; capitals at its front are spelled letter by letter.
    """
    number = re.match(r"\d+", words)
    if number:
        vowel = number[0][0] == "8" or number[0] in {"11", "18"}
    elif words[:2].isupper():
        vowel = words[0] in _VOWEL_LETTERS
    else:
        vowel = words[:1].lower() in set("aeiou") and not words.lower().startswith("uni")
    return f"{'an' if vowel else 'a'} {words}"
