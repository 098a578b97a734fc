"""Each operator of a quantized file by itself, computed in Keras on what the interpreter gives it.

Rounding adds up along a network, so that its outputs tell little of where it was rebuilt wrongly.
An operator that reads the very values that the interpreter's reads differs by its own rounding
alone: by half a step where kernels round once, by less than one in all kernels for 8 bits (measured
in LiteRT 2.3.0, `tests/conversion/lift/test_quantized_operators.py`). A wrong padding, zero or
clamp is many steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeprune.conversion.lift.difference import MOST_DIFFERENCE, difference, said
from edgeprune.conversion.lift.exposed import RUNTIME, lifted_values, run_exposed
from edgeprune.conversion.lift.lifted import Lifted, Obstacle
from edgeprune.conversion.lift.site import quantized
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.graph import Operator, Tensor
from edgeprune.tflite.format.signature import input_ports

MOST_STEPS = 2.0
"""By how many steps of its output an operator may differ."""
_MOST_FINE_STEPS: Mapping[str, float] = {"RESIZE_BILINEAR": 256.0}
_FINE_STEPS = 8.0
"""As `MOST_STEPS`, of int16: kernels look functions up in tables of few digits (TANH of 2.3 steps),
and weigh pixels by 10 bits (up to 95 steps)."""
MOST_VALUES = 1 << 25
"""Values of one run of the interpreter that are kept, 128 MiB of float32."""

Values = Mapping[int, Array]
"""What the interpreter has in each tensor, `[n, ...]`."""


def first_apart(
    lifted: Lifted,
    arrays: Sequence[Array],
    folder: Path,
    most_values: int = MOST_VALUES,
    runtime: str = RUNTIME,
) -> Obstacle | None:
    """The first operator whose results in Keras are not the interpreter's, up to rounding.

    Args:
      lifted: from `lift`.
      arrays: samples `[n, ...]` for each input, in the order of the signature, as its tensor can
        hold them; of large networks fewer are run.
      folder: for files.
      most_values: of one run, unless those around one operator are more.
      runtime: whose interpreter it is.

    Returns:
      The operator, and by how much it differs; None if all agree.

    Raises:
      WorkerError: the interpreter does not run the file with these tensors as outputs.
    """
    made = lifted_values(lifted)
    # Those of islands are not lifted: it is the interpreter that runs them.
    islands = {index for island in lifted.islands for index in island.operators}
    lifted_ones = [each for each in lifted.graph.operators if each.index not in islands]
    operators = [each for each in lifted_ones if any(i in made for i in each.outputs)]
    total = sum(map(math.prod, _shapes(lifted, {i for each in operators for i in each.outputs})))
    few = [array[: max(1, most_values // max(total, 1))] for array in arrays]
    for part in _parts(lifted, operators, most_values // len(few[0])):
        values = _run(lifted, made, part, few, folder, runtime)
        for operator in part:
            found = _apart(lifted, made, operator, values)
            if found is not None:
                return found
    return None


def _shapes(lifted: Lifted, tensors: set[int]) -> list[tuple[int, ...]]:
    return [lifted.graph.tensors[index].shape for index in tensors if index >= 0]


def _parts(
    lifted: Lifted, operators: Sequence[Operator], most: int
) -> Iterator[Sequence[Operator]]:
    """Operators one after the other whose values of one sample are few enough together."""
    part: list[Operator] = []
    size = 0
    for operator in operators:
        around = _shapes(lifted, {*operator.inputs, *operator.outputs})
        added = sum(map(math.prod, around))
        if part and size + added > most:
            yield part
            part, size = [], 0
        part.append(operator)
        size += added
    yield part


def _run(
    lifted: Lifted,
    made: Mapping[int, Any],
    operators: Sequence[Operator],
    arrays: list[Array],
    folder: Path,
    runtime: str,
) -> Values:
    """What the interpreter has in the tensors around some operators."""
    given = {port.tensor: x for port, x in zip(input_ports(lifted.graph), arrays, strict=True)}
    around = {i for each in operators for i in (*each.inputs, *each.outputs) if i in made}
    wanted = sorted(around - given.keys())
    found = run_exposed(lifted, wanted, arrays, folder, runtime) if wanted else ()
    return {**given, **dict(zip(wanted, found, strict=True))}


def _apart(
    lifted: Lifted, made: Mapping[int, Any], operator: Operator, values: Values
) -> Obstacle | None:
    """An operator with by how much it differs, where that is more than rounding."""
    outputs = [index for index in operator.outputs if index in made]
    sources = [index for index in dict.fromkeys(operator.inputs) if index in made]
    ours = _computed([made[i] for i in sources], [made[i] for i in outputs], sources, values)
    for index, computed in zip(outputs, ours, strict=True):
        tensor = lifted.graph.tensors[index]
        reason = _differs(tensor, most_steps(operator.op, tensor), computed, values[index])
        if reason:
            return Obstacle(operator.index, operator.op, reason)
    return None


def _computed(
    sources: Sequence[Any], outputs: Sequence[Any], tensors: Sequence[int], values: Values
) -> list[Array]:
    """What a part of a Keras model makes of the interpreter's values, sample by sample."""
    given = {id(source): index for source, index in zip(sources, tensors, strict=True)}
    unique = list({id(source): source for source in sources}.values())
    function = keras.Function(unique, list(outputs))
    rows = []
    for row in range(len(next(iter(values.values())))):
        read = [_as_keras(source, values[given[id(source)]][row]) for source in unique]
        rows.append([np.asarray(each) for each in function(read)])
    return [np.stack([row[k] for row in rows]) for k in range(len(outputs))]


def _as_keras(source: Any, values: Array) -> Array:
    """A tensor of the file in the shape that Keras has it in."""
    shape = tuple(source.shape)
    return values.reshape((-1, *shape[1:]) if shape[:1] == (None,) else shape)


def most_steps(op: str, tensor: Tensor) -> float:
    """By how many steps an operator's output may differ."""
    return _MOST_FINE_STEPS.get(op, _FINE_STEPS) if tensor.dtype == "int16" else MOST_STEPS


def _differs(tensor: Tensor, most: float, ours: Array, theirs: Array) -> str:
    """By how much values differ, in words; empty where that is rounding."""
    if not quantized(tensor):
        size = difference(ours, theirs)
        return said(size) if size > MOST_DIFFERENCE else ""
    steps = steps_between(ours, theirs, float(tensor.scales[0]))
    return f"in Keras its values differ by {steps:.3g} quantization steps" * (steps > most)


def steps_between(ours: Array, theirs: Array, step: float) -> float:
    """The largest difference of two arrays, in steps; infinite where their sizes differ."""
    if ours.size != theirs.size:
        return math.inf
    apart = np.abs(ours.reshape(-1).astype(np.float64) - theirs.reshape(-1))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0)) / step
