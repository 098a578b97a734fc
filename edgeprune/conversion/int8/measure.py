"""Measures the ranges of a float file's activations on calibration samples.

The samples run in a LiteRT child, with XNNPACK.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.conversion.int8.child import launcher
from edgeprune.conversion.int8.equalise import passages
from edgeprune.conversion.int8.exposed import expose
from edgeprune.conversion.int8.ranges import Range, Ranges
from edgeprune.core.arrays import Array
from edgeprune.targets.child import run_worker
from edgeprune.tflite.format import draft as tflite_draft

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
        channels = sorted({index for each in passages(draft) for index in each.path})
        file = expose(draft, path)
        job = {
            "runtime": "LiteRT",
            "models": [file.model],
            "channels": channels,
            "counted": counted,
        }
        inputs = [[samples[name] for name in file.inputs]]
        reply = run_worker(
            job, inputs, launcher=launcher(), script=_WORKER, time_limit_s=TIME_LIMIT_S
        )
    extremes, least, *ends = reply.outputs
    return Measured(
        _named(file.names, extremes),
        _named(file.names, least),
        dict(zip(channels, ends, strict=True)),
    )


def _named(names: Sequence[str], rows: Array) -> Ranges:
    return {name: Range(*row) for name, row in zip(names, rows.tolist(), strict=True)}
