"""Which scales new values of constants get: those of quantized operators depend on one another.

float operators        fresh scales, where there are scales
quantized operators    the file's own grid, see `grid.kept_grid`
their biases           scale of the input times those of the kernel, whichever it got
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeprune.conversion.int8.layers import DATA_AT
from edgeprune.conversion.lift.floating import in_steps
from edgeprune.conversion.lift.site import quantized
from edgeprune.conversion.lift.write_back.edits import read_by
from edgeprune.conversion.lift.write_back.grid import Grid, bias_grid, kept_grid, least_scale
from edgeprune.conversion.lift.write_back.stored import Stored, store_as, store_on
from edgeprune.conversion.lift.write_back.values import Changes, NewValue
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Operator


def stored_values(draft: Draft, changes: Changes) -> tuple[Changes, Mapping[NewValue, Stored]]:
    """Every new value as the file stores it.

    Returns:
      The changes, in which a constant that several layers read is copied where they need other
      scales for it; and what is stored for each of them.

    Raises:
      TfliteError: as `store_as`.
    """
    biases = {value.layer: value for value in changes if _is_bias(value)}
    made: dict[NewValue, Stored] = {}
    for value in sorted(changes, key=_is_bias):
        made[value] = _stored(draft, changes, value, biases.get(value.layer), made)
    kept = {
        index: tuple(value for value in values if _alike(made[value], made[values[0]]))
        for index, values in changes.in_place.items()
    }
    apart = (
        value
        for index, values in changes.in_place.items()
        for value in values
        if value not in kept[index]
    )
    return Changes(kept, (*changes.copied, *apart)), made


def _is_bias(value: NewValue) -> bool:
    return value.variable == "bias"


def _alike(one: Stored, other: Stored) -> bool:
    return np.array_equal(one.scales, other.scales) and np.array_equal(one.data, other.data)


def _stored(
    draft: Draft,
    changes: Changes,
    value: NewValue,
    bias: NewValue | None,
    made: Mapping[NewValue, Stored],
) -> Stored:
    """The values in the form of the constant, or in that in which its operators read it."""
    alone = value in changes.in_place.get(value.tensor.index, ())
    tensor = value.tensor if alone else read_by(draft, value)
    operator = draft.graph.operators[value.places[0][0]] if value.places else None
    if operator is None or not quantized(tensor):
        return store_as(tensor, value.values)
    if not in_steps(draft.graph.subgraphs[0], operator):
        return store_as(tensor, value.values)
    if _is_bias(value):
        kernel = _kernel_grid(draft, operator, value.layer, made)
        return store_on(bias_grid(tensor, _step(draft, operator), kernel), tensor, value.values)
    floor = 0.0 if bias is None else least_scale(bias.values, _step(draft, operator))
    return store_on(kept_grid(tensor, value.values, floor), tensor, value.values)


def _step(draft: Draft, operator: Operator) -> float:
    """The scale of what an operator multiplies its kernel with."""
    return float(draft.graph.tensors[operator.inputs[DATA_AT.get(operator.op, 0)]].scales[0])


def _kernel_grid(
    draft: Draft, operator: Operator, layer: str, made: Mapping[NewValue, Stored]
) -> Grid:
    """The new grid of a layer's kernel; the file's where it does not change."""
    for value, stored in made.items():
        if value.layer == layer and value.order is not None:
            return Grid(stored.scales, stored.zero_points, value.tensor.quantized_dimension)
    at = next(at for at in (1, 0) if draft.graph.tensors[operator.inputs[at]].scales.size)
    tensor = draft.graph.tensors[operator.inputs[at]]
    return Grid(tensor.scales, tensor.zero_points, tensor.quantized_dimension)
