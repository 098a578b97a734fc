"""Amounts are short, and none that is there reads as nothing."""

from __future__ import annotations

import pytest

from edgeprune.core.amounts import amount_text, cost_text, ms_text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(12.3456, "12.346"), (0.0149, "0.015"), (0.01, "0.010"), (0.000434, "0.000434"), (0.0, "0")],
)
def test_milliseconds_have_three_decimals_or_as_many_as_they_need(ms: float, text: str) -> None:
    assert ms_text(ms) == amount_text(ms, "ms") == text
    assert cost_text(ms, "ms") == f"{text} ms"
