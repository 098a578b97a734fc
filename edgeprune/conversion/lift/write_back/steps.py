"""Holds the operators of a quantized file that changed against the pruned model, one by one.

Each gets what the runtime computed for its inputs, so that only its own error counts: a step or two
of its output. A bias with a wrong scale or channels in a wrong order give more.

    file     ... CONV_2D --> A --> CONV_2D --> B ...       A and B as the runtime has them
    Keras               real values of A --> part of the model --> compared with those of B
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeprune.conversion.lift.floating import with_float_weights, write_exposed
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.prove import lifted_values
from edgeprune.conversion.lift.site import quantized, span_of
from edgeprune.core.arrays import Array
from edgeprune.keras_model.interface import infer
from edgeprune.keras_model.layers import Model
from edgeprune.targets.child import run_worker
from edgeprune.targets.host import launcher_of
from edgeprune.targets.inputs import generated_inputs
from edgeprune.tflite.format.draft import load
from edgeprune.tflite.format.graph import Graph, Operator, Subgraph, Tensor
from edgeprune.tflite.format.signature import input_ports

MOST_STEPS = 2.0
"""By how many steps an operator may differ from Keras: runtimes round before and after scaling."""
_BEYOND_GIVEN = 1.0
"""By how many more than it did in the given file, where that is more already."""
_MOST_OF_REAL = 1e-3
"""By how much an output of real values may differ, of the largest value in it."""


@dataclass(frozen=True)
class Apart:
    """An operator that computes something else in the file than in Keras."""

    operator: Operator
    name: str
    """Of its output."""
    steps: float
    """The largest difference."""


def spread_inputs(graph: Graph, samples: int, seed: int = 0) -> list[Array]:
    """Inputs to run a file on: as `generated_inputs`, but all that a quantized input can hold."""
    generator = np.random.default_rng(seed)
    made = generated_inputs(graph, samples, seed)
    tensors = [graph.tensors[port.tensor] for port in input_ports(graph)]
    return [
        _spread(tensor, values, generator) if quantized(tensor) else values
        for tensor, values in zip(tensors, made, strict=True)
    ]


def _spread(tensor: Tensor, like: Array, generator: np.random.Generator) -> Array:
    low, high = span_of(tensor)
    steps = generator.integers(0, round((high - low) / float(tensor.scales[0])) + 1, like.shape)
    return (low + steps * float(tensor.scales[0])).astype(np.float32)


def first_apart(
    lifted: Lifted, twin: Model, written: Graph, inputs: Sequence[Array], runtime: str
) -> Apart | None:
    """The first operator of a written file that computes something else than its twin.

    Args:
      lifted: the file that was given.
      twin: the pruned model, with its weights as they are stored.
      written: the file with its weights.
      inputs: samples `[n, ...]` for each input, in the order of the signature.
      runtime: its name.

    Raises:
      WorkerError: the runtime does not run it.
    """
    changed = changed_operators(lifted.graph.subgraphs[0], written.subgraphs[0])
    found = _steps(replace(lifted, model=twin), written, changed, inputs, runtime)
    suspect = {index: steps for index, steps in found.items() if not steps <= MOST_STEPS}
    given = _steps(lifted, lifted.graph, [*suspect], inputs, runtime) if suspect else {}
    for index, steps in suspect.items():
        if not steps <= given.get(index, 0.0) + _BEYOND_GIVEN:
            operator = written.operators[index]
            return Apart(operator, written.tensors[operator.outputs[0]].name, steps)
    return None


def changed_operators(before: Subgraph, after: Subgraph) -> list[int]:
    """The operators that read or make something else than before, by their indices."""
    pairs = zip(before.operators, after.operators, strict=True)
    return [old.index for old, new in pairs if _seen(before, old) != _seen(after, new)]


def _seen(main: Subgraph, operator: Operator) -> list[Any]:
    tensors = [main.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    return [(t.shape, t.scales.tolist(), t.data.tobytes()) for t in tensors]


def _steps(
    lifted: Lifted, graph: Graph, operators: Sequence[int], inputs: Sequence[Array], runtime: str
) -> Mapping[int, float]:
    """By how much operators of a file differ from its model, in steps of their outputs."""
    values, main = lifted_values(lifted), graph.subgraphs[0]
    known = [main.operators[index] for index in operators]
    known = [operator for operator in known if _comparable(main, operator, values)]
    needed = {index for each in known for index in (*_live(each, values), each.outputs[0])}
    found = {port.tensor: x for port, x in zip(input_ports(graph), inputs, strict=True)}
    exposed = sorted(needed - found.keys())
    found |= zip(exposed, _exposed(graph, exposed, inputs, runtime), strict=True)
    return {each.index: _apart(main, each, values, found) for each in known}


def _comparable(main: Subgraph, operator: Operator, values: Mapping[int, Any]) -> bool:
    """Whether an operator's output and all that it reads are in the model, or constant."""
    computed = [index for index in operator.inputs if index >= 0 and not _fixed(main, index)]
    return bool(computed) and all(index in values for index in (*computed, *operator.outputs[:1]))


def _fixed(main: Subgraph, index: int) -> bool:
    """Whether a tensor depends on constants alone."""
    return index not in main.inputs and (
        index not in main.makers or all(_fixed(main, each) for each in main.makers[index].inputs)
    )


def _live(operator: Operator, values: Mapping[int, Any]) -> list[int]:
    return list(dict.fromkeys(index for index in operator.inputs if index in values))


def _exposed(
    graph: Graph, tensors: Sequence[int], inputs: Sequence[Array], runtime: str
) -> tuple[Array, ...]:
    """What a runtime computes for tensors, `[n, ...]` in real values."""
    if not tensors:
        return ()
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = Path(folder, "exposed.tflite")
        write_exposed(with_float_weights(load(graph.path)), tensors, path)
        model = {
            "path": str(path),
            "input_tensors": [port.tensor for port in input_ports(graph)],
            "output_tensors": list(tensors),
        }
        job = {"kind": "run", "runtime": runtime, "threads": 1, "delegates": True}
        asked = {**job, "models": [model]}
        return run_worker(asked, [list(inputs)], launcher=launcher_of(runtime)).outputs


def _apart(
    main: Subgraph, operator: Operator, values: Mapping[int, Any], found: Mapping[int, Array]
) -> float:
    """By how much an operator differs from its part of the model."""
    read, made = _live(operator, values), operator.outputs[0]
    part = keras.Model([values[index] for index in read], values[made])
    rows = [
        infer(part, [_as_keras(found[index][row], values[index]) for index in read])[0]
        for row in range(len(found[made]))
    ]
    wanted = np.stack([np.asarray(row) for row in rows])
    return _difference(found[made], wanted, main.tensors[made])


def _as_keras(sample: Array, tensor: Any) -> Array:
    """One sample of an activation in the shape that Keras has it."""
    return sample.reshape([-1 if size is None else size for size in tensor.shape])


def _difference(found: Array, wanted: Array, tensor: Tensor) -> float:
    """The largest difference in steps of a tensor; in what real values may differ by, if real."""
    if found.size != wanted.size:
        return float("inf")
    if found.dtype.kind != "f":
        return 0.0
    right = wanted.reshape(found.shape).astype(np.float64)
    if quantized(tensor):
        step, right = float(tensor.scales[0]), np.clip(right, *span_of(tensor))
    else:
        step = _MOST_OF_REAL / MOST_STEPS * (float(np.abs(right).max(initial=0.0)) or 1.0)
    error = float(np.abs(found.astype(np.float64) - right).max(initial=0.0) / step)
    return error if np.isfinite(error) else float("inf")
