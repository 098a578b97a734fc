"""The child process that measures the values of a float file.

    python range_worker.py JOB.json

The job is one of `targets.worker` with one float file, whose inputs and outputs are the tensors to
measure, and
    channels:  those of them that are measured by channel as well
    counted:   samples whose values are counted, for ranges by error; 0 for the extremes
The archive of outputs gets `[tensors, 2]`, the least and the largest values; `[tensors, 2]`, the
ranges of the least error, see `least_error`; and of each of `channels` `[2, channels]`, the least
and the largest value of every channel.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.targets.worker import MODULES, feed, load_interpreter, read_inputs

_STEPS = 255
"""Steps between the ends of an int8 range."""
_BINS = 1024
_VALUES = 1 << 15
"""Values of one tensor that are counted per sample, spread over it."""
_FEWEST_VALUES = 10_000
"""With fewer values counted, the tail of a tensor is not known, and its range is the extremes."""
_PARTS = np.linspace(0.4, 1.0, 21)
"""Parts of the ends of a range that are tried."""


def extremes(values: Array) -> Array:
    """`[2, columns]` of `[rows, columns]`: the least and the largest values; 0 without rows."""
    if not len(values):
        return np.zeros((2, values.shape[1]))
    return np.stack([values.min(axis=0), values.max(axis=0)])


def least_error(counts: Array, low: float, high: float) -> tuple[float, float]:
    """The range whose int8 values have the least squared error.

    Values beyond its ends are clipped; those inside are off by up to half a step. Few values keep
    their extremes.

    Args:
      counts: how many values each of the equal parts of `low` to `high` has.
      low: the least value.
      high: the largest.
    """
    if counts.sum() < _FEWEST_VALUES:
        return low, high
    values = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    lows, highs = min(low, 0.0) * _PARTS, max(high, 0.0) * _PARTS
    lows = lows if low < 0 else np.zeros(1)
    highs = highs if high > 0 else np.zeros(1)
    below = np.maximum(lows[:, None] - values, 0) ** 2 @ counts
    above = np.maximum(values - highs[:, None], 0) ** 2 @ counts
    inside = counts.sum() * ((highs - lows[:, None]) / _STEPS) ** 2 / 12
    errors = below[:, None] + above + inside
    first, second = np.unravel_index(np.argmin(errors), errors.shape)
    return float(lows[first]), float(highs[second])


def _runs(job: dict[str, Any], rows: int | None) -> Iterator[Any]:
    """Runs the first samples, all where `rows` is None; gives the interpreter after each."""
    settings, model = {"threads": 1, "delegates": True}, job["models"][0]
    module = import_module(MODULES[job["runtime"]][0])
    interpreter, inputs, _ = load_interpreter(module, settings, {**model, "output_tensors": []})
    arrays = read_inputs(model["inputs"], inputs)
    chosen = np.linspace(0, len(arrays[0]) - 1, min(rows or len(arrays[0]), len(arrays[0])))
    for row in chosen.astype(int).tolist():
        feed(interpreter, inputs, arrays, row)
        interpreter.invoke()
        yield interpreter


def _wider(found: Array | None, now: Array) -> Array:
    if found is None:
        return now
    return np.stack([np.minimum(found[0], now[0]), np.maximum(found[1], now[1])])


def measure(job: dict[str, Any]) -> tuple[list[Array], list[Array]]:
    """`[2, 1]` of every tensor and `[2, channels]` of those of `channels`, over all samples."""
    tensors, channels = job["models"][0]["output_tensors"], job["channels"]
    found: dict[int, Array] = {}
    for interpreter in _runs(job, None):
        for tensor in tensors:
            values = interpreter.get_tensor(tensor)
            columns = values.shape[-1] if tensor in channels else 1
            now = extremes(values.reshape(-1, columns))
            found[tensor] = _wider(found.get(tensor), now)
    ends = [np.stack([found[t][0].min(), found[t][1].max()]) for t in tensors]
    return ends, [found[tensor] for tensor in channels]


def count(job: dict[str, Any], ends: list[Array]) -> list[Array]:
    """How many values of some samples each part of every tensor's range has."""
    tensors = job["models"][0]["output_tensors"]
    counts = [np.zeros(_BINS) for _ in tensors]
    for interpreter in _runs(job, job["counted"]):
        for k, tensor in enumerate(tensors):
            values = interpreter.get_tensor(tensor).reshape(-1)
            spread = values[:: max(1, len(values) // _VALUES)]
            counts[k] += np.histogram(spread, _BINS, (ends[k][0], ends[k][1]))[0]
    return counts


def main(path: Path) -> None:
    """Does one job."""
    job = json.loads(path.read_text(encoding="utf-8"))
    ends, channels = measure(job)
    least = ends
    if job["counted"] and np.isfinite(ends).all():
        pairs = zip(count(job, ends), ends, strict=True)
        least = [np.array(least_error(counts, *map(float, end))) for counts, end in pairs]
    arrays = [np.stack(ends), np.stack(least), *channels]
    np.savez(job["outputs"], **{f"out{k}": array for k, array in enumerate(arrays)})
    Path(job["result"]).write_text("{}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
