"""Stems on images of one or two channels.

Sparse networks begin at a 3x3 convolution of stride 2 on 3 channels. Channels of zeros, which get
weights of zero, make it three:

    before   x [n, h, w, 1] ------------------------------> CONV 3x3 /2 on 1 channel
    after    x [n, h, w, 1] --> PAD channels [n, h, w, 3] --> CONV 3x3 /2 on 3 channels
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.graph import Operator
from edgeprune.tflite.rewrites.edit import Edit
from edgeprune.tflite.rewrites.window import Window, window_of

_CHANNELS = 3


def widen_stems(edit: Edit) -> int:
    """Adds channels of zeros in front of stems that have fewer than three; returns how many."""
    return sum(_widen(edit, operator) for operator in edit.main.operators)


def _widen(edit: Edit, operator: Operator) -> bool:
    window = window_of(edit.main, operator) if operator.op == "CONV_2D" else None
    if window is None or window.kernel != (3, 3) or window.source not in edit.main.inputs:
        return False
    image = edit.main.tensors[window.source]
    weights = edit.own(operator, 1)
    values = None if weights is None else weights.values()
    missing = _CHANNELS - image.shape[3]
    if weights is None or values is None or missing < 1 or values.shape[3] != image.shape[3]:
        return False
    edit.overwrite(weights, np.pad(values, ((0, 0), (0, 0), (0, 0), (0, missing))))
    _pad_channels(edit, window, missing)
    return True


def _pad_channels(edit: Edit, window: Window, missing: int) -> None:
    """Pads channels in front of the stem, and pads height and width behind that where it does."""
    image = edit.main.tensors[window.source]
    rows = np.array([[0, 0], [0, 0], [0, 0], [0, missing]], np.int32)
    shape = (*image.shape[:3], _CHANNELS)
    wide = edit.value(f"{image.name}/wide", shape, (*image.shape_signature[:3], _CHANNELS))
    amounts = edit.constant(f"{image.name}/channels", rows)
    first = window.operator if window.pad is None else window.pad
    pad = edit.operator("PAD", [image.index, amounts], [wide], schema.PadOptionsT())
    edit.before(first, [pad])
    edit.read(first, 0, wide)
    if window.pad is not None:
        padded = window.pad.outputs[0]
        edit.reshape(padded, (*edit.main.tensors[padded].shape[:3], _CHANNELS))
