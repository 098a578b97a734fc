"""Measures how far the range of every activation in an int8 file goes beyond nearly all values.

A few values far out take the steps away from all others. `inspect` names such tensors; the file
alone has only their range, so that `export` writes the quantile into the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edgeprune.conversion.int8.child import launcher
from edgeprune.core.activation_tail import ActivationTail
from edgeprune.core.arrays import Array
from edgeprune.targets.child import WorkerError, run_worker, worker_model
from edgeprune.tflite.format.graph import Graph, Tensor
from edgeprune.tflite.format.signature import input_ports

MOST_SAMPLES = 16
"""Samples that run, at most; each gives thousands of values of most tensors."""
FEWEST_VALUES = 1000
"""With fewer a quantile of 99.9 % is one of the largest values."""
TIME_LIMIT_S = 300.0
"""Time limit in seconds; large networks take some."""
_WORKER = Path(__file__).with_name("tail_worker.py")


def measure_tails(graph: Graph, samples: Mapping[str, Array]) -> tuple[ActivationTail, ...]:
    """The range of every int8 activation and the quantile of its values.

    Args:
      graph: an int8 file.
      samples: calibration data `[n, ...]` by the input's name in the signature.

    Returns:
      In the order of execution, without tensors that have fewer than `FEWEST_VALUES` values; none
      at all where the runtime does not keep the values of the file.
    """
    count = min(map(len, samples.values()))
    rows = np.linspace(0, count - 1, min(count, MOST_SAMPLES)).astype(int)
    tensors = [each for each in _activations(graph) if len(rows) * _size(each) >= FEWEST_VALUES]
    if not tensors:
        return ()
    model = {**worker_model(graph), "output_tensors": [tensor.index for tensor in tensors]}
    ports = [port.name for port in input_ports(graph)]
    job = {"runtime": "LiteRT", "models": [model]}
    inputs = [[samples[name][rows] for name in ports]]
    try:
        reply = run_worker(
            job, inputs, launcher=launcher(), script=_WORKER, time_limit_s=TIME_LIMIT_S
        )
    except WorkerError:
        return ()
    return tuple(map(_tail, tensors, reply.outputs[0].tolist()))


def _activations(graph: Graph) -> Iterator[Tensor]:
    """The int8 tensors that are computed with one scale, in the order of execution."""
    main = graph.subgraphs[0]
    for operator in main.operators:
        for index in operator.outputs:
            tensor = main.tensors[index] if index >= 0 else None
            if tensor and tensor.dtype == "int8" and tensor.scales.size == 1:
                yield tensor


def _size(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64))


def _tail(tensor: Tensor, steps: float) -> ActivationTail:
    limits, scale = np.iinfo(np.int8), float(tensor.scales[0])
    zero = int(tensor.zero_points[0]) if tensor.zero_points.size else 0
    low, high = ((end - zero) * scale for end in (limits.min, limits.max))
    return ActivationTail(tensor.name, low, high, max(steps, 0.5) * scale)
