"""The arrays of a folder of `.npy` files by name, each mapped into memory, not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import DataError
from edgeprune.core.npz import DAMAGE

SUFFIX = ".npy"


class ArrayFolder(Mapping[str, Array]):
    """The arrays `NAME.npy` of a folder by name; each is opened when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}

    def __getitem__(self, name: str) -> Array:
        """Maps an array into memory.

        Raises:
          KeyError: there is none of that name.
          DataError: the file does not read as an array of plain values.
        """
        path = self._files[name]
        try:
            return _mapped(path)
        except DAMAGE as error:
            raise DataError(
                f"{path}: expected an array of plain values, as numpy.save writes it. "
                f"Received: a file that does not read as one ({error})."
            ) from error

    def __contains__(self, name: object) -> bool:
        return name in self._files  # without opening the array, as Mapping would

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _mapped(path: Path) -> Array:
    found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return found
