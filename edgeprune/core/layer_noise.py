"""How near what each layer of a quantized file gives comes to the float model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SHOWN = 5
"""Layers that a sentence for people names."""
HOW_TO_SKIP = (
    "With the errors of earlier layers; `edgeprune prune --skip REGEX` leaves a layer unpruned."
)


@dataclass(frozen=True)
class LayerNoise:
    """How near what a layer of an int8 file gives comes to the float model."""

    layer: str
    """The layer that the file names the value after: the activation, where one is fused."""
    snr_db: float | None
    """Signal-to-noise ratio in decibels, with the error of all layers before it; None where there
    is no error or no signal."""


def noise_in(manifest: Mapping[str, Any] | None) -> tuple[LayerNoise, ...]:
    """What a manifest says of the layers of its int8 file, in the order of execution.

    Rows that edgeprune did not write are left out.
    """
    int8 = (manifest or {}).get("int8")
    rows = int8.get("layers") if isinstance(int8, dict) else None
    return tuple(filter(None, map(_row, rows if isinstance(rows, list) else ())))


def _row(row: Any) -> LayerNoise | None:
    if not isinstance(row, dict) or not isinstance(row.get("layer"), str):
        return None
    ratio = row.get("snr_db")
    if isinstance(ratio, int | float) and math.isfinite(ratio):
        return LayerNoise(row["layer"], float(ratio))
    return LayerNoise(row["layer"], None)


def noisiest(rows: Sequence[LayerNoise], count: int = SHOWN) -> tuple[LayerNoise, ...]:
    """The layers with the lowest ratios, the lowest first."""
    known = [(row.snr_db, row) for row in rows if row.snr_db is not None]
    return tuple(row for _, row in sorted(known, key=lambda pair: pair[0])[:count])


def noise_json(rows: Sequence[LayerNoise]) -> dict[str, Any] | None:
    """The rows as a manifest has them below "int8"; None without any."""
    return {"layers": [asdict(row) for row in rows]} if rows else None


def noise_text(rows: Sequence[LayerNoise]) -> str:
    """The layers that lose most in int8 and how to go on; empty where none was measured."""
    lowest = ", ".join(f"{row.layer} {row.snr_db:.1f} dB" for row in noisiest(rows))
    if not lowest:
        return ""
    return f"Least signal to noise in int8, of {len(rows)} layers: {lowest}. {HOW_TO_SKIP}"
