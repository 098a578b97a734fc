"""Counts what reading a .tflite file costs: the values and the tables that are looked at."""

from __future__ import annotations

from typing import Any

import pytest

from edgeprune.tflite.format.file import Tensor
from edgeprune.tflite.format.flatbuffer import ByteReader


def count_bytes_of_values(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From here on, the dense bytes of a tensor each time that its values are asked for."""
    read: list[int] = []
    plain = Tensor.values

    def values(tensor: Tensor) -> Any:
        found = plain(tensor)
        read.append(0 if found is None else found.nbytes)
        return found

    monkeypatch.setattr(Tensor, "values", values)
    return read


def count_tables(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From here on, the place of every table that is read, repeated ones too."""
    places: list[str] = []
    plain = ByteReader.slots

    def slots(reader: ByteReader, position: int, place: str) -> tuple[int, ...]:
        places.append(place)
        return plain(reader, position, place)

    monkeypatch.setattr(ByteReader, "slots", slots)
    return places
