"""Accuracy of a .tflite file on labelled samples, in the real runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeprune.core.arrays import Array
from edgeprune.core.data import Data
from edgeprune.core.errors import DataError
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.host import HOST
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.signature import output_ports


def accuracy(path: Path, profile: DeviceProfile, data: Data) -> float:
    """The fraction of samples that a classifier names correctly.

    A class is the largest of several outputs; with a single output it is 1 above the middle (0.5
    for a probability, 0 for a logit).

    Args:
      path: a .tflite file with one output `[1, classes]`.
      profile: names the runtime.
      data: samples in the order of the file's inputs, and labels `[n]` or `[n, 1]`.

    Raises:
      DataError: the labels are not classes, or the model is not a classifier.
      WorkerError: the runtime refuses the file, crashes on it or does not end.
    """
    graph = tflite_file.read(path)
    labels = _class_labels(data.y)
    ports = output_ports(graph)
    if len(ports) != 1 or len(ports[0].shape) != 2:
        shapes = "; ".join(f"{port.name} {list(port.shape)}" for port in ports)
        raise DataError(f"{path}: accuracy needs one output [1, classes]. Received: {shapes}.")
    reply = HOST.run(graph, list(data.x), HOST.runtimes(profile)[0])
    return float(np.mean(_classes(reply.outputs[0]) == labels))


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


def _classes(outputs: Array) -> npt.NDArray[np.int64]:
    if outputs.shape[1] > 1:
        best: npt.NDArray[np.int64] = np.argmax(outputs, axis=1)
        return best
    middle = 0.5 if outputs.min() >= 0 and outputs.max() <= 1 else 0.0
    return (outputs[:, 0] > middle).astype(np.int64)
