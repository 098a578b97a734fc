"""The ZIP archive that metadata tools append to a .tflite file, with labels and the like.

Readers find it from its end, by absolute positions, so these must follow when the model in front
of it changes its length. The contents are never unpacked.

Source: PKWARE's APPNOTE.TXT 6.3, sections 4.3.12 (central directory) and 4.3.16 (its end record).
"""

from __future__ import annotations

import struct

_END = b"PK\x05\x06"
_ENTRY = b"PK\x01\x02"
_END_BYTES = 22
_LONGEST_COMMENT = 65535
_DIRECTORY_SIZE_AT = 12
_DIRECTORY_START_AT = 16
_ENTRY_BYTES = 46
_LOCAL_START_AT = 42


def find_archive(data: memoryview) -> bytes:
    """Returns the archive at the end of `data`, its positions counted from its own beginning.

    Empty where there is none, or where what looks like one is not sound.
    """
    tail = bytes(data[-(_END_BYTES + _LONGEST_COMMENT) :])
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + _END_BYTES:
        return b""
    size, directory = struct.unpack_from("<II", tail, end + _DIRECTORY_SIZE_AT)
    end += len(data) - len(tail)
    shift = end - size - directory
    entries = _entries(data, end - size, end)
    starts = [_number(data, entry + _LOCAL_START_AT) + shift for entry in entries]
    if not starts or not 0 <= min(starts) <= end - size:
        return b""
    return _moved(bytes(data[min(starts) :]), shift - min(starts))


def move_archive(archive: bytes, start: int) -> bytes:
    """Returns an archive from `find_archive` as it must be written at position `start`."""
    return _moved(archive, start) if archive else archive


def _entries(data: memoryview, position: int, end: int) -> list[int]:
    """Returns where the directory's entries begin; empty where it is not sound."""
    found = []
    while 0 <= position <= end - _ENTRY_BYTES and bytes(data[position : position + 4]) == _ENTRY:
        found.append(position)
        name, extra, comment = struct.unpack_from("<HHH", data, position + 28)
        position += _ENTRY_BYTES + name + extra + comment
    return found if position == end else []


def _number(data: memoryview | bytearray, position: int) -> int:
    value: int = struct.unpack_from("<I", data, position)[0]
    return value


def _moved(archive: bytes, distance: int) -> bytes:
    """Adds `distance` to every position in the archive."""
    moved = bytearray(archive)
    end = archive.rfind(_END)
    size = _number(moved, end + _DIRECTORY_SIZE_AT)
    places = [entry + _LOCAL_START_AT for entry in _entries(memoryview(archive), end - size, end)]
    for place in [*places, end + _DIRECTORY_START_AT]:
        struct.pack_into("<I", moved, place, (_number(moved, place) + distance) % 2**32)
    return bytes(moved)
