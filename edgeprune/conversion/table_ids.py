"""Inputs that choose rows of a table: they are whole numbers in a file, also in one of int8."""

from __future__ import annotations

from dataclasses import replace

from edgeprune.core.data import InputSpec
from edgeprune.core.errors import ModelError
from edgeprune.core.terms import Numerics
from edgeprune.keras_model.layers import Model
from edgeprune.keras_model.preprocessing import also_computed_with, inputs_of
from edgeprune.tflite.format.file import Graph

_IDS = {"GATHER": 1, "GATHER_ND": 1, "ONE_HOT": 0, "EMBEDDING_LOOKUP": 0}
"""Place of the ids among the inputs of an operator."""
_PASSED = frozenset(
    (
        *("CAST", "QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
        *("SLICE", "STRIDED_SLICE", "TRANSPOSE", "SPLIT", "SPLIT_V", "UNPACK"),
        *("PACK", "CONCATENATION", "ADD", "SUB", "MUL", "MAXIMUM"),
        *("MINIMUM", "FLOOR", "FLOOR_MOD", "ROUND", "SELECT", "SELECT_V2", "LESS"),
    )
)
"""Operators that ids may go through on the way from an input."""


def file_inputs(model: Model, numerics: Numerics) -> tuple[InputSpec, ...]:
    """The inputs of a file: as the model's, but where int8 quantizes floats, ids are int32.

    Raises:
      ModelError: such an input is computed with as well, so that it would have to be both.
    """
    specs = inputs_of(model)
    floats = {spec.name for spec in specs if spec.ids and spec.dtype.startswith("float")}
    if numerics != "int8" or not floats:
        return specs
    mixed = [name for name in also_computed_with(model) if name in floats]
    if mixed:
        raise ModelError(_message(model, mixed[0], "and is computed with as well"))
    return tuple(replace(spec, dtype="int32") if spec.name in floats else spec for spec in specs)


def require_exact_ids(model: Model, graph: Graph) -> None:
    """Refuses a converted file in which ids come out of a quantized input.

    Raises:
      ModelError: it would choose other rows than the model.
    """
    made = {output: operator for operator in graph.operators for output in operator.outputs}
    starts = [
        operator.inputs[_IDS[operator.op]]
        for operator in graph.operators
        if operator.op in _IDS and len(operator.inputs) > _IDS[operator.op]
    ]
    waiting, seen = starts, set(starts)
    while waiting:
        tensor = waiting.pop()
        if tensor in graph.inputs and graph.tensors[tensor].scales.size:
            raise ModelError(_message(model, graph.tensors[tensor].name, "in a layer of its own"))
        operator = made.get(tensor)
        if operator is not None and operator.op in _PASSED:
            fresh = [index for index in operator.inputs if index >= 0 and index not in seen]
            seen.update(fresh)
            waiting += fresh


def _message(model: Model, name: str, how: str) -> str:
    return (
        f"{model.name}: input '{name}' of floats chooses rows of a table, {how}; quantized to int8 "
        "it would choose other rows. Make an input of its own for the table, with dtype='int32'."
    )
