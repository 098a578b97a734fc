"""Accuracy of a .tflite file on labelled samples, in the real runtime.

Files run on this computer, but for those that compute in half precision: an ARM64 core alone does
that, so they run on an emulated one, which is slow, on some of the samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeprune.core.arrays import Array
from edgeprune.core.class_numbers import class_numbers
from edgeprune.core.data import Source
from edgeprune.core.errors import DataError, TargetError
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.rules import HALF_PRECISION
from edgeprune.targets.child import Reply
from edgeprune.targets.find import TARGETS, find_target, own_targets
from edgeprune.targets.host import HOST
from edgeprune.targets.target import OnCores
from edgeprune.tflite.decode.plain_form import runnable_form
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.file import Graph
from edgeprune.tflite.format.signature import output_ports
from edgeprune.tflite.metadata import asks_for_halves

CHUNK_BYTES = 256 << 20
"""Bytes of the samples that are run at a time, about."""
LARGEST_CHUNK = 4096
"""Samples that are run at a time at most."""
EMULATED_CHUNK = 64
"""The same on an emulated core, where one may take seconds."""
EMULATED_SAMPLES = 256
"""Samples that accuracy is measured on where it has to be measured on an emulated core."""
Z95 = 1.96
"""Standard deviations on both sides of the mean that hold 95 % of a normal distribution."""
Order: TypeAlias = Callable[[list[Array]], list[Array]]
"""What puts one array per input into the order of a file's inputs."""


@dataclass(frozen=True)
class Accuracy:
    """How often a file names the right class, on how many samples and where it ran."""

    value: float
    """Fraction of the samples."""
    samples: int
    runtime: str
    """With its version and, where it is emulated, the core."""
    emulated: bool = False
    """Whether it ran on an emulated core, and so perhaps on fewer samples than there are."""
    right: Array | None = field(default=None, repr=False, compare=False)
    """Whether each sample was named correctly, `[n]` of bool, in the order of the samples."""

    def __str__(self) -> str:
        return f"{self.value:.3f} of {self.samples} samples, {self.runtime}"


def accuracy(
    path: Path,
    profile: DeviceProfile,
    data: Source,
    ordered: Order = list,
    *,
    samples: int = EMULATED_SAMPLES,
) -> Accuracy:
    """How many samples a classifier names correctly.

    A class is the largest of several outputs; with a single output it is 1 above the middle (0.5
    for a probability, 0 for a logit). Packed weights are unpacked, since they compute the same.

    Args:
      path: a .tflite file with one output `[1, classes]`.
      profile: names the runtime, and the core for half precision.
      data: samples with labels `[n]` or `[n, 1]`; read bit by bit.
      ordered: puts one array per input into the order of the file's inputs.
      samples: the most that are run on an emulated core, evenly spread.

    Raises:
      DataError: the labels are not classes, or the model is not a classifier.
      TargetError: the file computes in half precision, and no core that does is emulated here; says
        what sets that up.
      WorkerError: the runtime refuses the file, crashes on it or does not end.
    """
    with runnable_form(tflite_file.read(path)) as graph:
        return _accuracy(graph, path, profile, data, ordered, samples)


def _accuracy(
    graph: Graph, path: Path, profile: DeviceProfile, data: Source, ordered: Order, samples: int
) -> Accuracy:
    ports = output_ports(graph)
    if len(ports) != 1 or len(ports[0].shape) != 2:
        shapes = "; ".join(f"{port.name} {list(port.shape)}" for port in ports)
        raise DataError(f"{path}: accuracy needs one output [1, classes]. Received: {shapes}.")
    labels, outputs, runtime, emulated = [], [], "", False
    for chunk in run_labelled(graph, profile, data, ordered, samples):
        labels.append(class_labels(chunk.y))
        outputs.append(_best(chunk.outputs[0]))
        runtime, emulated = chunk.runtime, chunk.emulated
    named = np.concatenate(labels)
    right = _classes(np.concatenate(outputs)) == named
    return Accuracy(float(np.mean(right)), len(named), runtime, emulated, right)


@dataclass(frozen=True)
class Answers:
    """What a file answers to some samples."""

    y: Array | tuple[Array, ...] | None
    """Their labels, as `Data` has them."""
    outputs: tuple[Array, ...]
    """One array `[n, ...]` per output, in the order of the file."""
    runtime: str
    emulated: bool


def run_labelled(
    graph: Graph, profile: DeviceProfile, data: Source, ordered: Order, samples: int
) -> Iterator[Answers]:
    """Runs a file on samples, bit by bit; arguments and errors are those of `accuracy`."""
    run, emulated = _runner(graph, profile)
    chosen = data.some(samples) if emulated else data
    for chunk in chosen.chunks(_chunk_size(data, EMULATED_CHUNK if emulated else LARGEST_CHUNK)):
        reply = run(ordered(list(chunk.x)))
        yield Answers(chunk.y, tuple(reply.outputs), reply.facts["runtime"], emulated)


