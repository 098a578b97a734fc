"""Keeps the activations of a run, batch by batch, until their last use.

As they are while they fit into half of the memory given; in half precision, relative to the largest
of a batch, while they fit into all of it; and then in temporary files.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import Tensor

MEMORY_BYTES = 2 << 30
"""Most memory for activations; arrays beyond it go to temporary files, one each."""
MIN_FILE_BYTES = 1 << 16
"""Smaller arrays always stay in memory, as they are."""


@dataclass(frozen=True)
class _Filed:
    """An array that lies in a file of its own."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self) -> Array:
        """The array; nothing stays mapped, since Windows removes no file that is."""
        return np.fromfile(self.path, self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class _Kept:
    """A tensor as it is kept: in memory or in a file, and what it was multiplied by."""

    stored: Any
    scale: float | None
    """The largest magnitude, by which the values were divided; None for those kept as they are."""
    bytes: int
    """In memory; 0 in a file."""
    mask: Any

    def tensor(self) -> Tensor:
        """The tensor, of the backend."""
        array = self.stored.read() if isinstance(self.stored, _Filed) else self.stored
        tensor = keras.ops.convert_to_tensor(array)
        if self.scale is not None:
            tensor = tf.cast(tensor, tf.float32) * self.scale
        if self.mask is not None:
            tensor._keras_mask = self.mask
        return tensor


class Store:
    """Tensors by their keys; `open_store` makes a store and removes its files.

    Args:
      folder: folder for temporary files.
      memory_bytes: memory for activations.
    """

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        self.folder = folder
        self._memory_bytes = memory_bytes
        self._kept: dict[Hashable, _Kept] = {}
        self._held = 0
        self._files = 0

    def put(self, key: Hashable, tensor: Tensor) -> None:
        """Keeps a tensor."""
        kept = self._as_kept(tensor)
        self._held += kept.bytes
        self._kept[key] = kept

    def get(self, key: Hashable) -> Tensor:
        """A tensor that is kept, exactly or to 11 bits of the largest value in it."""
        return self._kept[key].tensor()

    def free(self, key: Hashable) -> None:
        """Frees a tensor, if it is kept."""
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._held -= kept.bytes
        if isinstance(kept.stored, _Filed):
            kept.stored.path.unlink()

    def _as_kept(self, tensor: Tensor) -> _Kept:
        mask, size = getattr(tensor, "_keras_mask", None), _bytes(tensor)
        if size < MIN_FILE_BYTES or self._held + size <= self._memory_bytes // 2:
            return _Kept(tensor, None, size, mask)
        half, scale = _halved(tensor)
        if self._held + _bytes(half) <= self._memory_bytes:
            return _Kept(half, scale, _bytes(half), mask)
        return _Kept(self._to_disk(half), scale, 0, mask)

    def _to_disk(self, tensor: Tensor) -> _Filed:
        array = np.asarray(tensor)
        self._files += 1
        path = self.folder / f"{self._files}"
        array.tofile(path)
        return _Filed(path, array.dtype, array.shape)


def _halved(tensor: Tensor) -> tuple[Tensor, float | None]:
    """A float32 tensor over its largest magnitude, in float16, and that; another as it is."""
    if keras.backend.standardize_dtype(tensor.dtype) != "float32":
        return tensor, None
    largest = float(tf.reduce_max(tf.abs(tensor)))
    if not 0 < largest < np.inf:
        return tensor, None
    return tf.cast(tensor / largest, tf.float16), largest


def _bytes(tensor: Tensor) -> int:
    size: int = np.dtype(keras.backend.standardize_dtype(tensor.dtype)).itemsize
    return size * int(np.prod(tensor.shape))


@contextlib.contextmanager
def open_store(memory_bytes: int = MEMORY_BYTES) -> Iterator[Store]:
    """A store whose temporary files are removed when the context ends."""
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        yield Store(Path(folder), memory_bytes)
