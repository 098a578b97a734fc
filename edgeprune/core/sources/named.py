"""Tables from arrays by name: of an `.npz`, a folder of `.npy` files or a dict."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.data import InputSpec, Ports, Scale, signature_name, spread
from edgeprune.core.errors import DataError, QualityWarning
from edgeprune.core.sources.table import (
    ArrayColumn,
    Table,
    describe_scaling,
    require_shape,
    warn_if_unscaled,
)

LOOKED_AT = 256
"""Samples that are looked at for numbers that were never scaled."""


def named_table(
    subject: str,
    arrays: Mapping[str, Array],
    ports: Ports,
    scale: Scale,
    *,
    suffix: str = "",
    labels: bool = False,
) -> Table:
    """A table of the arrays that a model takes; others are not opened.

    Args:
      subject: what messages call them, such as a path.
      arrays: `x`, `[n, ...]`, or one array per input under its name; labels `y`, or `y_NAME` for
        each of several outputs.
      ports: what the model takes.
      scale: what uint8 is scaled by.
      suffix: "_test" for the test set.
      labels: whether labels are required.

    Raises:
      DataError: an array is missing, has the wrong shape or is not of numbers, or lengths differ.
    """
    inputs = ports.inputs
    names = _array_names(arrays, inputs, suffix)
    label_names = _label_names(arrays, ports.outputs, suffix)
    for name in [*names, *(label_names if labels else [])]:
        if name not in arrays:
            raise DataError(
                f"{subject}: array '{name}' is missing. Received: "
                f"{', '.join(arrays) or 'no arrays'}."
            )
    x = [np.asanyarray(arrays[name]) for name in names]
    for name, array, spec in zip(names, x, inputs, strict=True):
        require_shape(f"{subject}: array '{name}'", array.shape, spec)
        if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
            raise DataError(
                f"{subject}: array '{name}': expected numbers. Received: type {array.dtype}."
            )
    found = _found_labels(subject, arrays, label_names)
    _warn_of_other_labels(subject, arrays, label_names, suffix)
    lengths = {name: len(array) for name, array in zip(names, x, strict=True)}
    lengths |= {name: len(np.atleast_1d(array)) for name, array in found.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DataError(
            f"{subject}: expected arrays with the same number of samples, at least one. "
            f"Received: {told}."
        )
    dtypes = [(name, array.dtype) for name, array in zip(names, x, strict=True)]
    return Table(
        subject=subject,
        names=tuple(names),
        columns=tuple(ArrayColumn(array) for array in x),
        specs=inputs,
        scale=scale,
        label_names=tuple(found),
        stored_labels=tuple(found.values()),
        scaling=describe_scaling(dtypes, inputs, scale),
    )


def _found_labels(
    subject: str, arrays: Mapping[str, Array], names: Sequence[str]
) -> dict[str, Array]:
    found = {name: np.asanyarray(arrays[name]) for name in names if name in arrays}
    if found and len(found) < len(names):
        raise DataError(
            f"{subject}: expected labels for every output, {', '.join(names)}. "
            f"Received: {', '.join(found)}."
        )
    return found


def _warn_of_other_labels(
    subject: str, arrays: Mapping[str, Array], names: Sequence[str], suffix: str
) -> None:
    """Warns where none of the labels of several outputs is there, but others are."""
    of_this_set = [name for name in arrays if name.endswith("_test") == (suffix == "_test")]
    others = [name for name in of_this_set if name.startswith("y_")]
    if len(names) > 1 and others and not any(name in arrays for name in names):
        warnings.warn(
            f"{subject}: {', '.join(others)}: no output of the model has this name, and nothing is "
            f"done with them. Its labels are {', '.join(names)}.",
            QualityWarning,
            stacklevel=4,
        )


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
    by_signature = {signature_name(name): name for name in arrays}
    if len(inputs) == 1:
        own = by_signature.get(signature_name(f"{inputs[0].name}{suffix}"))
        return [own if own is not None and f"x{suffix}" not in arrays else f"x{suffix}"]
    wanted = [f"{spec.name}{suffix}" for spec in inputs]
    return [
        name if name in arrays else by_signature.get(signature_name(name), name) for name in wanted
    ]


def warn_of_unscaled(table: Table) -> None:
    """Warns of samples that look as if they were never scaled, see `warn_if_unscaled`.

    Warns:
      QualityWarning: some do.
    """
    rows = spread(len(table), LOOKED_AT)
    for name, column, spec in zip(table.names, table.columns, table.specs, strict=True):
        if column.dtype != np.uint8:
            warn_if_unscaled(f"{table.subject}: array '{name}'", column.read(rows)[0], spec)
