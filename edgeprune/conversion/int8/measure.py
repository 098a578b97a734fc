"""Measures the ranges of a float file's activations on calibration samples.

The samples run in a LiteRT child, with XNNPACK. It keeps no values between its operators, so that
the file that runs has every activation among its outputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeprune.conversion.int8.child import launcher
from edgeprune.conversion.int8.equalise import passages
from edgeprune.conversion.int8.ranges import Range, Ranges, activations
from edgeprune.conversion.same_padding import write_out_padding
from edgeprune.core.arrays import Array
from edgeprune.targets.child import run_worker, worker_model
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.signature import input_ports

TIME_LIMIT_S = 3600.0
"""Time limit in seconds; large networks take minutes."""
COUNTED = 32
"""Samples whose values are counted, by default."""
_WORKER = Path(__file__).with_name("range_worker.py")


@dataclass(frozen=True, eq=False)
class Measured:
    """What the values of a float file are on calibration samples."""

    extremes: Ranges
    """The smallest and the largest value of every activation."""
    least_error: Ranges
    """The ranges whose int8 values have the least squared error, see `range_worker.least_error`."""
    channels: Mapping[int, Array]
    """By tensor on a path of `equalise.passages`: `[2, channels]`, the extremes by channel."""


def measure_ranges(floating: bytes, samples: Mapping[str, Array]) -> Ranges:
    """The smallest and the largest value of every activation over all samples.

    Args and raises as `measure`.
    """
    return measure(floating, samples, counted=0).extremes


def measure(floating: bytes, samples: Mapping[str, Array], *, counted: int = COUNTED) -> Measured:
    """Measures every activation over all samples.

    Args:
      floating: a float32 file.
      samples: calibration data `[n, ...]` by the input's name in the signature.
      counted: samples whose values are counted for `Measured.least_error`; where it is 0, those
        ranges are the extremes.

    Raises:
      WorkerError: the runtime refused the file, crashed or did not end in time.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        path = Path(name, "float.tflite")
        draft = tflite_draft.from_bytes(floating, path)
        measured = activations(draft.graph)
        channels = sorted({index for each in passages(draft) for index in each.path})
        draft = write_out_padding(draft)
        main = draft.model.subgraphs[0]
        main.outputs = np.array([*main.outputs, *sorted({*measured} - {*main.outputs})], np.int32)
        draft.model.signatureDefs = []
        tflite_draft.write(draft, path)
        ports = [(port.name, port.tensor) for port in input_ports(draft.graph)]
        model = {
            **worker_model(tflite_file.read(path)),
            "input_tensors": [tensor for _, tensor in ports],
            "output_tensors": list(measured),
        }
        job = {"runtime": "LiteRT", "models": [model], "channels": channels, "counted": counted}
        inputs = [[samples[name] for name, _ in ports]]
        reply = run_worker(
            job, inputs, launcher=launcher(), script=_WORKER, time_limit_s=TIME_LIMIT_S
        )
    names = [draft.graph.tensors[index].name for index in measured]
    extremes, least, *ends = reply.outputs
    return Measured(
        _named(names, extremes), _named(names, least), dict(zip(channels, ends, strict=True))
    )


def _named(names: Sequence[str], rows: Array) -> Ranges:
    return {name: Range(*row) for name, row in zip(names, rows.tolist(), strict=True)}
