"""Stores the activations of a run, batch by batch, until their last use."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import Tensor

MEMORY_BYTES = 2 << 30
"""Most memory for activations; arrays beyond it go to temporary files, one each."""
MIN_FILE_BYTES = 1 << 16
"""Smaller arrays always stay in memory."""


@dataclass(frozen=True)
class _Filed:
    """An array that lies in a file of its own."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self) -> Array:
        """The array; nothing stays mapped, since Windows removes no file that is."""
        return np.fromfile(self.path, self.dtype).reshape(self.shape)


class Store:
    """The values of a run, by value and batch; `open_store` makes one and removes its files.

    Args:
      folder: folder for temporary files.
      memory_bytes: memory for activations.
    """

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        self.folder = folder
        self._memory_bytes = memory_bytes
        self._values: dict[Any, list[tuple[Any, Any]]] = {}
        self._held = 0
        self._files = 0

    def __contains__(self, value: Any) -> bool:
        return value in self._values

    def append(self, value: Any, tensor: Tensor) -> None:
        """Adds the next batch of a value."""
        mask = getattr(tensor, "_keras_mask", None)
        size = _bytes(tensor)
        stored: Any = tensor
        if size >= MIN_FILE_BYTES and self._held + size > self._memory_bytes:
            stored = self._to_disk(tensor)
        else:
            self._held += size
        self._values.setdefault(value, []).append((stored, mask))

    def batch(self, value: Any, index: int) -> Tensor:
        """One batch of a value, as a tensor of the backend."""
        stored, mask = self._values[value][index]
        array = stored.read() if isinstance(stored, _Filed) else stored
        tensor = keras.ops.convert_to_tensor(array)
        if mask is not None:
            tensor._keras_mask = mask
        return tensor

    def free(self, value: Any) -> None:
        """Frees all batches of a value."""
        for stored, _ in self._values.pop(value, []):
            if isinstance(stored, _Filed):
                stored.path.unlink()
            else:
                self._held -= _bytes(stored)

    def _to_disk(self, tensor: Tensor) -> _Filed:
        array = np.asarray(tensor)
        self._files += 1
        path = self.folder / f"{self._files}"
        array.tofile(path)
        return _Filed(path, array.dtype, array.shape)


def _bytes(tensor: Tensor) -> int:
    size: int = np.dtype(keras.backend.standardize_dtype(tensor.dtype)).itemsize
    return size * int(np.prod(tensor.shape))


@contextlib.contextmanager
def open_store(memory_bytes: int = MEMORY_BYTES) -> Iterator[Store]:
    """A store whose temporary files are removed when the context ends."""
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        yield Store(Path(folder), memory_bytes)
