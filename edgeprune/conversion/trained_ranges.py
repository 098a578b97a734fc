"""The ranges that quantisation-aware training found, beside the model that they belong to.

They are the ranges of the tensors of the float file that TensorFlow's converter makes of the model.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeprune.conversion.int8.ranges import Range, Ranges, activations
from edgeprune.conversion.manifest import hash_model, sha256_of
from edgeprune.core.errors import DataError
from edgeprune.core.files import write_file
from edgeprune.keras_model.layers import Model
from edgeprune.tflite.format import draft as tflite_draft

SCHEMA = 1
"""Version of the file."""
_LONGEST_NAME = 255


@dataclass(frozen=True)
class TrainedRange:
    """The range of one tensor."""

    tensor: str
    """Its name in the converter's float file."""
    layer: str | None
    """What people call the value; None for one inside of a layer, which was measured."""
    low: float
    high: float


@dataclass(frozen=True)
class TrainedRanges:
    """The ranges of all tensors of one model."""

    model_sha256: str
    """Hash of the model, see `hash_model`, or of its .tflite file."""
    rows: tuple[TrainedRange, ...]
    path: Path | None = field(default=None, compare=False)
    """The file that they were read from."""

    @property
    def ranges(self) -> Ranges:
        """The ranges by the name of the tensor."""
        return {row.tensor: Range(row.low, row.high) for row in self.rows}

    @property
    def sha256(self) -> str:
        """Hash of the file that `keep_ranges` writes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The file."""
        ranges = [
            {"layer": row.layer, "min": row.low, "max": row.high, "tensor": row.tensor}
            for row in self.rows
        ]
        content = {"schema": SCHEMA, "model_sha256": self.model_sha256, "ranges": ranges}
        return (json.dumps(content, indent=2) + "\n").encode()

    def fit(self, sha256: str) -> bool:
        """Whether they belong to the model or .tflite file with this hash."""
        return self.model_sha256 == sha256


def attach_ranges(model: Model, ranges: Ranges, layers: dict[str, str]) -> None:
    """Gives a model in memory its ranges; `ranges_of` finds them.

    Args:
      model: a plain model, changed in place by an attribute that is not saved.
      ranges: by the name of the tensor.
      layers: what people call the values that tensors are, where it is known.
    """
    rows = (
        TrainedRange(name, layers.get(name), found.low, found.high)
        for name, found in ranges.items()
    )
    model.trained_ranges = TrainedRanges(_hash(model), tuple(rows))


def given_ranges(model: Model) -> TrainedRanges | None:
    """The ranges that a model was given, whether it is still that model or not."""
    found = getattr(model, "trained_ranges", None)
    return found if isinstance(found, TrainedRanges) else None


def ranges_of(model: Model) -> TrainedRanges | None:
    """The ranges that a model was given, if it is still that model."""
    found = given_ranges(model)
    return found if found is not None and found.fit(_hash(model)) else None


def load_ranges(model: Model, path: Path) -> None:
    """Gives a model the ranges that lie beside its file, if some do.

    Raises:
      DataError: a file is there that does not read as ranges.
    """
    beside = ranges_beside(path)
    if beside is not None and beside.is_file():
        model.trained_ranges = read_ranges(beside)


def usable_ranges(
    model: Model, sha256: str, floating: bytes
) -> tuple[TrainedRanges | None, tuple[str, ...]]:
    """The ranges of a model for its int8 file, and a sentence where those it has do not fit.

    Args:
      model: a plain model, possibly with ranges.
      sha256: its hash, or that of the .tflite file that it was lifted from.
      floating: its float file.
    """
    found = given_ranges(model)
    if found is None:
        return None, ()
    if not found.fit(sha256):
        return None, (
            f"{found.path or model.name}: the ranges of quantisation-aware training belong to "
            "other weights than the model has, and are not used. Expected those of a model with "
            f"SHA-256 {sha256[:8]}... Received: {found.model_sha256[:8]}...",
        )
    graph = tflite_draft.from_bytes(floating, Path("float.tflite")).graph
    names = (graph.tensors[index].name for index in activations(graph))
    missing = [name for name in names if name not in found.ranges]
    if missing:
        return None, (
            f"{found.path or model.name}: the ranges of quantisation-aware training were made by "
            f"another TensorFlow, which names tensors otherwise ('{missing[0]}' is missing), and "
            "are not used.",
        )
    return found, ()


def ranges_beside(model: Path) -> Path | None:
    """Where the ranges of a file are: `m.ranges.json` for `m.keras`; None if no name is left."""
    path = model.with_suffix(".ranges.json")
    return path if len(os.fsencode(path.name)) <= _LONGEST_NAME else None


def keep_ranges(model: Model, path: Path) -> None:
    """Writes the ranges of a model beside its file, which is written by now, if it has any.

    Args:
      model: a plain model, or the twin of a .tflite file.
      path: its file.

    Raises:
      OutputError: the file cannot be written.
    """
    found, beside = ranges_of(model), ranges_beside(path)
    if found is not None and beside is not None:
        kept = replace(found, model_sha256=sha256_of(model, path))
        write_file(beside, kept.to_bytes())


def read_ranges(path: Path) -> TrainedRanges:
    """Reads what `keep_ranges` wrote.

    Raises:
      DataError: the file cannot be read, or does not hold ranges.
    """
    try:
        return replace(_parse(path.read_bytes()), path=path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected ranges of schema {SCHEMA} as `prune --epochs` writes them for int8. "
            f"Received: a file that does not read as such ({type(error).__name__}: {error}). "
            "Remove it and give --data, or train again."
        ) from error


def _parse(content: bytes) -> TrainedRanges:
    found = json.loads(content)
    if found["schema"] != SCHEMA or not isinstance(found["model_sha256"], str):
        raise ValueError(f"schema {found['schema']!r}, model {found['model_sha256']!r}")
    return TrainedRanges(found["model_sha256"], tuple(map(_read_row, found["ranges"])))


def _read_row(row: dict[str, Any]) -> TrainedRange:
    low, high = float(row["min"]), float(row["max"])
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"a range from {low} to {high}")
    return TrainedRange(str(row["tensor"]), row["layer"], low, high)


def _hash(model: Model) -> str:
    return hash_model(model.get_config(), model.get_weights())
