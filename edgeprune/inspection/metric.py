"""A user's own measure of how good outputs are: `module:function` or `path/to/file.py:function`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.data import Source, signature_name
from edgeprune.core.errors import DataError
from edgeprune.core.sources.explain import explaining
from edgeprune.core.sources.function import load_code, names_function
from edgeprune.core.spelling import suggestion
from edgeprune.inspection.accuracy import EMULATED_SAMPLES, Order, run_labelled
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.tflite.decode.plain_form import runnable_form
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.signature import output_ports


@dataclass(frozen=True)
class Metric:
    """What takes the place of accuracy."""

    name: str
    """`file.py:function`, as messages call it."""
    function: Callable[[Any, Any], Any]
    """Takes labels and outputs `[n, ...]`, or tuples of them for several outputs."""
    minimize: bool = False
    """Whether less is better."""

    def of(self, y: Any, outputs: list[Array], subject: str) -> float:
        """The value for labels and outputs.

        Args:
          y: labels `[n, ...]`; a tuple of them for several outputs.
          outputs: one array `[n, ...]` per output.
          subject: whose outputs they are, as messages call it.

        Raises:
          DataError: the function raised something, or gave no finite number.
        """
        with explaining(f"{self.name} on the outputs of {subject}"):
            value = self.function(y, outputs[0] if len(outputs) == 1 else tuple(outputs))
        if not _is_number(value):
            raise DataError(
                f"{self.name} on the outputs of {subject}: expected one finite number. Received: "
                f"{value!r:.100}. Return a float."
            )
        return float(value)


@dataclass(frozen=True)
class MetricValue:
    """The value of a metric, on how many samples and where they ran."""

    value: float
    samples: int
    runtime: str


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | str | bytes | None) or np.size(value) != 1:
        return False
    array = np.asarray(value)
    return array.dtype.kind in "fiu" and math.isfinite(float(array.reshape(())))


def open_metric(given: str | Callable[[Any, Any], Any], *, minimize: bool = False) -> Metric:
    """A metric by the name of its function, or a function.

    Raises:
      DataError: there is no such file, module or function, or its code raised something.
    """
    if not isinstance(given, str):
        name = getattr(given, "__qualname__", type(given).__qualname__)
        return Metric(name, given, minimize)
    if not names_function(given):
        raise DataError(
            f"{given}: expected a metric as module:function or path/to/file.py:function."
        )
    code, _, name = given.rpartition(":")
    module = load_code(code, DataError)
    function = getattr(module, name, None)
    if not callable(function):
        known = [each for each, part in vars(module).items() if callable(part)]
        raise DataError(
            f"{given}: expected a function '{name}' in {code}, which takes labels and outputs. "
            f"Received: {'nothing of that name' if function is None else type(function).__name__}."
            f"{suggestion(name, known)}"
        )
    return Metric(given, function, minimize)


def metric_of_file(
    metric: Metric,
    path: Path,
    profile: DeviceProfile,
    data: Source,
    ordered: Order = list,
    *,
    names: tuple[str, ...] = (),
    samples: int = EMULATED_SAMPLES,
) -> MetricValue:
    """What a metric says of the outputs of a file in the real runtime.

    Args:
      metric: the metric.
      path: a .tflite file.
      profile: names the runtime, and the core for half precision.
      data: samples with labels.
      ordered: puts one array per input into the order of the file's inputs.
      names: of the model's outputs, in the order in which the metric takes them; that of the file
        if empty.
      samples: the most that are run on an emulated core, evenly spread.

    Raises:
      DataError: there are no labels, or as `Metric.of`.
      TargetError, WorkerError: as `accuracy`.
    """
    labels: list[tuple[Array, ...]] = []
    outputs: list[list[Array]] = []
    runtime, several = "", False
    with runnable_form(tflite_file.read(path)) as graph:
        places = _places(names, [port.name for port in output_ports(graph)])
        for chunk in run_labelled(graph, profile, data, ordered, samples):
            several = isinstance(chunk.y, tuple)
            labels.append(_labels(chunk.y))
            outputs.append([chunk.outputs[place] for place in places])
            runtime = chunk.runtime
    y = tuple(np.concatenate(parts) for parts in zip(*labels, strict=True))
    joined = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    value = metric.of(y if several else y[0], joined, path.name)
    return MetricValue(value, len(y[0]), runtime)


def metric_of_model(metric: Metric, model: Any, data: Source) -> MetricValue:
    """The same of the outputs of a Keras model, in float.

    Raises:
      DataError: as `metric_of_file`.
    """
    from edgeprune.keras_model.interface import predict

    labels: list[tuple[Array, ...]] = []
    outputs: list[list[Array]] = []
    several = False
    for chunk in data.chunks(_CHUNK):
        several = isinstance(chunk.y, tuple)
        labels.append(_labels(chunk.y))
        outputs.append(predict(model, list(chunk.x)))
    y = tuple(np.concatenate(parts) for parts in zip(*labels, strict=True))
    joined = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    return MetricValue(metric.of(y if several else y[0], joined, model.name), len(y[0]), "Keras")


_CHUNK = 1024
"""Samples that a model is run on at a time."""


def _places(names: tuple[str, ...], in_file: list[str]) -> list[int]:
    """Where the outputs of a model are in a file; as they come where the names are others."""
    wanted = [signature_name(name) for name in names]
    if sorted(wanted) != sorted(in_file):
        return list(range(len(in_file)))
    return [in_file.index(name) for name in wanted]


def _labels(y: Any) -> tuple[Array, ...]:
    if y is None:
        raise DataError("A metric needs labels: an array 'y', one value for each sample.")
    return y if isinstance(y, tuple) else (y,)
