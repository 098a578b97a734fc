"""Runs a file that weights were written back into beside the pruned Keras model, its twin."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeprune.conversion.lift.each_operator import first_apart
from edgeprune.conversion.lift.floating import (
    computes_in_steps,
    hybrid_weights,
    with_float_weights,
)
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.samples import samples_for
from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError
from edgeprune.keras_model.interface import infer
from edgeprune.keras_model.layers import Model
from edgeprune.targets.child import WorkerError
from edgeprune.targets.host import HOST, installed_runtimes
from edgeprune.targets.inputs import generated_inputs
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.format.signature import input_ports

_SAMPLES = 2
_TOLERANCE = 1e-4
"""Largest difference between a file and its twin, relative to the largest value of that output."""
_BEYOND_GIVEN, _MOST = 3, 3e-3
"""How many times further from its twin a file may be than the given file is from the lifted model,
and how far at most: kernels add up in another order than Keras does."""


def check_against_twin(lifted: Lifted, twin: Model, written: Graph) -> None:
    """Runs a file in the installed runtimes, and compares its outputs with those of its twin.

    A runtime that does not run the given file either, such as one that is older than its operators,
    is left out, unless there is no other.

    Where weights are integers and runtimes round activations too, what is compared is the file with
    the real values that the integers stand for. Of a file with quantized activations every
    operator is compared on the values that it gets there, see `each_operator`.

    Raises:
      TfliteError: a runtime runs the given file and not this one, or it computes something else.
    """
    if computes_in_steps(written):
        _check_steps(lifted, twin, written)
        return
    inputs = generated_inputs(written, _SAMPLES)
    wanted = outputs_of(twin, written, inputs)
    for runtime, made in _judged(lifted, written, inputs):
        found = made
        if hybrid_weights(written):
            with _with_float_weights(written) as graph:
                found = _run(lifted, graph, inputs, runtime)
        error = largest_error(found, wanted)
        if not error <= _TOLERANCE and not error <= _limit(lifted, inputs, runtime):
            raise TfliteError(
                f"{lifted.path}: expected a file that computes what the pruned model does, to "
                f"{_TOLERANCE:g} of its outputs. Received: outputs of {runtime} that differ by "
                f"{error:.2g}. Nothing was written; leave layers out with --skip to find the one "
                "at fault, and report it with this file."
            )


def _check_steps(lifted: Lifted, twin: Model, written: Graph) -> None:
    """As `check_against_twin`, for a file with quantized activations."""
    inputs = samples_for(written)
    made = replace(lifted, path=written.path, graph=written, model=twin)
    for runtime, _ in _judged(lifted, written, inputs):
        with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
            apart = first_apart(made, inputs, Path(folder), runtime=runtime)
        if apart is not None:
            name = written.tensors[written.operators[apart.operator].outputs[0]].name
            raise TfliteError(
                f"{lifted.path}: {apart.name} (operator {apart.operator}, {name!r}): expected what "
                f"the pruned model computes, in {runtime}. Received: {apart.reason}. Nothing was "
                "written; leave its layer out with --skip, and report it with this file."
            )


def _judged(
    lifted: Lifted, written: Graph, inputs: list[Array]
) -> Iterator[tuple[str, tuple[Array, ...]]]:
    """The runtimes that run a file, one after the other, and its outputs there.

    Raises:
      TfliteError: one runs the given file and not this one, or none runs either.
    """
    refusals: list[TfliteError] = []
    for runtime in installed_runtimes():
        try:
            made = _run(lifted, written, inputs, runtime)
        except TfliteError as error:
            if _runs(lifted, inputs, runtime):
                raise
            refusals.append(error)
        else:
            yield runtime, made
    if len(refusals) == len(installed_runtimes()) and refusals:
        raise refusals[0]


def _runs(lifted: Lifted, inputs: list[Array], runtime: str) -> bool:
    """Whether a runtime runs the given file."""
    try:
        _run(lifted, lifted.graph, inputs, runtime)
    except TfliteError:
        return False
    return True


def _run(lifted: Lifted, graph: Graph, inputs: list[Array], runtime: str) -> tuple[Array, ...]:
    try:
        return HOST.run(graph, inputs, runtime).outputs
    except WorkerError as error:
        raise TfliteError(
            f"{lifted.path}: expected a file that {runtime} {installed_runtimes()[runtime]} runs "
            f"with its new weights. Received: one that it does not run ({error}). Nothing was "
            "written."
        ) from error


def _limit(lifted: Lifted, inputs: list[Array], runtime: str) -> float:
    """What difference is no fault of the new weights, by that between the given file and Keras."""
    with _with_float_weights(lifted.graph) as graph:
        given = _run(lifted, graph, inputs, runtime)
    own = largest_error(given, outputs_of(lifted.model, lifted.graph, inputs))
    return min(_BEYOND_GIVEN * own, _MOST)


@contextmanager
def _with_float_weights(graph: Graph) -> Iterator[Graph]:
    """A file with floats for weights that are integers; itself where it has none."""
    if not hybrid_weights(graph):
        yield graph
        return
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = Path(folder, "floats.tflite")
        write(with_float_weights(load(graph.path)), path)
        yield read(path)


def outputs_of(model: Model, graph: Graph, inputs: list[Array]) -> tuple[Array, ...]:
    """What a lifted model, or a pruned one, makes of samples for its file.

    Args:
      model: its inputs and outputs come in the order of the file's signature.
      graph: the file.
      inputs: as `generated_inputs` makes them, in that order too.

    Returns:
      One array `[n, ...]` per output.
    """
    ports = input_ports(graph)
    given = [_with_batch(graph, port.tensor, x) for port, x in zip(ports, inputs, strict=True)]
    if all(tensor.shape[:1] == (None,) for tensor in model.inputs):
        # Samples may follow each other, as they do in the runtime.
        joined = [array.reshape(-1, *array.shape[2:]) for array in given]
        return tuple(np.asarray(part) for part in infer(model, joined))
    rows = [infer(model, [array[row] for array in given]) for row in range(len(inputs[0]))]
    return tuple(
        np.stack([np.asarray(part) for part in parts]) for parts in zip(*rows, strict=True)
    )


def _with_batch(graph: Graph, index: int, samples: Array) -> Array:
    """Samples as the file takes them one by one: `[n, batch, ...]`."""
    shape = graph.tensors[index].shape
    return samples.reshape(len(samples), *((1, *samples.shape[1:]) if shape[:1] == (1,) else shape))


def largest_error(found: tuple[Array, ...], wanted: tuple[Array, ...]) -> float:
    """The largest difference relative to the largest value of its output; integers do not count."""
    return max((_error(one, other) for one, other in zip(found, wanted, strict=True)), default=0.0)


def _error(found: Array, wanted: Array) -> float:
    if found.size != wanted.size:
        return float("inf")
    if found.dtype.kind != "f" or not wanted.size:
        return 0.0
    right = wanted.reshape(found.shape).astype(np.float64)
    scale = float(np.abs(right).max()) or 1.0
    error = float(np.abs(found.astype(np.float64) - right).max() / scale)
    return error if np.isfinite(error) else float("inf")
