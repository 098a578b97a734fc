"""Mends int8 ONE_HOT operators, whose values TensorFlow's converter quantizes each by itself.

The kernel copies the two values into its output as they are stored, so they must be quantized as
the output is. TensorFlow 2.20 stores 0.0 as 0 beside an output with zero point -128, which reads
as 0.5:

    before   ids --> ONE_HOT (on 127, off 0)    --> [n, depth], scale 1/255, zero point -128
    after    ids --> ONE_HOT (on 127, off -128) --> [n, depth], scale 1/255, zero point -128
"""

from __future__ import annotations

import copy

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Operator, Tensor
from edgeprune.tflite.rewrites.edit import Edit

_ON, _OFF = 2, 3
"""Places of the two values among the inputs of ONE_HOT."""


def requantize_one_hot(draft: Draft) -> Draft:
    """Stores the values of every quantized ONE_HOT as its output is quantized.

    Args:
      draft: a converted file; not used any more if it is changed.

    Returns:
      The same draft if nothing was to be changed, else a new one.
    """
    edit = Edit(draft)
    operators = [operator for operator in edit.main.operators if operator.op == "ONE_HOT"]
    changed = [_requantize(edit, draft, operator) for operator in operators]
    return edit.finish() if any(changed) else draft


def _requantize(edit: Edit, draft: Draft, operator: Operator) -> bool:
    tensors = edit.main.tensors
    output = tensors[operator.outputs[0]]
    if output.scales.size != 1:
        return False
    places = [
        (place, values)
        for place in (_ON, _OFF)
        if (values := _as_output(tensors[operator.inputs[place]], output)) is not None
    ]
    for place, values in places:
        added = edit.constant(f"{output.name}/{'on' if place == _ON else 'off'}", values)
        model = draft.model.subgraphs[0].tensors
        model[added].quantization = copy.copy(model[output.index].quantization)
        edit.read(operator, place, added)
    return bool(places)


def _as_output(value: Tensor, output: Tensor) -> Array | None:
    """A constant in the output's quantization; None if it is there already, or not constant."""
    stored = value.values() if value.constant and value.scales.size == 1 else None
    if stored is None:
        return None
    real = (stored.astype(np.float64) - int(value.zero_points[0])) * float(value.scales[0])
    limits = np.iinfo(stored.dtype)
    wanted = np.round(real / float(output.scales[0])) + int(output.zero_points[0])
    found: Array = np.clip(wanted, limits.min, limits.max).astype(stored.dtype)
    return None if np.array_equal(found, stored) else found
