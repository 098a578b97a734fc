"""Writes out SAME padding that XNNPACK reads wrongly: strides that step over a kernel.

Where a stride is longer than a kernel along an axis, the last window may end before the map does.
SAME then adds no zeros, and XNNPACK, where it subtracts, a huge number of them: outputs are noise.

    before   x [12, 12] --> CONV 1x3 /2 SAME                       --> y [6, 6]
    after    x [12, 12] --> PAD columns by (0, 1) --> CONV 1x3 /2 VALID --> y [6, 6]

Measured 2026-11-27 on x86-64, CONV_2D and DEPTHWISE_CONV_2D of every kernel but 1x1, strides 2 and
3: tflite-runtime 2.14.0 differs by as much as its outputs, LiteRT 2.3.0 is right; on emulated ARM64
LiteRT 2.1.6 is wrong too. Pools are right in both.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.runtime import Runtime
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Operator, Subgraph
from edgeprune.tflite.format.shapes import same_padding
from edgeprune.tflite.rewrites.edit import Edit

MISREAD_BY = frozenset({Runtime("tflite-runtime", "2.14.0"), Runtime("LiteRT", "2.1.6")})
"""Runtimes whose XNNPACK does so, of those that were tried."""


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


def stepped_over(main: Subgraph, operator: Operator) -> tuple[int, int] | None:
    """The zeros that a convolution adds to rows and columns, if XNNPACK reads them wrongly."""
    total = same_padding(main, operator)
    if total is None or min(total) >= 0:
        return None
    rows, columns = main.tensors[operator.inputs[1]].shape[1:3]
    return None if (rows, columns) == (1, 1) else (max(total[0], 0), max(total[1], 0))


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
