"""Writes out SAME padding that XNNPACK reads wrongly; see `tflite.misread_padding`.

before   x [12, 12] --> CONV 1x3 /2 SAME                            --> y [6, 6]
after    x [12, 12] --> PAD columns by (0, 1) --> CONV 1x3 /2 VALID --> y [6, 6]
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Operator
from edgeprune.tflite.misread_padding import stepped_over
from edgeprune.tflite.rewrites.edit import Edit


def write_out_padding(draft: Draft) -> Draft:
    """Gives every convolution whose stride steps over its kernel explicit zeros.

    Args:
      draft: a converted file; not used any more if it is changed.

    Returns:
      The same draft if nothing was to be changed, else a new one.
    """
    edit = Edit(draft)
    found = [
        (operator, total)
        for operator in edit.main.operators
        if (total := stepped_over(edit.main, operator)) is not None
    ]
    for operator, total in found:
        _write_out(edit, operator, total)
    return edit.finish() if found else draft


def _write_out(edit: Edit, operator: Operator, total: tuple[int, int]) -> None:
    edit.of(operator).builtinOptions.padding = schema.Padding.VALID
    if not any(total):
        return
    source = edit.main.tensors[operator.inputs[0]]
    zeros = [[0, 0], *([n // 2, n - n // 2] for n in total), [0, 0]]
    shape = [n + sum(pair) for n, pair in zip(source.shape, zeros, strict=True)]
    name = edit.main.tensors[operator.outputs[0]].name
    amounts = edit.constant(f"{name}/zeros", np.array(zeros, np.int32))
    padded = edit.like(source, f"{name}/padded", shape)
    version = 1 if source.dtype == "float32" else 2
    inputs = [source.index, amounts]
    edit.before(operator, [edit.operator("PAD", inputs, [padded], schema.PadOptionsT(), version)])
    edit.read(operator, 0, padded)
