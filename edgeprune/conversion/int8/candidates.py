"""The int8 files of one model that are worth a try: by other ranges, or with channels equalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeprune.conversion.int8.equalise import equalised, equalised_ranges, passages
from edgeprune.conversion.int8.measure import Measured
from edgeprune.conversion.int8.ranges import Ranges
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft

Kind = Literal["extremes", "least_error", "equalised"]
"""How a candidate is made: with the extremes as ranges, with those of the least error, or with the
extremes of channels that are alike in size."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An int8 file, and the float file that it is made of."""

    kind: Kind
    floating: bytes
    draft: Draft


def float_files(floating: bytes, measured: Measured) -> dict[Kind, tuple[bytes, Ranges]]:
    """The float files that candidates are made of, with their ranges; that of the extremes first.

    Args:
      floating: a float32 file.
      measured: its values.
    """
    files: dict[Kind, tuple[bytes, Ranges]] = {"extremes": (floating, measured.extremes)}
    if measured.least_error != measured.extremes:
        files["least_error"] = (floating, measured.least_error)
    draft = tflite_draft.from_bytes(floating, Path("float.tflite"))
    if passages(draft):
        ranges = equalised_ranges(draft, measured.extremes, measured.channels)
        alike = equalised(draft, measured.channels)
        files["equalised"] = (bytes(tflite_draft.pack(alike.model)), ranges)
    return files


def comparable(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first, and those of the others that have the same operators.

    Other ranges may make the quantizer put operators between tensors that shared one before.
    """
    wanted = _operators(candidates[0].draft)
    return [each for each in candidates if _operators(each.draft) == wanted]


def _operators(draft: Draft) -> list[str]:
    return [operator.op for operator in draft.graph.operators]
