"""Opens whatever samples come in: a path, the name of a function, or a value of any kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.data import Data, InputSpec, Ports, Scale, Split
from edgeprune.core.errors import DataError
from edgeprune.core.npz import ArrayFile
from edgeprune.core.scaling import RAW, ChannelScale
from edgeprune.core.sources.folder import ArrayFolder
from edgeprune.core.sources.function import call_function, names_function
from edgeprune.core.sources.images import class_folders, image_table
from edgeprune.core.sources.named import named_table, warn_of_unscaled
from edgeprune.core.sources.stream import HELD_OUT_EVERY, Stream
from edgeprune.core.sources.table import Table
from edgeprune.core.spelling import with_article

KINDS = (
    "an .npz file, a folder with x.npy and y.npy, a folder of images with one sub-folder per "
    "class, or a function as path/to/file.py:function or module:function"
)
MAX_TEST_SAMPLES = 2048
"""Most samples of a stream that accuracy is measured on, since they are kept in memory."""
_TEST = "_test"
AnySource: TypeAlias = Data | Table | Stream
"""Every kind of source that there is."""


@dataclass(frozen=True)
class _Named:
    """Arrays by name, which are a table for each suffix."""

    arrays: Mapping[str, Array]
    subject: str


@dataclass(frozen=True)
class _Opened:
    """What was found, before it is a source for some model."""

    value: Any
    """`_Named`, the path of a folder of images, or a value."""
    subject: str
    scale: Scale
    from_file: bool
    """Whether it comes from `--data`, whose uint8 values are scaled."""


def open_source(
    given: Any, ports: Ports, *, scale: Scale = "auto", labels: bool = False
) -> AnySource:
    """Opens samples of any kind, to be read as they are used.

    uint8 from files, folders and functions is scaled for inputs of floats; values that are given
    in Python are fed as they are.

    Args:
      given: a path or the name of a function, as `--data` takes it; arrays, one `[n, ...]` per
        input in a list, or by the names of the inputs (or `x`) with labels as `y`; `(x, y)`; a
        `tf.data.Dataset`, a `PyDataset` or an iterable, with batches or single samples; or what
        this function gave before.
      ports: what the model takes.
      scale: what uint8 is scaled by; "auto" takes the scale of each input.
      labels: whether labels are required, where that is known before samples are read.

    Raises:
      DataError: there are no such samples, or they are not what the model takes.

    Warns:
      QualityWarning: samples that look wrongly scaled, and files that are left out.
    """
    if isinstance(given, Data | Table | Stream):
        return given
    return _source(_opened(given, scale), ports, labels=labels)


def samples_of(given: Any, ports: Ports, count: int, *, scale: Scale = "auto") -> Data | None:
    """At most `count` samples of any source, read into memory; None for None.

    Args:
      given: as `open_source` takes it.
      ports: what the model takes.
      count: evenly spread so many, of a stream the first.
      scale: as of `open_source`.

    Raises:
      DataError: as `open_source`.
    """
    return None if given is None else open_source(given, ports, scale=scale).some(count)


def open_split(
    given: Any, ports: Ports, *, validation: Any = None, scale: Scale = "auto"
) -> Split[AnySource]:
    """Opens samples to train on and others to measure accuracy on.

    The test set is `validation`; else `x_test`, `y_test` (with several inputs, `<input>_test`) of
    the arrays, if they have them; else every fifth sample is held out. With fewer than five samples
    both sets are all of them. Of a stream, the test set is read at once.

    Args:
      given: as `open_source` takes it.
      ports: what the model takes.
      validation: the test set, as `open_source` takes it; None to find one in `given`.
      scale: as of `open_source`.

    Raises:
      DataError: as `open_source`, or a stream can be read only once.
    """
    everything, test = open_with_test(given, ports, validation=validation, scale=scale)
    return hold_out(everything) if test is None else Split(everything, test)


def open_with_test(
    given: Any, ports: Ports, *, validation: Any = None, scale: Scale = "auto"
) -> tuple[AnySource, AnySource | None]:
    """Opens samples and the test set that goes with them, if there is one of its own.

    Args:
      given: as `open_split` takes it.
      ports: what the model takes.
      validation: as of `open_split`.
      scale: as of `open_source`.

    Returns:
      The samples, and the test set; None where neither `validation` nor arrays of `given` are one.

    Raises:
      DataError: as `open_split`.
    """
    opened = _opened(given, scale)
    everything = _source(opened, ports)
    if isinstance(everything, Stream):
        _require_again(everything)
    if validation is not None:
        return everything, _in_memory(open_source(validation, ports, scale=scale))
    named = opened.value
    if isinstance(named, _Named) and any(name.endswith(_TEST) for name in named.arrays):
        return everything, _source(opened, ports, suffix=_TEST)
    return everything, None


def hold_out(everything: AnySource) -> Split[AnySource]:
    """Every fifth sample as the test set; with fewer than five samples both sets are all of them.

    Of a stream, the test set is read at once.
    """
    if isinstance(everything, Stream):
        held_out = replace(everything, held_out=True)
        return Split(replace(everything, held_out=False), held_out.some(MAX_TEST_SAMPLES))
    if len(everything) < HELD_OUT_EVERY:
        return Split(everything, everything)
    rest = np.arange(len(everything)) % HELD_OUT_EVERY == 0
    return Split(everything.only(np.flatnonzero(~rest)), everything.only(np.flatnonzero(rest)))


def read_data(
    path: Path,
    inputs: tuple[InputSpec, ...],
    *,
    scale: Scale = "auto",
    labels: bool = False,
    outputs: Sequence[str] = (),
) -> Data:
    """Reads all samples of a file or folder into memory.

    Args:
      path: as `open_source` takes it.
      inputs: the inputs of the model, in its order.
      scale: what uint8 is scaled by; "auto" takes the scale of each input.
      labels: whether labels are required.
      outputs: names of the model's outputs.

    Raises:
      DataError: as `open_source`; or values are not finite.
    """
    return _whole(open_source(path, Ports(inputs, tuple(outputs)), scale=scale, labels=labels))


def read_split(
    path: Path,
    inputs: tuple[InputSpec, ...],
    *,
    scale: Scale = "auto",
    outputs: Sequence[str] = (),
) -> Split[Data]:
    """Reads a training set and a test set into memory, as `open_split` finds them.

    Args:
      path: as `open_source` takes it.
      inputs: as of `read_data`.
      scale: as of `read_data`.
      outputs: as of `read_data`.

    Raises:
      DataError: as `read_data`.
    """
    split = open_split(path, Ports(inputs, tuple(outputs)), scale=scale)
    return Split(_whole(split.train), _whole(split.test))


def _whole(source: AnySource) -> Data:
    return _in_memory(source).take(slice(None))


def _in_memory(source: AnySource) -> Data | Table:
    """A source of which any rows can be read; a stream's samples are kept, up to a number."""
    return source if isinstance(source, Data | Table) else source.some(MAX_TEST_SAMPLES)


