"""The values of a float file on samples, and which of its tensors share a range in int8."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edgeprune.conversion.int8.child import launcher
from edgeprune.conversion.int8.exposed import expose
from edgeprune.conversion.int8.ranges import Range, Ranges, activations
from edgeprune.core.arrays import Array
from edgeprune.targets.child import run_worker
from edgeprune.tflite.format import draft as tflite_draft

_STEPS = 255
"""Steps of an int8 range."""
_APART = 2**-9
"""By how much the ranges differ that tell tensors apart, of a range of 1."""


def activation_values(floating: bytes, samples: Mapping[str, Array]) -> dict[str, Array]:
    """What every activation of a float file is, by the name of its tensor, `[n, ...]`.

    Args:
      floating: a float32 file with one subgraph.
      samples: `[n, ...]` by the input's name in the signature; few, since all values are kept.

    Raises:
      WorkerError: the runtime refused the file, crashed or did not end in time.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        path = Path(name, "float.tflite")
        file = expose(tflite_draft.from_bytes(floating, path), path)
        job = {
            "kind": "run",
            "runtime": "LiteRT",
            "threads": 1,
            "delegates": True,
            "models": [file.model],
        }
        reply = run_worker(job, [[samples[name] for name in file.inputs]], launcher=launcher())
    return dict(zip(file.names, reply.outputs, strict=True))


def shared_ranges(
    floating: bytes, quantize: Callable[[bytes, Ranges], bytes]
) -> dict[str, str | Range]:
    """Where the range of every activation comes from, by the name of its tensor.

    The quantizer is asked, with a range for every tensor that no other has: some operators give
    what they read the same range as what they write, and some have one that never changes, such as
    a softmax.

    Args:
      floating: a float32 file.
      quantize: makes the int8 file of a float file and ranges.

    Returns:
      The name of the tensor whose range it takes, its own in most cases; or the range that it has
      whatever is given. Tensors that the int8 file does not have are left out.
    """
    graph = tflite_draft.from_bytes(floating, Path("float.tflite")).graph
    names = [graph.tensors[index].name for index in activations(graph)]
    ends = {name: 1 + number * _APART for number, name in enumerate(names)}
    asked = {name: Range(-end, end) for name, end in ends.items()}
    made = tflite_draft.from_bytes(quantize(floating, asked), Path("int8.tflite")).graph
    scales = np.array([2 * end / _STEPS for end in ends.values()])
    found: dict[str, str | Range] = {}
    for tensor in made.tensors:
        if tensor.name not in ends or tensor.dtype != "int8" or tensor.scales.size != 1:
            continue
        scale, zero = float(tensor.scales[0]), int(tensor.zero_points[0])
        nearest = int(np.argmin(np.abs(scales - scale)))
        if abs(scales[nearest] / scale - 1) < _APART / 100:
            found[tensor.name] = names[nearest]
        else:
            found[tensor.name] = Range((-128 - zero) * scale, (127 - zero) * scale)
    return found
