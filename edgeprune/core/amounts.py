"""Amounts as people read them."""

from __future__ import annotations

SMALL_COUNT = 100_000
"""Counts below it are written out."""


def count_text(value: float) -> str:
    """A count, large ones in millions: `41,200`, `1.23 M`, `45.6 M`."""
    if value < SMALL_COUNT:
        return f"{value:,.0f}"
    millions = value / 1e6
    return f"{millions:.1f} M" if millions >= 10 else f"{millions:.3g} M"


def cost_text(value: float, unit: str) -> str:
    """What an inference costs, with its unit: `0.512 ms`, `1.23 M instructions`, `120 KiB`.

    Args:
      value: in the unit.
      unit: "ms", "bytes", or what is counted.
    """
    if unit == "bytes":
        return f"{value / 1024:.0f} KiB"
    number = f"{value:.3f}" if unit == "ms" else count_text(value)
    return f"{number} {unit}"
