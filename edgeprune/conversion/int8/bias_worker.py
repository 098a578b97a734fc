"""The child process that measures and corrects the biases of an int8 file, as a runtime may crash.

    python -m edgeprune.conversion.int8.bias_worker JOB.json

The job is one of `targets.worker` with two models, the int8 and the float file of one network, and
    layers:     [{"bias", "quantized", "floating": tensors of the two files, "limits": [low, high]
                of the activation, "rows": how many samples its mean takes}, ...] in the order of
                execution; every bias is a tensor of its own in the int8 file
    estimated:  how many samples the layers may be measured by; those behind them are held back
The archive of outputs gets the corrected bias of every layer. The result has "before" and "after",
the errors of the outputs on the held-back samples, see `output_error`, and "snr_db", one value or
null per layer: see `signal_to_noise`, of the file that is nearer, on the first held-back samples.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.targets.worker import MODULES, dequantize, feed, load_interpreter, read_inputs
from edgeprune.tflite.format import draft as tflite_draft

_LEAST_OPEN = 0.1
"""A channel that is open less often than this is corrected as if it were open this often."""
_HEARD = 16
"""Samples by which the noise of every layer is measured."""


def corrected_bias(stored: Array, excess: Array, open_share: Array, scales: Array) -> Array:
    """The int32 bias that takes off what every channel gives too much in the mean.

    A bias moves a value only where the activation does not clip it, so that the mean moves by that
    share of a change.

    Args:
      stored: the bias in the file, `[channels]` of int32.
      excess: mean of int8 minus mean of float, behind the activation, `[channels]`, real values.
      open_share: the share of values that the activation does not clip, `[channels]`.
      scales: of the bias, `[channels]` or `[1]`: scale of the input times that of the weight.
    """
    limits = np.iinfo(np.int32)
    step = np.round(excess / np.maximum(open_share, _LEAST_OPEN) / scales)
    wanted = np.clip(stored.astype(np.float64) - step, limits.min, limits.max)
    corrected: Array = wanted.astype(np.int32)
    return corrected


def output_error(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """Squared error over the square of what is wanted, the mean over all outputs."""
    pairs = zip(found, wanted, strict=True)
    return float(np.mean([np.sum((a - b) ** 2) / max(np.sum(b**2), 1e-30) for a, b in pairs]))


def signal_to_noise(signal: float, noise: float) -> float | None:
    """The ratio of two sums of squares in decibels; None where one of them is 0."""
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def channel_sums(value: Array, low: float, high: float) -> Array:
    """`[2, channels]`: the mean over all axes but the last, and the share between two limits."""
    rows = value.reshape(-1, value.shape[-1]).astype(np.float64)
    inside: Array = (rows > low) & (rows < high)
    return np.stack([rows.mean(axis=0), inside.mean(axis=0)])


class _File:
    """A file in the runtime, its plain kernels, with every value kept."""

    def __init__(self, job: dict[str, Any], model: dict[str, Any]) -> None:
        module = import_module(MODULES[job["runtime"]][0])
        plain = {"threads": 1, "delegates": False, "preserve": True}
        self._interpreter, self._inputs, self._outputs = load_interpreter(module, plain, model)
        self._details = {d["index"]: d for d in self._interpreter.get_tensor_details()}
        self._arrays = read_inputs(model["inputs"], self._inputs)

    def run(self, rows: Iterable[int]) -> Iterator[None]:
        """Runs samples; after each, its values can be read."""
        for row in rows:
            feed(self._interpreter, self._inputs, self._arrays, row)
            self._interpreter.invoke()
            yield

    def value(self, tensor: int) -> Array:
        """A value of the sample that ran last, in real numbers."""
        found: Array = dequantize(self._interpreter.get_tensor(tensor), self._details[tensor])
        return found

    def outputs(self, rows: Iterable[int]) -> list[Array]:
        """One array per output, the samples stacked."""
        tensors = [detail["index"] for detail in self._outputs]
        found = [[self.value(tensor) for tensor in tensors] for _ in self.run(rows)]
        return [np.stack(each).astype(np.float64) for each in zip(*found, strict=True)]

    def samples(self) -> int:
        """How many there are."""
        return len(self._arrays[0])


def _float_sums(floating: _File, job: dict[str, Any]) -> list[Array]:
    """Of every layer, `channel_sums` over its samples."""
    layers = job["layers"]
    sums = [np.zeros(()) for _ in layers]
    for row, _ in enumerate(floating.run(range(job["estimated"]))):
        for k, layer in enumerate(layers):
            if row < layer["rows"]:
                found = channel_sums(floating.value(layer["floating"]), *layer["limits"])
                sums[k] = sums[k] + found / layer["rows"]
    return sums


def _quantized_mean(job: dict[str, Any], model: dict[str, Any], layer: dict[str, Any]) -> Array:
    """What a layer of an int8 file gives in the mean; the file is closed again afterwards."""
    file, tensor, limits = _File(job, model), layer["quantized"], layer["limits"]
    rows = file.run(range(layer["rows"]))
    mean: Array = np.mean([channel_sums(file.value(tensor), *limits)[0] for _ in rows], axis=0)
    return mean


def _correct(job: dict[str, Any], wanted: list[Array]) -> Iterator[tuple[Array, dict[str, Any]]]:
    """Corrects layer after layer, each behind those that are corrected.

    Gives each layer's bias and the model of the file that has it.
    """
    model = job["models"][0]
    draft = tflite_draft.load(Path(model["path"]))
    changed = {**model, "path": str(Path(job["outputs"]).with_name("corrected.tflite"))}
    now = model
    for layer, (mean, open_share) in zip(job["layers"], wanted, strict=True):
        tensor = draft.graph.tensors[layer["bias"]]
        excess = _quantized_mean(job, now, layer) - mean
        stored = np.asarray(tensor.values())
        bias = corrected_bias(stored, excess, open_share, tensor.scales)
        draft.model.buffers[tensor.buffer].data = tflite_draft.raw_bytes(bias)
        Path(changed["path"]).write_bytes(tflite_draft.pack(draft.model))
        now = changed
        yield bias, now


def _layers_snr(job: dict[str, Any], model: dict[str, Any], floating: _File) -> list[float | None]:
    """Of every layer of an int8 file, how far what it gives is above its error, in decibels."""
    quantized, layers, first = _File(job, model), job["layers"], job["estimated"]
    rows = range(first, min(first + _HEARD, floating.samples()))
    sums = np.zeros((len(layers), 2))
    for _ in zip(quantized.run(rows), floating.run(rows), strict=True):
        for k, layer in enumerate(layers):
            wanted = floating.value(layer["floating"]).astype(np.float64)
            error = quantized.value(layer["quantized"]) - wanted
            sums[k] += np.sum(wanted**2), np.sum(error**2)
    return [signal_to_noise(*map(float, pair)) for pair in sums]


def main(path: Path) -> None:
    """Does one job."""
    job = json.loads(path.read_text(encoding="utf-8"))
    quantized, floating = (_File(job, model) for model in job["models"])
    held_back = range(job["estimated"], floating.samples())
    wanted = floating.outputs(held_back)
    before = output_error(quantized.outputs(held_back), wanted)
    steps = list(_correct(job, _float_sums(floating, job)))
    corrected = steps[-1][1]
    after = output_error(_File(job, corrected).outputs(held_back), wanted)
    nearer = corrected if after < before else job["models"][0]
    np.savez(job["outputs"], **{f"out{k}": bias for k, (bias, _) in enumerate(steps)})
    heard = _layers_snr(job, nearer, floating)
    result = {"before": before, "after": after, "snr_db": heard}
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
