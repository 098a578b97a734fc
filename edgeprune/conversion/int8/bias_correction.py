"""Corrects the biases of an int8 file by what its layers give on calibration samples.

Rounding weights and activations shifts the mean of what a channel gives, and all that follows is
computed from it. The shift against the float model is taken off the channel's int32 bias, layer
after layer, each measured behind those that are corrected already: shifts add up along a network,
so that taking off all of them at once takes off too much. Source: Nagel et al., Data-Free
Quantization Through Weight Equalization and Bias Correction, 2019, arXiv:1906.04721, the empirical
form of bias correction.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.int8.child import launcher
from edgeprune.core.arrays import Array
from edgeprune.targets.child import Reply, WorkerError, run_worker, worker_model
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Graph, Operator, Subgraph, Tensor
from edgeprune.tflite.format.signature import input_ports, output_ports
from edgeprune.tflite.rewrites.edit import Edit

FEWEST_SAMPLES = 64
"""With fewer, half of which measure and half judge, the biases stay as they are."""
MOST_SAMPLES = 64
"""Samples that the layers are measured by, at most, and as many that are held back."""
TIME_LIMIT_S = 900.0
"""Time limit of a correction in seconds; large networks take minutes."""
_POSITIONS = 4096
"""Positions of a layer's output that its mean is taken over, where as many samples have them."""
_FEWEST_ROWS = 8
"""Samples that a mean is taken over at least; positions of one image resemble each other."""
_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""Place of the bias among the inputs of each operator that has one."""
_KIND = schema.ActivationFunctionType
_LIMITS = {
    _KIND.NONE: (-math.inf, math.inf),
    _KIND.RELU: (0.0, math.inf),
    _KIND.RELU6: (0.0, 6.0),
    _KIND.RELU_N1_TO_1: (-1.0, 1.0),
}
"""Between what each fused activation leaves a value as it is."""
_WORKER = Path(__file__).with_name("bias_worker.py")


@dataclass(frozen=True)
class LayerNoise:
    """How near what a layer of an int8 file gives comes to the float model."""

    layer: str
    """The layer that the file names the value after: the activation, where one is fused."""
    snr_db: float | None
    """Signal-to-noise ratio in decibels, with the error of all layers before it; None where there
    is no error or no signal."""


@dataclass(frozen=True)
class BiasCorrection:
    """What was done to the biases of an int8 file, as the manifest says it."""

    applied: bool
    samples: int
    """Calibration samples that there were."""
    error_before: float | None = None
    """Squared error of the outputs against the float model over their square, held-back samples."""
    error_after: float | None = None
    """The same with corrected biases, whether they were kept or not."""
    reason: str | None = None
    """Why the biases are as they were; None if they were corrected."""
    noise: tuple[LayerNoise, ...] = ()
    """Of every layer that was measured, in the order of execution, in the file as it is."""

    def __str__(self) -> str:
        if self.reason is not None:
            return f"Biases are as converted: {self.reason}."
        return (
            f"Biases were corrected: squared error of the outputs against the float model "
            f"{self.error_before:.3g} -> {self.error_after:.3g} of their square, on calibration "
            "samples held back."
        )

    @property
    def noisiest(self) -> tuple[LayerNoise, ...]:
        """The three layers with the lowest ratio, that one first."""
        known = [(row.snr_db, row) for row in self.noise if row.snr_db is not None]
        return tuple(row for _, row in sorted(known, key=lambda pair: pair[0])[:3])

    def to_json(self) -> dict[str, Any]:
        """The manifest's entry "int8"."""
        done = asdict(self)
        return {"layers": list(done.pop("noise")), "bias_correction": done}


@dataclass(frozen=True, eq=False)
class _Layer:
    """An int8 operator with a bias, and its output in the float file."""

    operator: Operator
    bias: Tensor
    output: Tensor
    floating: int
    limits: tuple[float, float]

    @property
    def rows(self) -> int:
        """How many samples its mean takes: fewer where each has many positions."""
        positions = max(1, math.prod(self.output.shape[:-1]))
        return min(MOST_SAMPLES, max(_FEWEST_ROWS, math.ceil(_POSITIONS / positions)))


def correct_biases(
    draft: Draft, floating: bytes, samples: Mapping[str, Array]
) -> tuple[Draft, BiasCorrection]:
    """Corrects the biases of an int8 file where that brings its outputs nearer to the float model.

    Args:
      draft: the int8 file as the converter wrote it.
      floating: the float32 file of the same model.
      samples: calibration data `[n, ...]` by the input's name in the signature.

    Returns:
      The draft to go on with, and what was done. Every second sample measures, the others judge.
    """
    count = min(map(len, samples.values()))

    def as_it_was(reason: str) -> tuple[Draft, BiasCorrection]:
        return draft, BiasCorrection(False, count, reason=reason)

    if count < FEWEST_SAMPLES:
        return as_it_was(f"{count} calibration samples are fewer than {FEWEST_SAMPLES}")
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        try:
            measured = _measure(draft, floating, samples, Path(name))
        except WorkerError as error:
            return as_it_was(f"they could not be measured ({error})")
    if measured is None:
        return as_it_was("no layer with a bias is in the int8 and the float file by the same name")
    before, after = measured.reply.facts["before"], measured.reply.facts["after"]
    if not (math.isfinite(before) and math.isfinite(after)):
        return as_it_was("outputs are not finite")
    noise = _noise(measured)
    if after >= before:
        reason = "corrected, outputs do not come nearer to the float model"
        return draft, BiasCorrection(False, count, before, after, reason, noise)
    edit = Edit(measured.draft)
    for layer, bias in zip(measured.layers, measured.reply.outputs, strict=True):
        edit.overwrite(layer.bias, bias)
    return edit.finish(), BiasCorrection(True, count, before, after, noise=noise)


