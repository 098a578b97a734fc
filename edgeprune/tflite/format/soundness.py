"""Refuses subgraphs that say two things at once, or of which runtimes and we could read two things.

What a file says twice may differ: a tensor that two operators compute, a PAD whose amounts are not
those of its declared shapes. Whoever trusts one of the two computes something else than whoever
trusts the other, so such files are errors and nobody chooses.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from edgeprune.tflite.format.decode_operator import check_decode, unpacks
from edgeprune.tflite.format.flatbuffer import ByteReader
from edgeprune.tflite.format.graph import RESTORING, Operator, Subgraph, Tensor
from edgeprune.tflite.format.shapes import PADS, contradiction

_INPUTLESS = frozenset({"CALL", "CALL_ONCE", "DELEGATE", "HASHTABLE", "IF", "VAR_HANDLE", "WHILE"})
"""Builtin operators that may lack inputs; those of StableHLO, custom and unknown ones may too."""

_OUTPUTLESS = frozenset({*_INPUTLESS, "ASSIGN_VARIABLE", "HASHTABLE_IMPORT"})
"""Likewise those that may lack outputs."""

_NEEDED: Mapping[str, int] = {
    "ADD": 2,
    "BATCH_MATMUL": 2,
    "CONV_2D": 2,
    "CONV_3D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "DIV": 2,
    "FULLY_CONNECTED": 2,
    "MAXIMUM": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "MUL": 2,
    "PAD": 2,
    "SUB": 2,
    "SUM": 2,
    "TRANSPOSE_CONV": 3,
}
"""How many inputs an operator cannot do without, where that is more than one."""


_DECLARED = (*PADS, *RESTORING)
"""Operators whose declared shapes are relied on, here and by runtimes' delegates."""


def pick(reader: ByteReader, items: Sequence[Any], index: int, place: str) -> Any:
    """Returns an item of a list that a file refers to by its index.

    Raises:
      TfliteError: there is no such item.
    """
    if not 0 <= index < len(items):
        raise reader.fail(place, f"an index below {len(items)}", index)
    return items[index]


def check_subgraph(reader: ByteReader, subgraph: Subgraph, place: str) -> None:
    """Checks a subgraph's operators against each other and against its tensors.

    Raises:
      TfliteError: an index leads nowhere, an operator lacks what it needs or needs what is computed
        later, a tensor gets its values twice, a DECODE has no sound coding, or a PAD or what
        restores a constant contradicts its declared shapes.
    """
    for index in subgraph.inputs + subgraph.outputs:
        pick(reader, subgraph.tensors, index, f"{place}, inputs and outputs")
    for index in subgraph.outputs:
        if subgraph.tensors[index].sparse:
            name = subgraph.tensors[index].name
            raise reader.fail(f"{place}, outputs", "dense tensors", f"{name!r}, which is sparse")
    _check_order(reader, place, subgraph)
    _check_values(reader, place, subgraph)
    sound: set[tuple[Hashable, ...]] = set()
    for operator in subgraph.operators:
        here = _name(place, operator)
        _check_inputs(reader, here, operator)
        _check_outputs(reader, here, operator)
        if operator.op == "FULLY_CONNECTED":
            _check_rows(reader, here, subgraph, operator)
        if unpacks(operator):
            check_decode(reader, here, subgraph, operator, sound)
        if operator.op in _DECLARED and (found := contradiction(subgraph, operator)):
            raise reader.fail(here, *found)


def _name(place: str, operator: Operator) -> str:
    return f"{place}, operator {operator.index} ({operator.op})"


def _check_order(reader: ByteReader, place: str, subgraph: Subgraph) -> None:
    """Checks that indices exist and that no operator needs what it or a later one computes."""
    tensors = subgraph.tensors
    pending = {index for operator in subgraph.operators for index in operator.outputs}
    for operator in subgraph.operators:
        here = _name(place, operator)
        for index in _present(operator.inputs):
            if index in pending and not pick(reader, tensors, index, here).variable:
                raise reader.fail(here, "inputs computed before", f"tensor {index}, computed later")
            pick(reader, tensors, index, here)
        for index in _present(operator.outputs + operator.intermediates):
            pick(reader, tensors, index, here)
            pending.discard(index)


def _check_values(reader: ByteReader, place: str, subgraph: Subgraph) -> None:
    """Checks that each tensor has its values from one place: the file, the caller, one operator."""
    given = dict.fromkeys(subgraph.inputs, "an input of the model")
    for operator in subgraph.operators:
        for index in _present(operator.outputs):
            tensor: Tensor = subgraph.tensors[index]
            before = "a constant in the file" if tensor.constant else given.get(index, "")
            if before and not tensor.variable:
                raise reader.fail(
                    _name(place, operator),
                    f"outputs that nothing else gives values, such as tensor {index}",
                    f"one that is also {before}",
                )
            given[index] = f"computed by operator {operator.index}"


def _check_inputs(reader: ByteReader, place: str, operator: Operator) -> None:
    needed = _needed(operator)
    if len(operator.inputs) < needed or min(operator.inputs[:needed], default=0) < 0:
        received = list(operator.inputs)
        raise reader.fail(place, f"{needed} or more inputs, the first {needed} present", received)


def _needed(operator: Operator) -> int:
    if _unknown(operator) or operator.op in _INPUTLESS:
        return 0
    return _NEEDED.get(operator.op, 1)


def _check_outputs(reader: ByteReader, place: str, operator: Operator) -> None:
    if _unknown(operator) or operator.op in _OUTPUTLESS:
        return
    if max(operator.outputs, default=-1) < 0:
        raise reader.fail(place, "an output or more", list(operator.outputs))
    if operator.op in _NEEDED and operator.outputs[0] < 0:
        raise reader.fail(place, "its first output present", list(operator.outputs))


def _check_rows(reader: ByteReader, place: str, subgraph: Subgraph, operator: Operator) -> None:
    """Checks that an input of fixed shape is a number of rows, each as long as the weights' rows.

    TensorFlow Lite's kernel for sparse weights does not look, and reads what lies behind.
    """
    taken, weights = (subgraph.tensors[index] for index in operator.inputs[:2])
    if len(weights.shape) != 2 or weights.shape[1] < 1 or -1 in taken.shape_signature:
        return
    if math.prod(taken.shape) % weights.shape[1]:
        wanted = f"an input {taken.name!r} of a multiple of {weights.shape[1]} values"
        raise reader.fail(place, wanted, list(taken.shape))


def _unknown(operator: Operator) -> bool:
    return operator.custom or operator.op.startswith(("STABLEHLO", "BUILTIN", "PLACEHOLDER"))


def _present(indices: Sequence[int]) -> Iterator[int]:
    """Yields the indices that are not the schema's -1 for "left out"."""
    return (index for index in indices if index != -1)
