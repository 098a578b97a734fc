"""Cuts operators out of a file: a file of their own, which computes what they compute."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import drop_unused_codes
from edgeprune.tflite.format.draft_indices import drop_unread_tensors, drop_unused_buffers

_MAIN = 0


def cut(
    path: Path, operators: Collection[int], inputs: Sequence[int], outputs: Sequence[int]
) -> bytes:
    """A file of some operators of a file's main subgraph, with the subgraphs that they call.

    Args:
      path: the file.
      operators: their indices.
      inputs: tensors that the new file takes; what else the operators read is constant, a variable
        or made by themselves.
      outputs: tensors that it gives.
    """
    model = tflite_draft.load(path).model
    main = model.subgraphs[_MAIN]
    main.operators = [main.operators[index] for index in sorted(operators)]
    main.inputs, main.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    model.signatureDefs, model.metadata = [], []
    kept = _called(model)
    for index, subgraph in enumerate(model.subgraphs):
        if index not in kept:
            subgraph.operators, subgraph.tensors = [], []
            subgraph.inputs = subgraph.outputs = np.empty(0, np.int32)
    drop_unread_tensors(model, _MAIN)
    drop_unused_buffers(model)
    drop_unused_codes(model)
    return bytes(tflite_draft.pack(model))


def _called(model: Any) -> set[int]:
    """The subgraphs that the main one calls, one of them does, and so on; itself too."""
    found, waiting = {_MAIN}, [_MAIN]
    while waiting:
        for operator in model.subgraphs[waiting.pop()].operators:
            called = subgraphs_called(operator.builtinOptions, operator.builtinOptions2)
            waiting += sorted(called - found)
            found |= called
    return found


def subgraphs_called(*options: Any) -> set[int]:
    """The subgraphs that an operator's options name: branches, conditions, bodies."""
    return {
        value
        for table in options
        for name, value in (vars(table) if table is not None else {}).items()
        if "subgraph" in name.lower() and isinstance(value, int) and value >= 0
    }
