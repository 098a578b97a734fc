"""Holds a lifted model against the interpreter, on the same inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from edgeprune.conversion.lift.difference import MOST_DIFFERENCE, difference, said
from edgeprune.conversion.lift.each_operator import first_apart, steps_between
from edgeprune.conversion.lift.exposed import RUNTIME, lifted_values, run_exposed
from edgeprune.conversion.lift.floating import (
    computes_in_steps,
    hybrid_weights,
    with_float_weights,
)
from edgeprune.conversion.lift.lifted import Lifted, Obstacle, Unliftable
from edgeprune.conversion.lift.samples import samples_for
from edgeprune.conversion.lift.site import quantized
from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError
from edgeprune.keras_model.interface import infer
from edgeprune.keras_model.layers import Model
from edgeprune.targets.child import WorkerError
from edgeprune.targets.host import HOST
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.graph import Graph, Tensor
from edgeprune.tflite.format.signature import output_ports

_LONGEST_REASON = 200


@dataclass(frozen=True)
class Proof:
    """How near a lifted model is to its file."""

    difference: float
    """The largest difference of an output, of the largest value in it."""
    steps: float | None
    """The largest difference of a quantized output, in its steps; None where none is quantized."""


def prove(lifted: Lifted, inputs: Sequence[Array] | None = None) -> Proof:
    """Compares a lifted model with the interpreter, on generated inputs or on given ones.

    Where XNNPACK computes something else, the interpreter's own kernels decide.
    Weights of whole numbers in hybrid operators count as the real values that they stand for.
    A file that computes in quantized values is judged operator by operator, each on the values that
    it has in the interpreter: what a whole network's rounding adds up to is no fault of the lift.

    Args:
      lifted: from `lift`.
      inputs: as `samples_for` takes them; generated ones if None.

    Raises:
      Unliftable: an output differs by more than `MOST_DIFFERENCE`, or a quantized operator by more
        than rounding; names the first operator that does.
      TfliteError: the interpreter does not run the file.
    """
    arrays = samples_for(lifted.graph, inputs)
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        file = _as_floats(lifted.graph, Path(name, "float.tflite"))
        return _compared(lifted, file, arrays, Path(name))


def _as_floats(graph: Graph, path: Path) -> Graph:
    """The file itself, or one at `path` with weights of real values where it has hybrid ones."""
    if not hybrid_weights(graph):
        return graph
    tflite_draft.write(with_float_weights(tflite_draft.load(graph.path)), path)
    return tflite_file.read(path)


def _compared(lifted: Lifted, file: Graph, arrays: list[Array], folder: Path) -> Proof:
    ours = _computed(lifted, arrays)
    theirs = _run(lifted, file, arrays)
    if computes_in_steps(lifted.graph):
        apart = _first_in_steps(lifted, arrays, folder)
        if apart is not None:
            raise Unliftable(lifted.path, [apart])
        worst = max(_differences(ours, theirs), default=0.0)
        return Proof(worst, _most_steps(lifted.graph, ours, theirs))
    differences = _differences(ours, theirs)
    if max(differences, default=0.0) > MOST_DIFFERENCE:
        # XNNPACK approximates some functions, and makes NaN of the inverse root of 0.
        differences = _differences(ours, _run(lifted, file, arrays, delegates=False))
    worst = max(differences, default=0.0)
    if worst > MOST_DIFFERENCE:
        names = [port.name for port in output_ports(lifted.graph)]
        at = differences.index(worst)
        found = _first_difference(lifted, arrays, folder)
        raise Unliftable(lifted.path, [found or Obstacle(-1, f"output {names[at]!r}", said(worst))])
    return Proof(worst, None)


def _first_in_steps(lifted: Lifted, arrays: list[Array], folder: Path) -> Obstacle | None:
    try:
        return first_apart(lifted, arrays, folder)
    except WorkerError as error:
        raise _refused(lifted, error) from error


def _most_steps(graph: Graph, ours: Sequence[Array], theirs: Sequence[Array]) -> float | None:
    """The largest difference of the outputs in their steps, also of those turned into floats."""
    stored = [_stored(graph, port.tensor) for port in output_ports(graph)]
    return max(
        (
            steps_between(a, b, float(tensor.scales[0]))
            for a, b, tensor in zip(ours, theirs, stored, strict=True)
            if quantized(tensor)
        ),
        default=None,
    )


def _stored(graph: Graph, index: int) -> Tensor:
    """The tensor that holds an output before it is turned into floats."""
    maker = graph.subgraphs[0].makers.get(index)
    return graph.tensors[maker.inputs[0] if maker and maker.op == "DEQUANTIZE" else index]


def _differences(ours: Sequence[Array], theirs: Sequence[Array]) -> list[float]:
    return [difference(a, b) for a, b in zip(ours, theirs, strict=True)]


def _computed(lifted: Lifted, arrays: Sequence[Array]) -> list[Array]:
    """The outputs of a lifted model.

    Raises:
      Unliftable: Keras does not compute it: types do not fit, as in damaged files.
    """
    try:
        return _infer(lifted.model, arrays)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        reason = f"Keras does not run it ({' '.join(str(error).split())[:_LONGEST_REASON]})"
        raise Unliftable(lifted.path, [Obstacle(-1, "the model", reason)]) from error


def _infer(model: Model, arrays: Sequence[Array]) -> list[Array]:
    """The outputs of a Keras model; one whose batch is not open takes one sample at a time."""
    if all(tensor.shape[:1] == (None,) for tensor in model.inputs):
        return [np.asarray(made) for made in infer(model, list(arrays))]
    rows = []
    for sample in zip(*arrays, strict=True):
        pairs = zip(sample, model.inputs, strict=True)
        rows.append(infer(model, [one.reshape(tensor.shape) for one, tensor in pairs]))
    return [np.stack([np.asarray(row[k]) for row in rows]) for k in range(len(rows[0]))]


def _run(
    lifted: Lifted, file: Graph, arrays: list[Array], *, delegates: bool = True
) -> tuple[Array, ...]:
    try:
        return HOST.run(file, arrays, RUNTIME, delegates=delegates).outputs
    except WorkerError as error:
        raise _refused(lifted, error) from error


def _refused(lifted: Lifted, error: WorkerError) -> TfliteError:
    return TfliteError(
        f"{lifted.path}: expected a file that {RUNTIME} runs. Received: {error}. Run "
        "'edgeprune inspect' on it."
    )


def _first_difference(lifted: Lifted, arrays: list[Array], folder: Path) -> Obstacle | None:
    """The first operator whose values differ, and those of an operator that reads them.

    Values that only differ in passing do not count, such as those of a border that a pool drops.
    None if all agree where all are kept.
    """
    subgraph = lifted.graph.subgraphs[0]
    values = lifted_values(lifted)
    made = [index for operator in subgraph.operators for index in operator.outputs]
    wanted = [index for index in made if index in values]
    theirs = run_exposed(lifted, wanted, arrays, folder)
    exposed = keras.Model(lifted.model.inputs, [values[index] for index in wanted])
    differences = _differences(_infer(exposed, arrays), theirs)
    apart = {
        index: size
        for index, size in zip(wanted, differences, strict=True)
        if size > MOST_DIFFERENCE
    }
    for index, size in apart.items():
        readers = [made for reader, _ in subgraph.readers.get(index, ()) for made in reader.outputs]
        if index in subgraph.outputs or apart.keys() & {*readers}:
            operator = subgraph.makers[index]
            return Obstacle(operator.index, operator.op, said(size))
    return None