def _require_again(stream: Stream) -> None:
    if not stream.again:
        raise DataError(
            f"{stream.subject}: expected samples that can be read more than once, since "
            "some of them measure accuracy. Received: "
            f"{with_article(type(stream.given).__name__)}. Give arrays, a tf.data.Dataset or a "
            "PyDataset."
        )


def _opened(given: Any, scale: Scale) -> _Opened:
    """What a path or a name stands for, and any other value as it is."""
    if isinstance(given, str | Path):
        subject = str(given)
        if not Path(given).exists() and names_function(subject):
            return _Opened(_named(_called(subject), subject), subject, scale, True)
        return _Opened(_on_disk(Path(given)), subject, scale, True)
    return _Opened(_named(given, "data"), "data", RAW, False)


@dataclass(frozen=True)
class _Calls:
    """What a function yields, which is called again each time that it is read."""

    function: str

    def __iter__(self) -> Iterator[Any]:
        yield from call_function(self.function)


def _called(function: str) -> Any:
    """What a function gives, in a form that can be read more than once."""
    given = call_function(function)
    return _Calls(function) if isinstance(given, Iterator) else given


def _on_disk(path: Path) -> Any:
    """The arrays of a file or folder, or the path of a folder of images.

    Raises:
      DataError: there is no such file, or it is of no kind that is known.
    """
    if not path.is_dir():
        return _Named(ArrayFile(path), str(path))
    arrays = ArrayFolder(path)
    if arrays:
        return _Named(arrays, str(path))
    places = class_folders(path)
    if not places:
        found = sorted(place.name for place in path.iterdir())[:5]
        raise DataError(
            f"{path}: expected {KINDS}. Received: a folder without sub-folders or .npy files "
            f"({', '.join(found) or 'empty'})."
        )
    return path


def _named(value: Any, subject: str) -> Any:
    """Arrays by name, where a value is that; any other value as it is."""
    match value:
        case Mapping():
            return _Named({str(name): np.asanyarray(part) for name, part in value.items()}, subject)
        case str() | Path():
            return _on_disk(Path(value))
        case _:
            return value


