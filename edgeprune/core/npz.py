"""The arrays of an `.npz`, each unpacked when it is asked for and after a look at its size."""

from __future__ import annotations

import contextlib
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import DataError

MAX_RATIO = 64
"""How many times larger than its file an array may be; compressed images stay far below."""
FREE_BYTES = 256 << 20
"""Bytes that an array may have beyond that, so that small files of equal values are read."""
_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
DAMAGE = (
    *(ArithmeticError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, lzma.LZMAError, struct.error, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What Python and NumPy raise on archives, headers and contents that are damaged."""


class ArrayFile(Mapping[str, Array]):
    """The arrays of an `.npz` by name, in the order of the file.

    Nothing is kept: every access opens the file, and reads the one array.
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
            with zipfile.ZipFile(file) as archive:
                self._members = {name.removesuffix(_SUFFIX): name for name in archive.namelist()}

    def __getitem__(self, name: str) -> Array:
        """Unpacks an array.

        Raises:
          KeyError: there is none of that name.
          DataError: it does not read as an array of plain values, or is far larger than the file.
        """
        member = self._members[name]
        with _reading(self._path), zipfile.ZipFile(self._path) as archive:
            self._require_size(name, archive.getinfo(member).file_size)
            with archive.open(member) as file:
                found: Array = np.lib.format.read_array(  # type: ignore[no-untyped-call]
                    file, allow_pickle=False
                )
                return found

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
