"""Reads TensorFlow Lite metadata by the rules of flatbuffers alone."""

from __future__ import annotations

import struct
from typing import Any


def table(data: bytes, at: int = 0) -> int:
    """Where the root table begins."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, begin: int, number: int) -> int | None:
    """Where a field of a table lies; None if it is not there."""
    vtable = begin - struct.unpack_from("<i", data, begin)[0]
    size = struct.unpack_from("<H", data, vtable)[0]
    if 4 + 2 * number >= size:
        return None
    offset = int(struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0])
    return begin + offset if offset else None


def children(data: bytes, begin: int, number: int) -> int:
    """Where the table behind a field begins."""
    place = _field(data, begin, number)
    assert place is not None
    return table(data, place)


def string(data: bytes, begin: int, number: int) -> str:
    """The text of a field."""
    place = children(data, begin, number)
    length = struct.unpack_from("<I", data, place)[0]
    return data[place + 4 : place + 4 + length].decode()


def vector(data: bytes, begin: int, number: int, *, raw: bool = False) -> Any:
    """Where the tables of a vector begin; with `raw`, where its first element lies."""
    if _field(data, begin, number) is None:
        return []
    place = children(data, begin, number)
    if raw:
        return place + 4
    count = struct.unpack_from("<I", data, place)[0]
    return [table(data, place + 4 + 4 * index) for index in range(count)]


def labels_of(data: bytes, tensor: int) -> list[tuple[str, int]]:
    """Name and type of the files that belong to a tensor (TensorMetadata's field 6)."""
    found = []
    for file in vector(data, tensor, 6):
        place = _field(data, file, 2)
        found.append((string(data, file, 0), data[place] if place is not None else 0))
    return found