def model_accuracy(model: Any, data: Source) -> Accuracy:
    """How many samples a Keras model names correctly, in float; as `accuracy` else.

    Args:
      model: a built Keras model with one output `[n, classes]`.
      data: samples with labels `[n]` or `[n, 1]`, in the model's order; read bit by bit.

    Raises:
      DataError: the labels are not classes.
    """
    from edgeprune.keras_model.interface import predict

    labels, outputs = [], []
    for chunk in data.chunks(_chunk_size(data, LARGEST_CHUNK)):
        labels.append(class_labels(chunk.y))
        outputs.append(_best(predict(model, list(chunk.x))[0]))
    named = np.concatenate(labels)
    right = _classes(np.concatenate(outputs)) == named
    return Accuracy(float(np.mean(right)), len(named), "Keras", right=right)


def interval(value: float, samples: int) -> tuple[float, float]:
    """The 95 % interval of a fraction of samples.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.
    """
    share = Z95**2 / samples
    middle = (value + share / 2) / (1 + share)
    half = Z95 / (1 + share) * math.sqrt(value * (1 - value) / samples + share / (4 * samples))
    return max(0.0, middle - half), min(1.0, middle + half)


def change(of: Array, against: Array) -> tuple[float, tuple[float, float]]:
    """What one classifier names rightly more often than another, and the 95 % interval of that.

    Both were asked the same samples, so that only those count on which they differ. One more of
    each kind of these is taken for granted: two classifiers that agree on a few samples are not
    thereby equal.

    Args:
      of: whether each sample was named correctly, `[n]` of bool.
      against: the same of the other one.

    Source: Bonett and Price, Adjusted Wald Confidence Interval for a Difference of Binomial
    Proportions Based on Paired Data, 2012.
    """
    gained, lost = int(np.sum(of & ~against)), int(np.sum(~of & against))
    count = len(of) + 2
    middle = (gained - lost) / count
    half = Z95 * math.sqrt(((gained + lost + 2) / count - middle**2) / count)
    return (gained - lost) / len(of), (max(-1.0, middle - half), min(1.0, middle + half))


def _runner(graph: Graph, profile: DeviceProfile) -> tuple[Callable[[list[Array]], Reply], bool]:
    """What runs samples of a file, and whether that is on an emulated core.

    Raises:
      TargetError: nothing here computes what the file does.
    """
    if not asks_for_halves(graph.metadata):
        runtime = HOST.runtimes(profile)[0]
        return lambda inputs: HOST.run(graph, inputs, runtime), False
    target = next((each for _, each in own_targets(profile) if isinstance(each, OnCores)), None)
    if target is not None:
        return lambda inputs: target.run_on_core(graph, inputs, profile), True
    able = [name for name in TARGETS if isinstance(find_target(name), OnCores)]
    raise TargetError(
        f"{graph.path}: {HALF_PRECISION} happens on ARM64 alone: expected one of the targets "
        f"{', '.join(able)} in the profile of {profile.name}. Received: "
        f"{', '.join(profile.targets)}."
    )


def _chunk_size(data: Source, largest: int) -> int:
    one = sum(array.nbytes for array in data.some(1).x)
    return max(1, min(largest, CHUNK_BYTES // max(1, one)))


def class_labels(y: Array | tuple[Array, ...] | None) -> Array:
    """Labels as class numbers, `[n]`, of the forms that `class_numbers` takes.

    Raises:
      DataError: there are none, or they are something else.
    """
    if y is None:
        raise DataError("accuracy needs labels: an array 'y' [n] of class numbers.")
    if isinstance(y, tuple):
        raise DataError(f"accuracy needs one output with labels. Received: labels of {len(y)}.")
    labels = class_numbers(y)
    if labels is None or labels.ndim != 1:
        other = " that are not all whole numbers" if labels is None and y.dtype.kind == "f" else ""
        raise DataError(
            f"accuracy needs labels 'y' [n] of class numbers, or one-hot rows [n, classes]. "
            f"Received: {list(y.shape)} {y.dtype}{other}."
        )
    return labels


def _best(outputs: Array) -> Array:
    """The number of the largest of several outputs, `[n]`; a single output as it is, `[n, 1]`."""
    return np.asarray(np.argmax(outputs, axis=1)) if outputs.shape[1] > 1 else outputs


def _classes(best: Array) -> npt.NDArray[np.int64]:
    if best.ndim == 1:
        return best.astype(np.int64)
    middle = 0.5 if best.min() >= 0 and best.max() <= 1 else 0.0
    return (best[:, 0] > middle).astype(np.int64)
