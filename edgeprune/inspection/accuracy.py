"""Accuracy of a .tflite file on labelled samples, in the real runtime."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeprune.core.arrays import Array
from edgeprune.core.data import Source
from edgeprune.core.errors import DataError
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.host import HOST
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.signature import output_ports
from edgeprune.tflite.metadata import asks_for_halves

CHUNK_BYTES = 256 << 20
"""Bytes of the samples that are run at a time, about."""
LARGEST_CHUNK = 4096
"""Samples that are run at a time at most."""
ARM64_MACHINES = ("aarch64", "arm64")
"""ARM64 processors, as `platform.machine()` names them."""


def accuracy(
    path: Path,
    profile: DeviceProfile,
    data: Source,
    ordered: Callable[[list[Array]], list[Array]] = list,
) -> float:
    """The fraction of samples that a classifier names correctly.

    A class is the largest of several outputs; with a single output it is 1 above the middle (0.5
    for a probability, 0 for a logit).

    Args:
      path: a .tflite file with one output `[1, classes]`.
      profile: names the runtime.
      data: samples with labels `[n]` or `[n, 1]`; read bit by bit.
      ordered: puts one array per input into the order of the file's inputs.

    Raises:
      DataError: the labels are not classes, the model is not a classifier, or the file is computed
        in half precision, which this computer does not do.
      WorkerError: the runtime refuses the file, crashes on it or does not end.
    """
    graph = tflite_file.read(path)
    ports = output_ports(graph)
    if len(ports) != 1 or len(ports[0].shape) != 2:
        shapes = "; ".join(f"{port.name} {list(port.shape)}" for port in ports)
        raise DataError(f"{path}: accuracy needs one output [1, classes]. Received: {shapes}.")
    if asks_for_halves(graph.metadata) and platform.machine() not in ARM64_MACHINES:
        raise DataError(
            f"{path}: its accuracy shows on ARM64 alone, which computes it in half precision; "
            "this computer would compute it in float32."
        )
    runtime = HOST.runtimes(profile)[0]
    labels, outputs = [], []
    for chunk in data.chunks(_chunk_size(data)):
        labels.append(_class_labels(chunk.y))
        outputs.append(_best(HOST.run(graph, ordered(list(chunk.x)), runtime).outputs[0]))
    return float(np.mean(_classes(np.concatenate(outputs)) == np.concatenate(labels)))


def _chunk_size(data: Source) -> int:
    one = sum(array.nbytes for array in data.some(1).x)
    return max(1, min(LARGEST_CHUNK, CHUNK_BYTES // max(1, one)))


def _class_labels(y: Array | tuple[Array, ...] | None) -> Array:
    if y is None:
        raise DataError("accuracy needs labels: an array 'y' [n] of class numbers.")
    if isinstance(y, tuple):
        raise DataError(f"accuracy needs one output with labels. Received: labels of {len(y)}.")
    labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if labels.ndim != 1 or not np.equal(labels, np.round(labels)).all():
        raise DataError(
            f"accuracy needs labels 'y' [n] of class numbers. Received: {list(y.shape)} {y.dtype}."
        )
    return labels.astype(np.int64)


def _best(outputs: Array) -> Array:
    """The number of the largest of several outputs, `[n]`; a single output as it is, `[n, 1]`."""
    return np.asarray(np.argmax(outputs, axis=1)) if outputs.shape[1] > 1 else outputs


def _classes(best: Array) -> npt.NDArray[np.int64]:
    if best.ndim == 1:
        return best.astype(np.int64)
    middle = 0.5 if best.min() >= 0 and best.max() <= 1 else 0.0
    return (best[:, 0] > middle).astype(np.int64)
