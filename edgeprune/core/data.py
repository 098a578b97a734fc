"""Samples of a model, what it takes, and how values are scaled for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from edgeprune.core.arrays import Array
from edgeprune.core.scaling import (
    CHANNELS,
    DEFAULT_SCALE,
    RAW,
    ChannelScale,
    Scale,
    ScaleBy,
    scale_from_json,
    scale_to_json,
)

__all__ = [
    "DEFAULT_SCALE",
    "RAW",
    "ChannelScale",
    "Data",
    "InputSpec",
    "Ports",
    "Rows",
    "Scale",
    "Source",
    "Split",
    "scales_by_name",
    "signature_name",
    "spread",
    "with_scales",
]

Rows = npt.NDArray[np.intp]
"""Indices of samples, `[k]`."""


@dataclass(frozen=True)
class InputSpec:
    """An input of a model: name, shape without the batch axis (None for any size) and dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    scale: ScaleBy | None = None
    """What "auto" scales uint8 by: `RAW` where the model preprocesses its input itself. None if
    nothing is known of the model, which means `DEFAULT_SCALE`."""
    ids: bool = False
    """Whether it takes whole numbers that choose rows of a table, which are never scaled."""

    @property
    def takes_colours(self) -> bool:
        """Whether it takes RGB images `[h, w, 3]`."""
        return len(self.shape) == 3 and self.shape[-1] == CHANNELS

    @property
    def takes_images(self) -> bool:
        """Whether it takes RGB or grey images, `[h, w, 3]` or `[h, w, 1]`."""
        return self.takes_colours or (len(self.shape) == 3 and self.shape[-1] == 1)

    def scale_by(self, asked: Scale) -> ScaleBy:
        """What uint8 values of this input are scaled by; a scale by channel is for images only."""
        if self.ids:
            return RAW
        if asked == "auto" or (isinstance(asked, ChannelScale) and not self.takes_colours):
            return self.scale or DEFAULT_SCALE
        return asked


@dataclass(frozen=True)
class Ports:
    """What samples are read for: a model's inputs and outputs."""

    inputs: tuple[InputSpec, ...]
    """In the order of the model."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs; several have labels of their own, `y_NAME`, else it is `y`."""
    scores: int | None = None
    """The length of the one output `[n, scores]` of a classifier; None for other models."""


def scales_by_name(inputs: Sequence[InputSpec], asked: Scale) -> dict[str, list[Any]]:
    """What uint8 data is scaled by, by the name of the input in a .tflite file; float inputs only.

    A manifest keeps this; `with_scales` reads it.
    """
    return {
        signature_name(spec.name): scale_to_json(spec.scale_by(asked))
        for spec in inputs
        if spec.dtype.startswith("float")
    }


def with_scales(inputs: Sequence[InputSpec], scales: Mapping[str, object]) -> tuple[InputSpec, ...]:
    """Inputs with the scales that a manifest keeps, of those that it has valid ones for."""
    return tuple(
        replace(spec, scale=scale_from_json(scales.get(signature_name(spec.name))) or spec.scale)
        for spec in inputs
    )


def signature_name(name: str) -> str:
    """The name that a Keras input or output has in the signature of a .tflite file.

    TensorFlow allows letters, digits and underscores there; anything else becomes an underscore.
    """
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def spread(length: int, count: int) -> Rows:
    """At most `count` of so many rows, evenly spread, since samples may be sorted by class."""
    return np.arange(length) if length <= count else np.arange(count) * length // count


@dataclass(frozen=True)
class Data:
    """Samples in memory, with or without labels."""

    x: tuple[Array, ...]
    """One array `[n, ...]` per input of the model."""
    y: Array | tuple[Array, ...] | None = None
    """`[n, ...]`; for a model with several outputs a tuple with one array per output."""
    scaling: str = ""
    """A sentence that says what uint8 values became when they were read; empty if there were none.
    """
    classes: tuple[str, ...] = ()
    """The names of the classes by their numbers; empty if they are not known."""

    def __len__(self) -> int:
        return len(self.x[0])

    def take(self, rows: Rows | slice) -> Data:
        """The samples of the given rows (indices `[k]` or a slice), in that order."""
        labels = tuple(array[rows] for array in self.labels)
        y = labels if isinstance(self.y, tuple) else labels[0] if labels else None
        return replace(self, x=tuple(array[rows] for array in self.x), y=y)

    def only(self, rows: Rows) -> Data:
        """The same as `take`, as a `Table` has it."""
        return self.take(rows)

    def readable(self) -> Data:
        """These samples, all of which can be read."""
        return self

    def some(self, count: int) -> Data:
        """At most `count` samples, evenly spread."""
        return self if len(self) <= count else self.take(spread(len(self), count))

    def chunks(self, count: int) -> Iterator[Data]:
        """All samples in order, at most `count` at a time."""
        for start in range(0, len(self), count):
            yield self.take(slice(start, start + count))

    @property
    def labels(self) -> tuple[Array, ...]:
        """One array `[n, ...]` per output with labels; empty without."""
        return self.y if isinstance(self.y, tuple) else () if self.y is None else (self.y,)

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return self.y is not None


class Source(Protocol):
    """Samples that are read as they are used: `Data`, a `Table` or a `Stream`."""

    @property
    def scaling(self) -> str:
        """As of `Data`."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """As of `Data`."""
        ...

    def some(self, count: int) -> Data:
        """At most `count` samples, evenly spread; the first ones of a stream."""
        ...

    def chunks(self, count: int) -> Iterator[Data]:
        """All samples in order, at most `count` at a time."""
        ...


Kind = TypeVar("Kind", bound=Source)


@dataclass(frozen=True)
class Split(Generic[Kind]):
    """Samples to calibrate or train on, and others to measure accuracy on."""

    train: Kind
    test: Kind