def _source(opened: _Opened, ports: Ports, *, labels: bool = False, suffix: str = "") -> AnySource:
    _require_colours(opened, ports.inputs)
    value, subject, scale = opened.value, opened.subject, opened.scale
    match value:
        case Data() | Table() | Stream():
            return value
        case _Named():
            known = ports if ports.inputs else _guessed(ports, value.arrays)
            table = named_table(subject, value.arrays, known, scale, suffix=suffix, labels=labels)
        case Path():
            return image_table(value, ports, scale)
        case _ if _is_arrays(value):
            table = _table_of_parts(subject, value, ports, scale, labels)
        case _ if hasattr(value, "__iter__") or hasattr(value, "__getitem__"):
            classes = tuple(map(str, getattr(value, "class_names", None) or ()))
            return Stream(value, ports, scale, subject, classes)
        case _:
            raise DataError(
                f"{subject}: expected {KINDS}; in Python also arrays, (x, y), a dict, a "
                f"tf.data.Dataset or a PyDataset. Received: {with_article(type(value).__name__)}."
            )
    if not opened.from_file:
        return replace(table, scaling="")
    warn_of_unscaled(table)
    return table


def _is_arrays(value: Any) -> bool:
    """Whether a value is an array, arrays in a list, or `(x, y)` of these."""
    if isinstance(value, list):
        return bool(value) and not any(isinstance(part, tuple) for part in value)
    return isinstance(value, tuple) or (hasattr(value, "shape") and hasattr(value, "dtype"))


def _table_of_parts(subject: str, value: Any, ports: Ports, scale: Scale, labels: bool) -> Table:
    """A table of an array, of arrays in a list, or of `(x, y)`.

    Raises:
      DataError: the number of arrays is not that of the inputs or outputs.
    """
    x, y = (value[0], value[1:2]) if isinstance(value, tuple) and value else (value, ())
    if not ports.inputs:
        parts = x if isinstance(x, list) else [x]
        ports = _guessed(ports, {f"x_{place}": np.asanyarray(x) for place, x in enumerate(parts)})
    arrays = _by_name(subject, x, [spec.name for spec in ports.inputs], "x")
    for part in y:
        named = [f"y_{name}" for name in ports.outputs]
        arrays |= _by_name(subject, part, named if len(named) > 1 else [], "y")
    return named_table(subject, arrays, ports, scale, labels=labels)


def _guessed(ports: Ports, arrays: Mapping[str, Array]) -> Ports:
    """Ports with inputs like the arrays, for a model that does not declare its inputs."""
    named = {name: arrays[name] for name in arrays if re.fullmatch(r"x(_\d+)?", name)}
    specs = [
        InputSpec(
            name, array.shape[1:], "float32" if array.dtype.kind in "fu" else str(array.dtype)
        )
        for name, array in named.items()
    ]
    return replace(ports, inputs=tuple(specs))


def _by_name(subject: str, given: Any, names: Sequence[str], alone: str) -> dict[str, Array]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        prefix = "y_" if alone == "y" else ""
        found = {f"{prefix}{name}": np.asanyarray(part) for name, part in given.items()}
        return {alone: next(iter(found.values()))} if len(found) == 1 else found
    several = isinstance(given, list | tuple) and all(hasattr(part, "shape") for part in given)
    parts = list(given) if several else [given]
    if len(parts) == 1:
        return {names[0] if len(names) > 1 else alone: np.asanyarray(parts[0])}
    if len(parts) != len(names):
        kind = "labels" if alone == "y" else "inputs"
        raise DataError(
            f"{subject}: expected one array for each of the model's {kind} "
            f"({', '.join(names) or alone}). Received: {len(parts)}. Labels go beside them, as "
            "(x, y) or Data(x, y)."
        )
    return {name: np.asanyarray(part) for name, part in zip(names, parts, strict=True)}


def _require_colours(opened: _Opened, inputs: Sequence[InputSpec]) -> None:
    """Checks that a scale by channel has an input to be applied to."""
    scale = opened.scale
    if isinstance(scale, ChannelScale) and not any(spec.takes_colours for spec in inputs):
        shapes = ", ".join(str([size or "any" for size in spec.shape]) for spec in inputs)
        raise DataError(
            f"{opened.subject}: expected a model with an input of RGB images [h, w, 3], to "
            f"preprocess as {scale.name or 'its manifest says'}. Received: a model that takes "
            f"{shapes}. Give --scale MEAN,STD."
        )
