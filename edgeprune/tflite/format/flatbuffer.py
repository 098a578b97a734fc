"""Reads untrusted flatbuffers by a small description of their tables.

The generated TFLite classes follow every offset that a file names, so a damaged or hostile file
makes them raise anything, loop over billions of elements or build gigabytes of objects. Here
checking and reading are one step: a `TableType` says which slot holds what, and `read_table`
returns plain Python values in which every offset, length and vtable was found to lie inside the
file. The layout follows the published "FlatBuffer internals" page of flatbuffers.dev.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from edgeprune.core.errors import TfliteError


@dataclass(frozen=True)
class Scalar:
    """A number stored inline; `form` is its `struct` code, `default` what an absent one means."""

    form: str
    default: int = 0


@dataclass(frozen=True)
class String:
    """A string, read as `bytes` since nothing makes a file keep to UTF-8; absent is None."""


@dataclass(frozen=True)
class Vector:
    """A vector of numbers, read as a read-only NumPy view; absent is None."""

    dtype: str


@dataclass(frozen=True)
class Subtable:
    """A table of its own; absent is None."""

    table: TableType


@dataclass(frozen=True)
class Subtables:
    """A vector of tables; absent reads as an empty list."""

    table: TableType


@dataclass(frozen=True)
class Union:
    """A tag and, in the following slot, a table whose type the tag selects.

    Takes two slots and gives two values: `<name>_type` and `<name>`, None for a tag that is not
    listed in `tables` (its bytes stay unread).
    """

    tables: Mapping[int, TableType]


Field: TypeAlias = Scalar | String | Vector | Subtable | Subtables | Union
Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class TableType:
    """A table type: its name for messages, and its fields in the order of their slots."""

    name: str
    fields: Mapping[str, Field] = field(default_factory=dict)


@dataclass
class Allowance:
    """What reading one file may still cost.

    Two offsets may point at the same table, so a few kilobytes can describe billions of objects.
    Each visit is paid for, repeated ones too. Converters write 35 bytes or more of a file per
    table; half of that is asked for. A file that shares nothing pays exactly its size for vectors
    and strings.
    """

    tables: int
    payload_bytes: int


class ByteReader:
    """The bytes of one file with bounds-checked access; errors name the file and the place.

    `data` carries eight bytes more than `size`, so that a number at the very end of the file can
    be fetched without a bound of its own.
    """

    def __init__(self, data: memoryview, size: int, subject: str) -> None:
        self.data = data
        self.size = size
        self.subject = subject
        # A table takes a kilobyte or two in memory; real models stay far below half a million.
        self.allowance = Allowance(tables=min(size // 16, 500_000), payload_bytes=4 * size)

    def fail(self, place: str, expected: str, received: object) -> TfliteError:
        """Makes the error for `place`; the caller raises it."""
        return TfliteError(
            f"{self.subject}: {place}: expected {expected}. Received: {received}. The file is "
            "damaged, cut short or no TFLite model; fetch or convert it again."
        )

    def number(self, form: str, position: int, place: str) -> int:
        """Reads one little-endian number."""
        if not 0 <= position < self.size:
            raise self.fail(place, f"an offset below the file size {self.size}", position)
        value: int = struct.unpack_from("<" + form, self.data, position)[0]
        return value

    def follow(self, position: int, place: str) -> int:
        """Returns where the offset stored at `position` leads."""
        target = position + self.number("I", position, place)
        if target + 4 > self.size:
            raise self.fail(place, f"an offset below the file size {self.size}", target)
        return target

    def span(self, position: int, item_bytes: int, place: str) -> tuple[int, int]:
        """Returns start and number of items of the vector that `position` refers to."""
        start = self.follow(position, place)
        count = self.number("I", start, place)
        room = (self.size - start - 4) // item_bytes
        if count > room:
            raise self.fail(place, f"at most {room} items, as the file ends there", count)
        self.spend(count * item_bytes, place)
        return start + 4, count

    def spend(self, payload_bytes: int, place: str) -> None:
        """Counts bytes that a part of the file refers to.

        Raises:
          TfliteError: together they are several times as many as the file has.
        """
        self.allowance.payload_bytes -= payload_bytes
        if self.allowance.payload_bytes < 0:
            raise self.fail(place, "data stored once", "the same data referred to many times over")

    def slots(self, position: int, place: str) -> tuple[int, ...]:
        """Returns the positions of a table's fields in slot order, 0 for an absent one."""
        self.allowance.tables -= 1
        if self.allowance.tables < 0:
            raise self.fail(place, "no more tables than the file has room for", "more")
        vtable = position - self.number("i", position, place)
        if not 0 <= vtable <= self.size - 4:
            raise self.fail(place, f"a vtable inside the {self.size} bytes", vtable)
        vtable_bytes, table_bytes = struct.unpack_from("<HH", self.data, vtable)
        if vtable_bytes < 4 or vtable_bytes % 2 or vtable + vtable_bytes > self.size:
            raise self.fail(place, "an even vtable size that fits the file", vtable_bytes)
        if table_bytes < 4 or position + table_bytes > self.size:
            raise self.fail(place, "a table that ends inside the file", table_bytes)
        offsets = struct.unpack_from(f"<{vtable_bytes // 2 - 2}H", self.data, vtable + 4)
        if any(offset >= table_bytes or 0 < offset < 4 for offset in offsets):
            raise self.fail(place, f"fields inside a table of {table_bytes} bytes", max(offsets))
        return tuple(position + offset if offset else 0 for offset in offsets)


def read_table(reader: ByteReader, position: int, table: TableType, place: str = "") -> Record:
    """Reads the table at `position` and everything below it.

    Returns:
      A value for each field of `table`, absent ones too (see the field classes), and `"at"`: the
      checked position itself, for code that reads on with generated classes.

    Raises:
      TfliteError: something lies outside the file, or describes more than the file can hold.
    """
    place = place or table.name
    slots = iter(reader.slots(position, place))
    record: Record = {"at": position}
    for name, kind in table.fields.items():
        here = f"{place}.{name}"
        at = next(slots, 0)
        if isinstance(kind, Union):
            tag = reader.number("B", at, here) if at else 0
            record[f"{name}_type"] = tag
            record[name] = _read_member(reader, next(slots, 0), kind.tables.get(tag), here)
        else:
            record[name] = _read_field(reader, at, kind, here)
    return record


def _read_member(reader: ByteReader, at: int, table: TableType | None, place: str) -> Record | None:
    if not at or table is None:
        return None
    return read_table(reader, reader.follow(at, place), table, place)


def _read_field(
    reader: ByteReader, at: int, kind: Scalar | String | Vector | Subtable | Subtables, place: str
) -> Any:
    match kind:
        case Scalar(form, default):
            return reader.number(form, at, place) if at else default
        case Vector(dtype):
            return _read_vector(reader, at, np.dtype(dtype), place) if at else None
        case String():
            return _read_vector(reader, at, np.dtype("u1"), place).tobytes() if at else None
        case Subtable(table):
            return _read_member(reader, at, table, place)
        case Subtables(table):
            return _read_children(reader, at, table, place) if at else []


def _read_vector(
    reader: ByteReader, at: int, dtype: np.dtype[Any], place: str
) -> np.ndarray[Any, Any]:
    start, count = reader.span(at, dtype.itemsize, place)
    return np.frombuffer(reader.data, dtype, count, start)


def _read_children(reader: ByteReader, at: int, table: TableType, place: str) -> list[Record]:
    start, count = reader.span(at, 4, place)
    return [
        read_table(reader, reader.follow(start + 4 * i, place), table, f"{place}[{i}]")
        for i in range(count)
    ]
