"""Holds a lifted model against the interpreter, on the same inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeprune.conversion.lift.floating import (
    computes_in_steps,
    hybrid_weights,
    with_float_weights,
    write_exposed,
)
from edgeprune.conversion.lift.lifted import Lifted, Obstacle, Unliftable
from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError
from edgeprune.keras_model.calls import nodes_of
from edgeprune.keras_model.interface import infer
from edgeprune.keras_model.layers import Model
from edgeprune.targets.child import WorkerError, run_worker
from edgeprune.targets.host import HOST, launcher_of
from edgeprune.targets.inputs import generated_inputs
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.format.signature import input_ports, output_ports

MOST_DIFFERENCE = 1e-3
"""By how much an output may differ, of the largest value in it."""
MOST_FLIPPED = 0.01
"""Share of whole numbers that may differ: rounding decides between values that are nearly equal."""
_RUNTIME = "LiteRT"
_SAMPLES = 2
_MOST_GIVEN = 8


def prove(lifted: Lifted, inputs: Sequence[Array] | None = None) -> float:
    """Compares a lifted model with the interpreter, on generated inputs or on given ones.

    Where XNNPACK computes something else, the interpreter's own kernels decide.
    Weights of whole numbers in hybrid operators count as the real values that they stand for.
    Files that compute with quantized values may differ by more: their runtimes round.

    Args:
      lifted: from `lift`.
      inputs: samples `[n, ...]` for each input, in the order of the signature; of many, the first
        eight are taken; generated ones if None.

    Returns:
      The largest difference of an output, of the largest value in it.

    Raises:
      Unliftable: an output differs by more than `MOST_DIFFERENCE`; names the first operator that
        does.
      TfliteError: the interpreter does not run the file.
    """
    if inputs is None:
        arrays = generated_inputs(lifted.graph, _SAMPLES)
    else:
        arrays = [array[:_MOST_GIVEN] for array in inputs]
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        file = _as_floats(lifted.graph, Path(name, "float.tflite"))
        return _compared(lifted, file, arrays, Path(name))


def _as_floats(graph: Graph, path: Path) -> Graph:
    """The file itself, or one at `path` with weights of real values where it has hybrid ones."""
    if not hybrid_weights(graph):
        return graph
    tflite_draft.write(with_float_weights(tflite_draft.load(graph.path)), path)
    return tflite_file.read(path)


def _compared(lifted: Lifted, file: Graph, arrays: list[Array], folder: Path) -> float:
    ours = _infer(lifted.model, arrays)
    differences = _differences(ours, _run(lifted, file, arrays))
    if max(differences, default=0.0) > MOST_DIFFERENCE:
        # XNNPACK approximates some functions, and makes NaN of the inverse root of 0.
        differences = _differences(ours, _run(lifted, file, arrays, delegates=False))
    worst = max(differences, default=0.0)
    if worst > MOST_DIFFERENCE and not computes_in_steps(lifted.graph):
        names = [port.name for port in output_ports(lifted.graph)]
        at = differences.index(worst)
        found = _first_difference(lifted, arrays, folder)
        raise Unliftable(lifted.path, [found or Obstacle(-1, f"output {names[at]!r}", said(worst))])
    return worst


def _differences(ours: Sequence[Array], theirs: Sequence[Array]) -> list[float]:
    return [difference(a, b) for a, b in zip(ours, theirs, strict=True)]


def said(size: float) -> str:
    """How a difference is named."""
    return f"in Keras its values differ by {size:.2g} of the largest"


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
        return HOST.run(file, arrays, _RUNTIME, delegates=delegates).outputs
    except WorkerError as error:
        raise TfliteError(
            f"{lifted.path}: expected a file that {_RUNTIME} runs. Received: {error}. Run "
            "'edgeprune inspect' on it."
        ) from error


def difference(ours: Array, theirs: Array) -> float:
    """By how much values differ, of the largest one; infinite where their number differs.

    Of whole numbers, and of values that are not finite, 0 or infinite: as many as `MOST_FLIPPED`
    may differ.
    """
    if ours.size != theirs.size:
        return float("inf")
    first, second = ours.reshape(-1), theirs.reshape(-1)
    if theirs.dtype.kind != "f":
        return 0.0 if np.mean(first != second) <= MOST_FLIPPED else float("inf")
    finite = np.isfinite(first) & np.isfinite(second)
    same = finite | (first == second) | (np.isnan(first) & np.isnan(second))
    if not same.all():
        return float("inf")
    apart = np.abs(first[finite].astype(np.float64) - second[finite])
    largest = np.abs(second[finite]).max(initial=0.0)
    return float(apart.max(initial=0.0) / (largest or 1.0))


def _first_difference(lifted: Lifted, arrays: list[Array], folder: Path) -> Obstacle | None:
    """The first operator whose values differ, and those of an operator that reads them.

    Values that only differ in passing do not count, such as those of a border that a pool drops.
    None if all agree where all are kept.
    """
    subgraph = lifted.graph.subgraphs[0]
    values = lifted_values(lifted)
    made = [index for operator in subgraph.operators for index in operator.outputs]
    wanted = [index for index in made if index in values]
    theirs = _run_exposed(lifted, wanted, arrays, folder)
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


def lifted_values(lifted: Lifted) -> dict[int, Any]:
    """The Keras tensor of each activation of the file that the model's outputs depend on."""
    made = {
        operation.name: [tensor for node in nodes_of(operation) for tensor in node.output_tensors]
        for operation in lifted.model.operations
    }
    return {
        index: made[name][number]
        for index, (name, number) in lifted.tensors.items()
        if name in made
    }


def _run_exposed(
    lifted: Lifted, tensors: Sequence[int], arrays: list[Array], folder: Path
) -> tuple[Array, ...]:
    """What the interpreter computes for the given tensors."""
    path = folder / "exposed.tflite"
    write_exposed(with_float_weights(tflite_draft.load(lifted.path)), tensors, path)
    model = {
        "path": str(path),
        "input_tensors": [port.tensor for port in input_ports(lifted.graph)],
        "output_tensors": list(tensors),
    }
    job = {
        "kind": "run",
        "runtime": _RUNTIME,
        "threads": 1,
        "delegates": False,
        "fresh": lifted.graph.keeps_state,
        "models": [model],
    }
    return run_worker(job, [arrays], launcher=launcher_of(_RUNTIME)).outputs
