"""Samples of which any rows can be read: arrays, also those that stay on the disk, and images."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.data import Data, InputSpec, Rows, Scale, spread
from edgeprune.core.errors import DataError, QualityWarning
from edgeprune.core.scaling import RAW, in_words, scaled

_DIGESTED_BYTES = 16 << 20


class Column(Protocol):
    """The samples of one input, `[n, ...]`, as they are stored."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all samples, `[n, ...]`."""
        ...

    @property
    def dtype(self) -> Any:
        """NumPy's dtype of the stored values."""
        ...

    def read(self, rows: Rows) -> tuple[Array, Rows]:
        """The values of some rows, and the places in `rows` of those that could be read, `[k]`."""
        ...

    def readable(self, rows: Rows) -> Rows:
        """Those of some rows that can be read."""
        ...

    def identity(self, rows: Rows) -> Iterator[Any]:
        """Bytes by which the same samples are known again on this machine."""
        ...

    def content(self, rows: Rows) -> Iterator[Any]:
        """Bytes by which the same samples are known again on any machine."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayColumn:
    """An array, in memory or mapped from a file."""

    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all samples, `[n, ...]`."""
        return self.array.shape

    @property
    def dtype(self) -> Any:
        """NumPy's dtype."""
        return self.array.dtype

    def read(self, rows: Rows) -> tuple[Array, Rows]:
        """The values of some rows; all of them can be read."""
        return rows_of(self.array, rows), np.arange(len(rows))

    def readable(self, rows: Rows) -> Rows:
        """All rows."""
        return rows

    def identity(self, rows: Rows) -> Iterator[Any]:
        """Type, shape and every value of some rows."""
        yield f"{self.array.dtype}{(len(rows), *self.array.shape[1:])}".encode()
        step = max(1, _DIGESTED_BYTES // max(1, self.array[:1].nbytes))
        for start in range(0, len(rows), step):
            yield np.ascontiguousarray(rows_of(self.array, rows[start : start + step])).data

    def content(self, rows: Rows) -> Iterator[Any]:
        """The same as `identity`."""
        yield from self.identity(rows)


@dataclass(frozen=True, eq=False)
class Table:
    """Samples of which any rows can be read; nothing is kept of those that were."""

    subject: str
    """What messages call it: a file, a folder, a function."""
    names: tuple[str, ...]
    """What messages call the column of each input."""
    columns: tuple[Column, ...]
    """One per input of the model, as it is stored."""
    specs: tuple[InputSpec, ...]
    """What the model takes."""
    scale: Scale
    """What uint8 is scaled by."""
    label_names: tuple[str, ...] = ()
    stored_labels: tuple[Array, ...] = ()
    """One array `[n, ...]` per output with labels; it may be mapped from a file."""
    chosen: Rows | None = None
    """The rows that are meant; None for all."""
    scaling: str = ""
    """As of `Data`."""
    classes: tuple[str, ...] = ()
    """As of `Data`."""

    def __len__(self) -> int:
        return self.columns[0].shape[0] if self.chosen is None else len(self.chosen)

    @property
    def labels(self) -> tuple[Array, ...]:
        """One array `[n, ...]` per output with labels; empty without."""
        if self.chosen is None:
            return self.stored_labels
        return tuple(rows_of(array, self.chosen) for array in self.stored_labels)

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return bool(self.stored_labels)

    @property
    def y(self) -> Array | tuple[Array, ...] | None:
        """The labels as `Data` has them."""
        return _as_y(self.labels)

    def only(self, rows: Rows) -> Table:
        """The samples of some rows (indices `[k]`), not yet read."""
        return replace(self, chosen=self._stored(rows))

    def readable(self) -> Table:
        """The samples that can be read; of images all are looked at for that.

        Raises:
          DataError: too many images are broken.
        """
        rows = everything = self._stored(slice(None))
        for column in self.columns:
            rows = column.readable(rows)
        return self if len(rows) == len(everything) else replace(self, chosen=rows)

    def take(self, rows: Rows | slice) -> Data:
        """Reads samples, as the model takes them; an image that cannot be read is left out.

        Args:
          rows: indices `[k]` or a slice.

        Raises:
          DataError: values are not finite, or cannot be read.
        """
        stored = self._stored(rows)
        read = [column.read(stored) for column in self.columns]
        # Only images can be unreadable, and those are the only input.
        kept = read[0][1]
        x = tuple(
            sample_values(f"{self.subject}: array '{name}'", values, spec, self.scale)
            for name, (values, _), spec in zip(self.names, read, self.specs, strict=True)
        )
        labels = tuple(rows_of(array, stored[kept]) for array in self.stored_labels)
        for name, array in zip(self.label_names, labels, strict=True):
            require_finite(f"{self.subject}: array '{name}'", array)
        return Data(x, _as_y(labels), self.scaling, self.classes)

    def some(self, count: int) -> Data:
        """At most `count` samples, evenly spread."""
        return self.take(spread(len(self), count))

    def chunks(self, count: int) -> Iterator[Data]:
        """All samples in order, at most `count` at a time."""
        for start in range(0, len(self), count):
            yield self.take(slice(start, start + count))

    def identity(self) -> Iterator[Any]:
        """Bytes by which the same samples are known again."""
        yield repr([spec.scale_by(self.scale) for spec in self.specs]).encode()
        for column in (*self.columns, *map(ArrayColumn, self.stored_labels)):
            yield from column.identity(self._stored(slice(None)))

    def content(self, rows: Rows | slice = slice(None)) -> Iterator[Any]:
        """Bytes of the inputs of some samples, the same on every machine that has them."""
        for column in self.columns:
            yield from column.content(self._stored(rows))

    def _stored(self, rows: Rows | slice) -> Rows:
        chosen = np.arange(len(self)) if self.chosen is None else self.chosen
        return chosen[rows]


def rows_of(array: Array, rows: Rows | slice) -> Array:
    """Some rows of an array in memory.

    What is mapped from a file is mapped once more for that, since the pages of a mapping that were
    read stay in the memory of the process as long as it does.
    """
    base: object = array.base
    if not isinstance(array, np.memmap) or not isinstance(base, mmap.mmap):
        return np.asarray(array[rows])
    order: Literal["F", "C"] = "C" if array.flags.c_contiguous else "F"
    again = np.memmap(str(array.filename), array.dtype, "r", array.offset, array.shape, order)
    return np.array(again[rows])


def _as_y(labels: Sequence[Array]) -> Array | tuple[Array, ...] | None:
    return tuple(labels) if len(labels) > 1 else labels[0] if labels else None


def sample_values(subject: str, array: Array, spec: InputSpec, scale: Scale) -> Array:
    """Values as a model takes them: uint8 for floats is scaled, and the dtype is the model's.

    Args:
      subject: what a message calls them.
      array: `[k, ...]`, of numbers.
      spec: the input of the model.
      scale: what uint8 is scaled by.

    Raises:
      DataError: not of numbers, not finite, or nothing that an input of integers holds.
    """
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{subject}: expected numbers. Received: type {array.dtype}.")
    if is_scaled(array.dtype, spec):
        array = scaled(array, spec.scale_by(scale))
    require_finite(subject, array)
    with np.errstate(invalid="ignore"):
        made = array.astype(spec.dtype, copy=False)
    if made.dtype.kind in "iub" and not np.array_equal(made, array):
        first = array[made != array].flat[0]
        raise DataError(
            f"{subject}: expected values that {spec.dtype} holds, which input '{spec.name}' takes. "
            f"Received: {first}."
        )
    return made


def is_scaled(dtype: Any, spec: InputSpec) -> bool:
    """Whether values of a dtype are scaled for an input: uint8 for floats is."""
    return bool(dtype == np.uint8) and spec.dtype.startswith("float")


def require_finite(subject: str, array: Array) -> None:
    """Refuses NaN and infinity.

    Raises:
      DataError: there are some.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise DataError(
            f"{subject}: expected finite numbers. Received: {bad} NaN or infinite values of "
            f"{array.size}. Remove or repair those samples."
        )


def require_shape(subject: str, shape: Sequence[int], spec: InputSpec) -> None:
    """Refuses samples of another shape than the model takes.

    Raises:
      DataError: `shape`, `[n, ...]`, does not fit.
    """
    wanted = spec.shape
    fits = len(shape) == len(wanted) + 1 and all(
        size is None or size == found for size, found in zip(wanted, shape[1:], strict=True)
    )
    if not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in wanted)
        raise DataError(f"{subject}: the model takes [n, {sizes}]. Received: shape {list(shape)}.")


def warn_if_unscaled(subject: str, array: Array, spec: InputSpec) -> None:
    """Warns of what looks like images that were never scaled, for a model that wants them scaled.

    8-bit images hold values above 127 practically always; smaller numbers may be anything.

    Args:
      subject: what the warning calls the samples.
      array: some samples.
      spec: the input of the model.

    Warns:
      QualityWarning: numbers from 0 to 255 that are not uint8, where the model does not preprocess.
    """
    wants_scaled = spec.dtype.startswith("float") and spec.scale not in (None, RAW)
    raw = array.dtype != np.uint8 and array.size and array.min() >= 0 and 127 < array.max() <= 255
    if wants_scaled and raw:
        warnings.warn(
            f"{subject}: expected values scaled as in training, since the model does not "
            f"preprocess. Received: {array.dtype} from {array.min():g} to {array.max():g}, which "
            "is fed as it is. Scale it, or save it as uint8 and give --scale MEAN,STD.",
            QualityWarning,
            stacklevel=2,
        )


def describe_scaling(
    dtypes: Sequence[tuple[str, Any]], inputs: Sequence[InputSpec], scale: Scale
) -> str:
    """Says what uint8 values become, or that a scale that was asked for has nothing to scale.

    Args:
      dtypes: name and dtype of each input's samples.
      inputs: the inputs of the model.
      scale: what uint8 is scaled by.
    """
    found = [
        f"uint8 values of '{name}' {in_words(spec.scale_by(scale))}"
        for (name, dtype), spec in zip(dtypes, inputs, strict=True)
        if is_scaled(dtype, spec)
    ]
    if not found and scale != "auto":
        types = ", ".join(f"'{name}' is {dtype}" for name, dtype in dtypes)
        return f"Scale: not applied, since only uint8 for inputs of floats is scaled ({types})."
    return f"Scale: {'; '.join(found)}." if found else ""