@dataclass(frozen=True, eq=False)
class _Measured:
    """A copy of a file in which every layer has a bias of its own, and what the worker said."""

    draft: Draft
    layers: tuple[_Layer, ...]
    reply: Reply


def _noise(measured: _Measured) -> tuple[LayerNoise, ...]:
    # TensorFlow names the tensors of outputs after its own call; the signature after the model.
    ends = {port.tensor: port.name for port in output_ports(measured.draft.graph)}
    rows = zip(measured.layers, measured.reply.facts["snr_db"], strict=True)
    return tuple(
        LayerNoise(ends.get(layer.output.index, layer.output.name), snr) for layer, snr in rows
    )


def _measure(
    draft: Draft, floating: bytes, samples: Mapping[str, Array], folder: Path
) -> _Measured | None:
    """Measures a copy of a draft; None where no layer is in both files."""
    path, other = folder / draft.graph.path.name, folder / "float"
    tflite_draft.write(draft, path)
    other.write_bytes(floating)
    graph = tflite_file.read(other)
    own = _with_own_biases(tflite_draft.load(path), graph)
    layers = tuple(_layers(own.graph.subgraphs[0], graph))
    if not layers:
        return None
    tflite_draft.write(own, path)
    return _Measured(own, layers, _run(tflite_file.read(path), graph, layers, samples))


def _layers(main: Subgraph, floating: Graph) -> Iterator[_Layer]:
    """The operators of an int8 file whose outputs the float file has by name and shape."""
    known = {(tensor.name, tensor.shape): tensor.index for tensor in floating.tensors}
    for operator in main.operators:
        place = _BIAS.get(operator.op, len(operator.inputs))
        if place >= len(operator.inputs) or operator.inputs[place] < 0:
            continue
        bias, output = (main.tensors[i] for i in (operator.inputs[place], operator.outputs[0]))
        limits = _LIMITS.get(getattr(operator.options, "fusedActivationFunction", _KIND.NONE))
        index = known.get((output.name, output.shape))
        usable = bias.dtype == "int32" and bias.constant and bias.scales.size > 0
        usable = usable and bias.shape == output.shape[-1:]
        if usable and output.dtype == "int8" and limits is not None and index is not None:
            yield _Layer(operator, bias, output, index, limits)


def _with_own_biases(draft: Draft, floating: Graph) -> Draft:
    """Gives every layer a bias of its own: converters join equal ones, and leave out zeros."""
    edit, tensors = Edit(draft), draft.model.subgraphs[0].tensors
    for layer in _layers(edit.main, floating):
        place, stored = _BIAS[layer.operator.op], layer.bias.values()
        if stored is None or edit.own(layer.operator, place) is not None:
            continue
        added = edit.constant(f"{layer.bias.name}/own", stored)
        tensors[added].quantization = copy.copy(tensors[layer.bias.index].quantization)
        edit.read(layer.operator, place, added)
    for operator in edit.main.operators:
        if operator.op == "FULLY_CONNECTED" and operator.inputs[2:] in {(), (-1,)}:
            _add_bias(edit, operator, tensors)
    return edit.finish()


def _add_bias(edit: Edit, operator: Operator, tensors: list[Any]) -> None:
    """Gives an int8 FULLY_CONNECTED a bias of zeros, in steps of input times weight."""
    given, weights, output = (
        edit.main.tensors[i] for i in (*operator.inputs[:2], operator.outputs[0])
    )
    kinds = (given.dtype, weights.dtype, output.dtype)
    if kinds != ("int8",) * 3 or not weights.constant or given.scales.size != 1:
        return
    scales = (given.scales.astype(np.float64) * weights.scales).astype(np.float32)
    added = edit.constant(f"{output.name}/bias", np.zeros(weights.shape[0], np.int32))
    tensors[added].quantization = schema.QuantizationParametersT(
        scale=scales, zeroPoint=np.zeros(scales.size, np.int64)
    )
    edit.of(operator).inputs = np.array([*operator.inputs[:2], added], np.int32)


def _run(
    quantized: Graph, floating: Graph, layers: Sequence[_Layer], samples: Mapping[str, Array]
) -> Reply:
    graphs = (quantized, floating)
    models = [{**worker_model(graph), "output_tensors": _outputs(graph)} for graph in graphs]
    chosen = {name: _halves(array) for name, array in samples.items()}
    inputs = [[chosen[port.name] for port in input_ports(graph)] for graph in graphs]
    estimated = (len(inputs[0][0]) + 1) // 2
    described = [
        {
            "bias": layer.bias.index,
            "quantized": layer.output.index,
            "floating": layer.floating,
            "limits": layer.limits,
            "rows": min(layer.rows, estimated),
        }
        for layer in layers
    ]
    job = {"runtime": "LiteRT", "models": models, "layers": described, "estimated": estimated}
    return run_worker(job, inputs, launcher=launcher(), script=_WORKER, time_limit_s=TIME_LIMIT_S)


def _outputs(graph: Graph) -> list[int]:
    """The outputs in the order of their names, in which two files agree."""
    return [port.tensor for port in sorted(output_ports(graph), key=lambda port: port.name)]


def _halves(array: Array) -> Array:
    """Up to twice `MOST_SAMPLES`, spread over all: every second one, then those between."""
    rows = np.linspace(0, len(array) - 1, min(len(array), 2 * MOST_SAMPLES)).astype(int)
    chosen: Array = array[np.concatenate([rows[::2], rows[1::2]])]
    return chosen
