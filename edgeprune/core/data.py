"""Data for calibration, validation and training: reads an `.npz` and checks it against a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeprune.core.arrays import Array
from edgeprune.core.errors import DataError
from edgeprune.core.npz import ArrayFile

DEFAULT_SCALE = (127.5, 127.5)
"""Mean and standard deviation that scale uint8 images to [-1, 1]."""
TEST_FRACTION = 0.2
"""Fraction of the samples that are held out to measure accuracy if the file has no test set."""


@dataclass(frozen=True)
class InputSpec:
    """An input of a model: name, shape without the batch axis (None for any size) and dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"


def signature_name(name: str) -> str:
    """The name that a Keras input or output has in the signature of a .tflite file.

    TensorFlow allows letters, digits and underscores there; anything else becomes an underscore.
    """
    return re.sub(r"\W", "_", name, flags=re.ASCII)


@dataclass(frozen=True)
class Data:
    """Samples with or without labels."""

    x: tuple[Array, ...]
    """One array `[n, ...]` per input of the model."""
    y: Array | None = None
    """`[n, ...]`."""

    def __len__(self) -> int:
        return len(self.x[0])

    def take(self, rows: npt.NDArray[np.intp] | slice) -> Data:
        """The samples of the given rows (indices `[k]` or a slice), in that order."""
        return Data(
            tuple(array[rows] for array in self.x), None if self.y is None else self.y[rows]
        )


def as_data(x: list[Array] | Data | None) -> Data | None:
    """Wraps plain arrays, one `[n, ...]` per input, as `Data`; returns anything else as it is."""
    return Data(tuple(x)) if isinstance(x, list) else x


@dataclass(frozen=True)
class Split:
    """Samples to calibrate or train on, and others to measure accuracy on."""

    train: Data
    test: Data


def read_data(
    path: Path,
    inputs: tuple[InputSpec, ...],
    *,
    scale: tuple[float, float] = DEFAULT_SCALE,
    labels: bool = False,
) -> Data:
    """Reads `x`, and `y` if present, from an `.npz`.

    Args:
      path: an `.npz` with `x`, `[n, ...]`; for a model with several inputs one array per input,
        under the input's name. uint8 becomes `(x - mean) / std`.
      inputs: the inputs of the model, in its order.
      scale: mean and standard deviation for uint8.
      labels: whether `y` is required.

    Raises:
      DataError: not an `.npz`; an array is missing, has the wrong shape or dtype, or holds NaN or
        infinity; or the arrays differ in length.
    """
    return _data(path, ArrayFile(path), inputs, "", scale, labels)


def read_split(
    path: Path,
    inputs: tuple[InputSpec, ...],
    *,
    scale: tuple[float, float] = DEFAULT_SCALE,
) -> Split:
    """Reads a training set and a test set, so that accuracy is measured on unseen samples.

    The test set is `x_test`, `y_test` (with several inputs, `<input>_test`) if the file has them;
    else every fifth sample is held out. With fewer than five samples both sets are all of them.

    Args:
      path: an `.npz` as `read_data` takes it.
      inputs: the inputs of the model, in its order.
      scale: mean and standard deviation for uint8.

    Raises:
      DataError: as `read_data`.
    """
    arrays = ArrayFile(path)
    everything = _data(path, arrays, inputs, "", scale, labels=False)
    if any(name.endswith("_test") for name in arrays):
        return Split(everything, _data(path, arrays, inputs, "_test", scale, labels=False))
    if len(everything) < 1 / TEST_FRACTION:
        return Split(everything, everything)
    held_out = np.arange(len(everything)) % round(1 / TEST_FRACTION) == 0
    return Split(
        everything.take(np.flatnonzero(~held_out)), everything.take(np.flatnonzero(held_out))
    )


def _data(
    path: Path,
    arrays: Mapping[str, Array],
    inputs: tuple[InputSpec, ...],
    suffix: str,
    scale: tuple[float, float],
    labels: bool,
) -> Data:
    names = _array_names(arrays, inputs, suffix)
    label = f"y{suffix}"
    for name in [*names, *([label] if labels else [])]:
        if name not in arrays:
            raise DataError(
                f"{path}: array '{name}' is missing. Received: {', '.join(arrays) or 'no arrays'}."
            )
    x = tuple(
        _sample_array(f"{path}: array '{name}'", arrays[name], spec, scale)
        for name, spec in zip(names, inputs, strict=True)
    )
    y = arrays.get(label)
    lengths = {name: len(array) for name, array in zip(names, x, strict=True)}
    if y is not None:
        lengths[label] = len(np.atleast_1d(y))
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DataError(
            f"{path}: expected arrays with the same number of samples, at least one. "
            f"Received: {found}."
        )
    _require_finite(f"{path}: array '{label}'", y)
    return Data(x, y)


def _array_names(
    arrays: Mapping[str, Array], inputs: tuple[InputSpec, ...], suffix: str
) -> list[str]:
    """The name of each input's array; a file made for a Keras model also fits its .tflite."""
    if len(inputs) == 1:
        return [f"x{suffix}"]
    by_signature = {signature_name(name): name for name in arrays}
    wanted = [f"{spec.name}{suffix}" for spec in inputs]
    return [
        name if name in arrays else by_signature.get(signature_name(name), name) for name in wanted
    ]


def _sample_array(subject: str, array: Array, spec: InputSpec, scale: tuple[float, float]) -> Array:
    if not _fits(array.shape, spec.shape):
        sizes = ", ".join("any" if size is None else str(size) for size in spec.shape)
        raise DataError(
            f"{subject}: the model takes [n, {sizes}]. Received: shape {list(array.shape)}."
        )
    if array.dtype.kind not in "fiub":
        raise DataError(f"{subject}: expected numbers. Received: type {array.dtype}.")
    if array.dtype == np.uint8 and spec.dtype.startswith("float"):
        mean, std = scale
        array = (array.astype(np.float32) - mean) / std
    _require_finite(subject, array)
    return array.astype(spec.dtype)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) + 1 and all(
        size is None or size == found for size, found in zip(wanted, shape[1:], strict=True)
    )


def _require_finite(subject: str, array: Array | None) -> None:
    if array is not None and array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise DataError(
            f"{subject}: expected finite numbers. Received: {bad} NaN or infinite values of "
            f"{array.size}. Remove or repair those samples."
        )
