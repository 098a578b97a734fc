"""Samples that are read from their beginning: data sets, batches by index, generators."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.data import Data, InputSpec, Ports, Scale, signature_name, spread
from edgeprune.core.errors import DataError, QualityWarning
from edgeprune.core.sources.explain import explaining
from edgeprune.core.sources.table import (
    describe_scaling,
    is_scaled,
    require_finite,
    require_shape,
    sample_values,
    warn_if_unscaled,
)
from edgeprune.core.spelling import with_article

_END = object()
TELLING_SAMPLES = 64
"""Samples of one class that show that a stream is sorted by class."""
HELD_OUT_EVERY = 5
"""One of so many samples is held out of a stream that has no test set."""


@dataclass(frozen=True, eq=False)
class Stream:
    """A `tf.data.Dataset`, a Keras `PyDataset` or an iterable, with batches or single samples.

    An element is `x`, `(x,)`, `(x, y)` or `(x, y, weights)`, as `keras.Model.fit` takes it; `x` is
    an array, or several in a sequence or by the names of the model's inputs.
    """

    given: Any
    """What the samples come from, as it was given."""
    ports: Ports
    """What the model takes."""
    scale: Scale
    """What uint8 is scaled by."""
    subject: str = "data"
    """What messages call it."""
    classes: tuple[str, ...] = ()
    """As of `Data`."""
    held_out: bool | None = None
    """None for all samples; else whether those that are held out are meant, or the others."""
    told: list[str] = field(default_factory=list)
    """What has been said about scaling; known from the first element on."""

    @property
    def scaling(self) -> str:
        """As of `Data`; empty as long as no sample was read."""
        return self.told[0] if self.told else ""

    @property
    def by_index(self) -> bool:
        """Whether batches can be asked for by their number."""
        return is_by_index(self.given)

    @property
    def again(self) -> bool:
        """Whether it can be read more than once."""
        return self.by_index or iter(self.given) is not self.given

    def some(self, count: int) -> Data:
        """At most `count` samples: the first, or of batches with numbers evenly spread ones.

        Raises:
          DataError: there are none, or they are not what the model takes.
        """
        found: list[Data] = []
        anywhere = self.by_index and self.held_out is None
        for part in self._spread_parts(count) if anywhere else self._parts():
            found.append(part)
            if sum(map(len, found)) >= count:
                break
        if not found:
            raise DataError(f"{self.subject}: expected samples. Received: none.")
        data = joined(found).some(count)
        self._warn_of_one_class(data)
        return data

    def chunks(self, count: int) -> Iterator[Data]:
        """All samples in order, at most `count` at a time."""
        waiting: list[Data] = []
        for part in self._parts():
            waiting.append(part)
            if sum(map(len, waiting)) >= count:
                *whole, rest = joined(waiting).chunks(count)
                yield from whole
                waiting = [rest]
        if waiting:
            yield joined(waiting)

    def elements(self) -> Iterator[Any]:
        """The elements as they come; errors of the code behind them name its file and line."""
        if self.by_index:
            for index in range(len(self.given)):
                yield self._batch(index)
            return
        with explaining(self.subject):
            waiting = iter(self.given)
        while True:
            with explaining(self.subject):
                element = next(waiting, _END)
            if element is _END:
                return
            yield element

    def _batch(self, index: int) -> Any:
        with explaining(self.subject):
            return self.given[index]

    def _parts(self) -> Iterator[Data]:
        """The samples of every element, without those that are not meant."""
        seen = 0
        for element in self.elements():
            part = self.samples(element)
            if self.held_out is not None:
                places = np.arange(seen, seen + len(part)) % HELD_OUT_EVERY == 0
                seen += len(part)
                part = part.take(np.flatnonzero(places == self.held_out))
            if len(part):
                yield part

    def _spread_parts(self, count: int) -> Iterator[Data]:
        """The samples of batches whose numbers are evenly spread."""
        batches = len(self.given)
        if not batches:
            return
        size = max(1, len(self.samples(self._batch(0))))
        for index in spread(batches, max(1, -(-count // size))):
            yield self.samples(self._batch(int(index)))

    def samples(self, element: Any) -> Data:
        """An element's samples, as the model takes them.

        Raises:
          DataError: it is not what the model takes.
        """
        given, labels = (element[0], element[1:2]) if isinstance(element, tuple) else (element, ())
        names = [spec.name for spec in self.ports.inputs]
        parts = [_as_array(self.subject, part) for part in _in_order(self.subject, given, names)]
        specs = self.ports.inputs or tuple(
            InputSpec(f"x_{place}", part.shape[1:], str(part.dtype))
            for place, part in enumerate(parts)
        )
        if len(parts) != len(specs):
            raise DataError(
                f"{self.subject}: expected elements with {len(specs)} inputs "
                f"({', '.join(names)}). Received: {len(parts)}. Give a dict by these names, and "
                "labels as (x, y)."
            )
        single = all(part.ndim == len(spec.shape) for part, spec in zip(parts, specs, strict=True))
        x = [part[None] if single else part for part in parts]
        for spec, part in zip(specs, x, strict=True):
            require_shape(f"{self.subject}: input '{spec.name}'", part.shape, spec)
        y = [
            _as_array(self.subject, part)
            for label in labels
            if label is not None
            for part in _in_order(self.subject, label, list(self.ports.outputs))
        ]
        y = [part[None] if single else part for part in y]
        self._check_labels(x, y)
        if not self.told:
            self.told.append(self._describe(x, specs))
            for spec, part in zip(specs, x, strict=True):
                if self.scale == "auto":
                    warn_if_unscaled(f"{self.subject}: input '{spec.name}'", part, spec)
        values = tuple(
            sample_values(f"{self.subject}: input '{spec.name}'", part, spec, self.scale)
            for spec, part in zip(specs, x, strict=True)
        )
        return Data(
            values, tuple(y) if len(y) > 1 else y[0] if y else None, self.scaling, self.classes
        )

    def _warn_of_one_class(self, data: Data) -> None:
        """Warns where the first samples are all of one class, as of a stream that is sorted."""
        alike = len(data.labels) == 1 and len(np.unique(data.labels[0])) == 1
        if alike and self.ports.scores is not None and len(data) >= TELLING_SAMPLES:
            warnings.warn(
                f"{self.subject}: the first {len(data)} samples are all of one class. Shuffle "
                "them, since a stream is read from its beginning.",
                QualityWarning,
                stacklevel=3,
            )

    def _check_labels(self, x: Sequence[Array], y: Sequence[Array]) -> None:
        lengths = [len(part) for part in (*x, *y)]
        if len(set(lengths)) > 1:
            raise DataError(
                f"{self.subject}: expected as many labels as samples in an element. Received: "
                f"{lengths}."
            )
        for part in y:
            require_finite(f"{self.subject}: labels", part)

    def _describe(self, x: Sequence[Array], specs: Sequence[InputSpec]) -> str:
        scales = any(is_scaled(part.dtype, spec) for part, spec in zip(x, specs, strict=True))
        dtypes = [(spec.name, part.dtype) for spec, part in zip(specs, x, strict=True)]
        return describe_scaling(dtypes, specs, self.scale) if scales else ""


def is_by_index(given: Any) -> bool:
    """Whether batches can be asked for by their number, as of a `PyDataset` or a list of them."""
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


def joined(parts: Sequence[Data]) -> Data:
    """Samples one behind the other.

    Args:
      parts: at least one; with labels all of them or none.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    x = tuple(np.concatenate(arrays) for arrays in zip(*(part.x for part in parts), strict=True))
    y = [np.concatenate(arrays) for arrays in zip(*(part.labels for part in parts), strict=True)]
    labels = tuple(y) if isinstance(first.y, tuple) else y[0] if y else None
    return Data(x, labels, first.scaling, first.classes)


def _in_order(subject: str, given: Any, names: Sequence[str]) -> list[Any]:
    """The parts of inputs or labels: of a dict by their names, of a sequence as they come."""
    if isinstance(given, Mapping):
        known = {signature_name(str(name)): value for name, value in given.items()}
        missing = [name for name in names if signature_name(name) not in known]
        if missing or not names:
            raise DataError(
                f"{subject}: expected a dict with the names {', '.join(names)}. Received: "
                f"{', '.join(map(str, given))}."
            )
        return [known[signature_name(name)] for name in names]
    if isinstance(given, tuple) or (isinstance(given, list) and len(names) > 1):
        return list(given)
    return [given]


def _as_array(subject: str, part: Any) -> Array:
    """A tensor or array as an array.

    Raises:
      DataError: it is neither, such as a ragged tensor.
    """
    try:
        found = np.asarray(part)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise DataError(
            f"{subject}: expected arrays or dense tensors. Received: "
            f"{with_article(type(part).__name__)} ({' '.join(str(error).split())[:200]})."
        ) from error
    if found.dtype.kind not in "fiub" and found.dtype.name != "bfloat16":
        raise DataError(f"{subject}: expected numbers. Received: type {found.dtype}.")
    return found
