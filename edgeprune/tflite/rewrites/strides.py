"""Strided convolutions: padding that XNNPACK's sparse kernels take.

They take 3x3 windows padded by 1 and 5x5 ones padded by 2 on every side. SAME with stride 2 on an
even length pads behind only, and reads input[2i .. 2i+2]:

    before   x --> DEPTHWISE 3x3 /2 SAME                     w0 w1 w2
    after    x --> PAD 2 --> DEPTHWISE 5x5 /2 VALID    0  0  w0 w1 w2     input[2i-2 .. 2i+2]

Where the window lies in the middle already (SAME on an odd length, or a PAD of more zeros than are
read) only the padding is written out:

    before   x --> CONV 3x3 /2 SAME
    after    x --> PAD 1 --> CONV 3x3 /2 VALID
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.rewrites.edit import Edit
from edgeprune.tflite.rewrites.window import VALID, Window, padding_amounts, window_of


def pad_strides(edit: Edit) -> int:
    """Pads strided convolutions by the same on every side; returns how many."""
    windows = [window_of(edit.main, operator) for operator in edit.main.operators]
    return sum(_pad(edit, window) for window in windows if window is not None)


def _pad(edit: Edit, window: Window) -> bool:
    kernel = window.kernel[0]
    if window.kernel not in ((3, 3), (5, 5)) or _written_out(edit, window):
        return False
    if window.before == (kernel // 2, kernel // 2) and window.fits(kernel):
        _write_out(edit, window, kernel // 2)
        return True
    weights = edit.own(window.operator, 1)
    values = None if weights is None else weights.values()
    embeds = window.operator.op == "DEPTHWISE_CONV_2D" and kernel == 3 and window.fits(5)
    if weights is None or values is None or not embeds or max(window.before) > 2:
        return False
    top, left = (2 - before for before in window.before)
    larger = np.zeros((1, 5, 5, values.shape[3]), values.dtype)
    larger[:, top : top + 3, left : left + 3] = values
    edit.overwrite(weights, larger)
    _write_out(edit, window, 2)
    return True


def _written_out(edit: Edit, window: Window) -> bool:
    """Whether the file pads explicitly, and by half of the kernel on every side."""
    half = window.kernel[0] // 2
    amounts = None if window.pad is None else padding_amounts(edit.main, window.pad)
    return amounts is not None and amounts[1:3] == [[half, half], [half, half]]


def _write_out(edit: Edit, window: Window, amount: int) -> None:
    source = edit.main.tensors[window.source]
    rows = np.array([[0, 0], [amount, amount], [amount, amount], [0, 0]], np.int32)
    amounts = edit.constant(f"{source.name}/padding{amount}", rows)
    shape = [n + a for n, a in zip(source.shape, rows.sum(axis=1), strict=True)]
    signature = [-1 if s < 0 else n for s, n in zip(source.shape_signature, shape, strict=True)]
    padded = edit.value(f"{source.name}/padded{amount}", shape, signature)
    pad = edit.operator("PAD", [window.source, amounts], [padded], schema.PadOptionsT())
    edit.before(window.operator, [pad])
    edit.of(window.operator).builtinOptions.padding = VALID
    edit.read(window.operator, 0, padded)
    if window.pad is not None:
        edit.replace(window.pad, [])
