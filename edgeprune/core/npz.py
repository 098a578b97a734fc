"""The arrays of an `.npz`, each read when it is asked for and after a look at its size.

A small one is unpacked and its checksum is checked. A large one that is not compressed stays in the
file and is mapped into memory, so that only the samples that are used are read.
"""

from __future__ import annotations

import contextlib
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import DataError
from edgeprune.core.first_bytes import describe_beginning

MAX_RATIO = 64
"""How many times larger than its file an array may be; compressed images stay far below."""
FREE_BYTES = 256 << 20
"""Bytes that an array may have beyond that, so that small files of equal values are read."""
MAPPED_BYTES = 64 << 20
"""An array from this size on is mapped from the file, where it is not compressed."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""What stands in front of a member: a mark, and the lengths of its name and of more (PKWARE's
APPNOTE.TXT 6.3, section 4.3.7)."""
_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
DAMAGE = (
    *(ArithmeticError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, lzma.LZMAError, struct.error, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What Python and NumPy raise on archives, headers and contents that are damaged."""


class ArrayFile(Mapping[str, Array]):
    """The arrays of an `.npz` by name, in the order of the file.

    Nothing is kept: every access opens the file, and reads or maps the one array.
    """

    def __init__(self, path: Path) -> None:
        """Reads the names.

        Raises:
          DataError: there is no such file, or it is no `.npz`.
        """
        self._path = path
        with _reading(path), path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                raise DataError(
                    f"{path}: expected an .npz with named arrays. Received: one bare array. "
                    "Save it with numpy.savez(path, x=..., y=...)."
                )
            if not zipfile.is_zipfile(file):
                raise DataError(
                    f"{path}: expected an .npz of plain arrays, as numpy.savez writes it. "
                    f"Received: {describe_beginning(path)}, which does not read as one."
                )
            with zipfile.ZipFile(file) as archive:
                self._members = {name.removesuffix(_SUFFIX): name for name in archive.namelist()}

    def __getitem__(self, name: str) -> Array:
        """Unpacks an array, or maps it.

        Raises:
          KeyError: there is none of that name.
          DataError: it does not read as an array of plain values, or is far larger than the file.
        """
        member = self._members[name]
        with _reading(self._path), zipfile.ZipFile(self._path) as archive:
            info = archive.getinfo(member)
            self._require_size(name, info.file_size)
            mapped = self._mapped(info) if info.file_size >= MAPPED_BYTES else None
            if mapped is not None:
                return mapped
            with archive.open(member) as file:
                found: Array = np.lib.format.read_array(  # type: ignore[no-untyped-call]
                    file, allow_pickle=False
                )
                return found

    def _mapped(self, info: zipfile.ZipInfo) -> Array | None:
        """Maps a member that is stored as it is; None where it is compressed or of another form.

        Raises:
          ValueError: the array would end outside its member.
        """
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            return None
        with self._path.open("rb") as file:
            file.seek(info.header_offset)
            _, name, more = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            begin = file.tell() + name + more
            file.seek(begin)
            version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
            if version not in _HEADERS:
                return None
            shape, fortran, dtype = _HEADERS[version](file)  # type: ignore[no-untyped-call]
            offset = file.tell()
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=1) < 1 or offset + size > begin + info.file_size:
            raise ValueError(f"{list(shape)} {dtype} in {info.file_size} bytes")
        order: Literal["F", "C"] = "F" if fortran else "C"
        return np.memmap(self._path, dtype, "r", offset, shape, order)

    def __contains__(self, name: object) -> bool:
        return name in self._members  # without opening the array, as Mapping would

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def _require_size(self, name: str, size: int) -> None:
        limit = MAX_RATIO * self._path.stat().st_size + FREE_BYTES
        if size > limit:
            raise DataError(
                f"{self._path}: array '{name}': expected at most {limit} bytes in a file of this "
                f"size. Received: {size}. If that is right, save it with numpy.savez, which does "
                "not compress."
            )


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Says of whatever goes wrong with a damaged file that it is no `.npz`."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected a data file (.npz). Received: no such file.") from error
    except DAMAGE as error:
        raise DataError(
            f"{path}: expected an .npz of plain arrays, as numpy.savez writes it. "
            f"Received: a file that does not read as one ({error})."
        ) from error
