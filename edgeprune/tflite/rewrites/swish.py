"""Swish by the hyperbolic tangent, which takes fewer instructions than the sigmoid.

With x = 2h, x * sigmoid(x) = h * (1 + tanh(h)); the half goes into the convolution that makes x,
exactly, as it is a power of two:

    before   CONV w, b --> x --> LOGISTIC --> s     MUL(x, s)
    after    CONV w/2, b/2 --> h --> TANH --> t     MUL(h, ADD(1, t))

Outputs are equal up to the rounding of float32, of x rather than of the output where that is near
zero. A file for several runtimes gets it if the gate says that all of them have the kernel in
sparse networks: tflite-runtime 2.14.0 has not, so files that it shall run keep the sigmoid.

Executed instructions per value, 2026-11-27: before 10.06, after 7.68, in LiteRT 2.1.6 and 2.3.0 on
emulated cortex-a76 and cortex-a53 alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.graph import Operator, Subgraph, Tensor
from edgeprune.tflite.rewrites.edit import Edit
from edgeprune.tflite.rewrites.window import CONVOLUTIONS

_HALF = 0.5


@dataclass(frozen=True, eq=False)
class _Swish:
    """A convolution whose result is multiplied by its own sigmoid, and read by nothing else."""

    convolution: Operator
    sigmoid: Operator
    product: Operator


def halve_swish(edit: Edit) -> int:
    """Computes swish on maps by TANH of half of its input; returns how many."""
    return sum(_halve(edit, found) for found in _swishes(edit.main))


def _swishes(main: Subgraph) -> Iterator[_Swish]:
    for sigmoid in main.operators:
        if sigmoid.op != "LOGISTIC":
            continue
        source, gate = sigmoid.inputs[0], sigmoid.outputs[0]
        maker, product = main.makers.get(source), _only_reader(main, gate)
        readers = {reader.index for reader, _ in main.readers.get(source, ())}
        if (
            maker is not None
            and maker.op in CONVOLUTIONS
            and not maker.options.fusedActivationFunction
            and product is not None
            and _multiplies(product, source, gate)
            and readers == {sigmoid.index, product.index}
            and source not in main.ends
            and _is_map(main.tensors[source])
        ):
            yield _Swish(maker, sigmoid, product)


def _only_reader(main: Subgraph, tensor: int) -> Operator | None:
    readers = main.readers.get(tensor, ())
    return readers[0][0] if len(readers) == 1 and tensor not in main.ends else None


def _multiplies(operator: Operator, source: int, gate: int) -> bool:
    factors = operator.op == "MUL" and sorted(operator.inputs) == sorted((source, gate))
    return factors and not operator.options.fusedActivationFunction


def _is_map(tensor: Tensor) -> bool:
    """Whether a value has several pixels: on one, as in squeeze-and-excite, nothing is gained."""
    shape = tensor.shape
    return len(shape) == 4 and shape[1:3] != (1, 1) and tensor.dtype == "float32"


def _halve(edit: Edit, found: _Swish) -> bool:
    weights, bias = (edit.own(found.convolution, position) for position in (1, 2))
    shared = None if bias else _shared_bias(edit.main, found.convolution)
    stored = [each.values() if each is not None else None for each in (weights, bias or shared)]
    kinds = ("float32", "float16")
    if any(values is None or values.dtype.name not in kinds for values in stored):
        return False
    halves = [(values * _HALF).astype(values.dtype) for values in stored if values is not None]
    for tensor, half in zip((weights, bias), halves, strict=True):
        if tensor is not None:
            edit.overwrite(tensor, half)
    if shared is not None:
        edit.read(found.convolution, 2, edit.constant(f"{shared.name}/half", halves[1]))
    _replace(edit, found)
    return True


def _shared_bias(main: Subgraph, convolution: Operator) -> Tensor | None:
    """A bias that others read too: converters join equal ones, as those of untrained layers."""
    index = convolution.inputs[2] if len(convolution.inputs) > 2 else -1
    tensor = main.tensors[index] if index >= 0 else None
    usable = tensor is not None and tensor.constant and not tensor.sparse
    return tensor if usable and tensor is not None and tensor.dtype == "float32" else None


def _replace(edit: Edit, found: _Swish) -> None:
    half, gate = (edit.main.tensors[i] for i in (found.sigmoid.inputs[0], found.sigmoid.outputs[0]))
    one = edit.constant(f"{gate.name}/one", np.ones((1, 1, 1, 1), np.float32))
    plus = edit.like(gate, f"{gate.name}/plus_one", gate.shape)
    edit.replace(found.sigmoid, [edit.operator("TANH", [half.index], [gate.index], None)])
    edit.replace(
        found.product,
        [
            edit.operator("ADD", [one, gate.index], [plus], schema.AddOptionsT()),
            edit.operator("MUL", [half.index, plus], found.product.outputs, schema.MulOptionsT()),
        ],
    )
