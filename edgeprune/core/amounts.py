"""Amounts as people read them."""

from __future__ import annotations

SMALL_COUNT = 100_000
"""Counts below it are written out."""
SHORT_MS = 0.01
"""Milliseconds below which three decimals say too little."""


def count_text(value: float) -> str:
    """A count, large ones in millions: `41,200`, `1.23 M`, `45.6 M`."""
    if value < SMALL_COUNT:
        return f"{value:,.0f}"
    millions = value / 1e6
    return f"{millions:.1f} M" if millions >= 10 else f"{millions:.3g} M"


def ms_text(value: float) -> str:
    """Milliseconds, without the unit: `12.345`, `0.012`; small ones in full, `0.000434`."""
    return f"{value:.3f}" if value >= SHORT_MS else f"{value:.3g}"


def amount_text(value: float, unit: str) -> str:
    """What an inference costs, without its unit: `0.512`, `1.23 M`; KiB for bytes.

    Args:
      value: in the unit.
      unit: "ms", "bytes", or what is counted.
    """
    if unit == "bytes":
        return f"{value / 1024:.0f}"
    return ms_text(value) if unit == "ms" else count_text(value)


def axis_scale(highest: float) -> tuple[float, str]:
    """What values of an axis are divided by, and the word for it: `(1e6, "million ")`.

    Args:
      highest: of the values.
    """
    steps = ((1e6, "million "), (1e3, "thousand "))
    return next((step for step in steps if highest >= step[0]), (1.0, ""))


def score_text(value: float | None) -> str:
    """An accuracy or metric: three places, or four digits of large values; `-` for None."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def cost_text(value: float, unit: str) -> str:
    """The same with its unit: `0.512 ms`, `1.23 M instructions`, `120 KiB`."""
    return f"{amount_text(value, unit)} {shown_unit(unit)}"


def shown_unit(unit: str) -> str:
    """The unit that `amount_text` is in."""
    return "KiB" if unit == "bytes" else unit
