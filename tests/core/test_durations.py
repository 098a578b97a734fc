"""Durations as people write them."""

from __future__ import annotations

import pytest

from edgeprune.core.durations import read_duration
from edgeprune.core.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45m", 2700), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), ("60", 60)],
)
def test_a_duration_is_a_number_with_a_unit_or_seconds(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-5m", "soon", "5d", "m5", "1e3", "nan", "5 m 3 x"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match="such as 90s, 45m or 2h"):
        read_duration(text)
