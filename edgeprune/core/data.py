"""Data for calibration, validation and training: reads an `.npz` and checks it against a model."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeprune.core.arrays import Array
from edgeprune.core.errors import DataError, QualityWarning
from edgeprune.core.npz import ArrayFile

Scale: TypeAlias = "tuple[float, float] | Literal['auto']"
"""Mean and standard deviation by which uint8 becomes `(x - mean) / std`; "auto" takes those of each
input, see `InputSpec.scale`."""
DEFAULT_SCALE = (127.5, 127.5)
"""Mean and standard deviation that scale uint8 images to [-1, 1]."""
RAW = (0.0, 1.0)
"""Mean and standard deviation that leave values as they are."""
TEST_FRACTION = 0.2
"""Fraction of the samples that are held out to measure accuracy if the file has no test set."""


@dataclass(frozen=True)
class InputSpec:
    """An input of a model: name, shape without the batch axis (None for any size) and dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    scale: tuple[float, float] | None = None
    """What "auto" scales uint8 by: `RAW` where the model preprocesses its input itself. None if
    nothing is known of the model, which means `DEFAULT_SCALE`."""
    ids: bool = False
    """Whether it takes whole numbers that choose rows of a table, which are never scaled."""

    def scale_by(self, asked: Scale) -> tuple[float, float]:
        """Mean and standard deviation that uint8 values of this input are scaled by."""
        if self.ids:
            return RAW
        return asked if asked != "auto" else self.scale or DEFAULT_SCALE


def scales_by_name(inputs: Sequence[InputSpec], asked: Scale) -> dict[str, list[float]]:
    """`[mean, std]` for uint8 data by the name of the input in a .tflite file; float inputs only.

    A manifest keeps this; `with_scales` reads it.
    """
    return {
        signature_name(spec.name): list(spec.scale_by(asked))
        for spec in inputs
        if spec.dtype.startswith("float")
    }


def with_scales(inputs: Sequence[InputSpec], scales: Mapping[str, object]) -> tuple[InputSpec, ...]:
    """Inputs with the scales that a manifest keeps, of those that it has valid ones for."""
    return tuple(
        replace(spec, scale=_known_scale(scales.get(signature_name(spec.name))) or spec.scale)
        for spec in inputs
    )


def _known_scale(found: object) -> tuple[float, float] | None:
    if not isinstance(found, list) or len(found) != 2:
        return None
    if not all(isinstance(part, int | float) and np.isfinite(part) for part in found):
        return None
    return (float(found[0]), float(found[1])) if found[1] > 0 else None


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
    y: Array | tuple[Array, ...] | None = None
    """`[n, ...]`; for a model with several outputs a tuple with one array per output."""
    scaling: str = ""
    """A sentence that says what uint8 values became when they were read; empty if there were none.
    """

    def __len__(self) -> int:
        return len(self.x[0])

    def take(self, rows: npt.NDArray[np.intp] | slice) -> Data:
        """The samples of the given rows (indices `[k]` or a slice), in that order."""
        labels = tuple(array[rows] for array in self.labels)
        y = labels if isinstance(self.y, tuple) else labels[0] if labels else None
        return replace(self, x=tuple(array[rows] for array in self.x), y=y)

    @property
    def labels(self) -> tuple[Array, ...]:
        """One array `[n, ...]` per output with labels; empty without."""
        return self.y if isinstance(self.y, tuple) else () if self.y is None else (self.y,)


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
    scale: Scale = "auto",
    labels: bool = False,
    outputs: Sequence[str] = (),
) -> Data:
    """Reads `x`, and labels if present, from an `.npz`.

    Args:
      path: an `.npz` with `x`, `[n, ...]`; for a model with several inputs one array per input,
        under the input's name. uint8 becomes `(x - mean) / std` for an input of floats.
      inputs: the inputs of the model, in its order.
      scale: mean and standard deviation for uint8; "auto" takes those of each input.
      labels: whether labels are required.
      outputs: names of the model's outputs. Several have labels of their own, `y_NAME`; else it is
        `y`.

    Raises:
      DataError: not an `.npz`; an array is missing, has the wrong shape or dtype, or holds NaN or
        infinity; or the arrays differ in length.

    Warns:
      QualityWarning: numbers from 0 to 255 that are not uint8, where the model does not
        preprocess.
    """
    return _data(path, ArrayFile(path), inputs, outputs, "", scale, labels)


def read_split(
    path: Path,
    inputs: tuple[InputSpec, ...],
    *,
    scale: Scale = "auto",
    outputs: Sequence[str] = (),
) -> Split:
    """Reads a training set and a test set, so that accuracy is measured on unseen samples.

    The test set is `x_test`, `y_test` (with several inputs, `<input>_test`) if the file has them;
    else every fifth sample is held out. With fewer than five samples both sets are all of them.

    Args:
      path: an `.npz` as `read_data` takes it.
      inputs: the inputs of the model, in its order.
      scale: mean and standard deviation for uint8; "auto" takes those of each input.
      outputs: as in `read_data`.

    Raises:
      DataError: as `read_data`.
    """
    arrays = ArrayFile(path)
    everything = _data(path, arrays, inputs, outputs, "", scale, labels=False)
    if any(name.endswith("_test") for name in arrays):
        return Split(everything, _data(path, arrays, inputs, outputs, "_test", scale, labels=False))
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
    outputs: Sequence[str],
    suffix: str,
    scale: Scale,
    labels: bool,
) -> Data:
    names = _array_names(arrays, inputs, suffix)
    label_names = _label_names(arrays, outputs, suffix)
    for name in [*names, *(label_names if labels else [])]:
        if name not in arrays:
            raise DataError(
                f"{path}: array '{name}' is missing. Received: {', '.join(arrays) or 'no arrays'}."
            )
    x = tuple(
        _sample_array(f"{path}: array '{name}'", arrays[name], spec, scale)
        for name, spec in zip(names, inputs, strict=True)
    )
    found = [name for name in label_names if name in arrays]
    if found and len(found) < len(label_names):
        raise DataError(
            f"{path}: expected labels for every output, {', '.join(label_names)}. "
            f"Received: {', '.join(found)}."
        )
    lengths = {name: len(array) for name, array in zip(names, x, strict=True)}
    lengths |= {name: len(np.atleast_1d(arrays[name])) for name in found}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DataError(
            f"{path}: expected arrays with the same number of samples, at least one. "
            f"Received: {told}."
        )
    for name in found:
        _require_finite(f"{path}: array '{name}'", arrays[name])
    several = tuple(arrays[name] for name in found)
    y = several if len(several) > 1 else several[0] if several else None
    return Data(x, y, _scaling({name: arrays[name] for name in names}, inputs, scale))


def _scaling(arrays: Mapping[str, Array], inputs: Sequence[InputSpec], scale: Scale) -> str:
    """Says what uint8 values became, or that a scale that was asked for had nothing to scale."""
    found = [
        f"uint8 values of '{name}' {_in_words(spec.scale_by(scale))}"
        for (name, array), spec in zip(arrays.items(), inputs, strict=True)
        if _is_scaled(array, spec)
    ]
    if not found and scale != "auto":
        types = ", ".join(f"'{name}' is {array.dtype}" for name, array in arrays.items())
        return f"Scale: not applied, since only uint8 for inputs of floats is scaled ({types})."
    return f"Scale: {'; '.join(found)}." if found else ""


def _in_words(scale: tuple[float, float]) -> str:
    mean, std = scale
    return "stay as they are" if scale == RAW else f"become (x - {mean:g}) / {std:g}"


def _is_scaled(array: Array, spec: InputSpec) -> bool:
    return array.dtype == np.uint8 and spec.dtype.startswith("float")


def _label_names(arrays: Mapping[str, Array], outputs: Sequence[str], suffix: str) -> list[str]:
    """The name of each output's labels; several outputs have `y_NAME`, unless there is only `y`."""
    named = [f"y_{name}{suffix}" for name in outputs]
    if len(named) > 1:
        return [f"y{suffix}"] if f"y{suffix}" in arrays and named[0] not in arrays else named
    alone = bool(named) and named[0] in arrays and f"y{suffix}" not in arrays
    return named if alone else [f"y{suffix}"]


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


def _sample_array(subject: str, array: Array, spec: InputSpec, scale: Scale) -> Array:
    if not _fits(array.shape, spec.shape):
        sizes = ", ".join("any" if size is None else str(size) for size in spec.shape)
        raise DataError(
            f"{subject}: the model takes [n, {sizes}]. Received: shape {list(array.shape)}."
        )
    if array.dtype.kind not in "fiub":
        raise DataError(f"{subject}: expected numbers. Received: type {array.dtype}.")
    if _is_scaled(array, spec):
        mean, std = spec.scale_by(scale)
        array = (array.astype(np.float32) - mean) / std
    else:
        _warn_if_unscaled(subject, array, spec)
    _require_finite(subject, array)
    return array.astype(spec.dtype)


def _warn_if_unscaled(subject: str, array: Array, spec: InputSpec) -> None:
    """Warns of what looks like images that were never scaled, for a model that wants them scaled.

    8-bit images hold values above 127 practically always; smaller numbers may be anything.
    """
    wants_scaled = spec.dtype.startswith("float") and spec.scale not in (None, RAW)
    if wants_scaled and array.size and array.min() >= 0 and 127 < array.max() <= 255:
        warnings.warn(
            f"{subject}: expected values scaled as in training, since the model does not "
            f"preprocess. Received: {array.dtype} from {array.min():g} to {array.max():g}, which "
            "is fed as it is. Scale it, or save it as uint8 and give --scale MEAN,STD.",
            QualityWarning,
            stacklevel=2,
        )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) + 1 and all(
        size is None or size == found for size, found in zip(wanted, shape[1:], strict=True)
    )


def _require_finite(subject: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise DataError(
            f"{subject}: expected finite numbers. Received: {bad} NaN or infinite values of "
            f"{array.size}. Remove or repair those samples."
        )
