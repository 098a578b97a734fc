"""The cost of channels on a device, updated as they are removed.

A `Price` says what one operation costs: multiplications, bytes moved and bytes stored, with the
padding of the profile's table `[channel_cost]`, or the instructions of the device's cost table.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.terms import Numerics
from edgeprune.profiles.channel_cost import ChannelCost
from edgeprune.profiles.operation_costs import FormatCosts
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.channels.group import Group
from edgeprune.pruning.channels.operation import Op, operation_at
from edgeprune.pruning.channels.rule import pixels_of
from edgeprune.pruning.channels.trace import Trace, TracedMatrix


def find_ops(trace: Trace, counted: Mapping[str, str]) -> tuple[Op, ...]:
    """The operations of a traced model.

    Args:
      trace: the trace of the model.
      counted: by the path of a layer, the attribute of its kernel that the sparsity is counted
        over.
    """
    seen: set[tuple[str, str]] = set()
    ops = []
    for found in trace.matrices:
        first = (found.path, found.matrix.weight) not in seen
        seen.add((found.path, found.matrix.weight))
        is_counted = first and counted.get(found.path) == found.matrix.weight
        ops.append(_matrix_op(trace, found, is_counted))
    for key, tensors in trace.tensors.items():
        if len(tensors) > 1:
            made = trace.outputs[key][0]
            pixels = pixels_of(made.shape, made.axis)
            together = np.concatenate([tensor.labels for tensor in tensors])
            ops.append(Op(key[0], together, made.labels, pixels, pixels))
    return tuple(ops)


def _matrix_op(trace: Trace, found: TracedMatrix, counted: bool) -> Op:
    matrix = found.matrix
    source = trace.tensors[found.key][0]
    whole_groups = "groups" in trace.sizes.get(found.path, {})
    inputs = matrix.outputs if matrix.inputs is None else matrix.inputs
    fan = 1 if matrix.inputs is None else None
    return Op(
        path=found.path,
        inputs=inputs,
        outputs=matrix.outputs,
        input_pixels=pixels_of(source.shape, source.axis),
        output_pixels=matrix.pixels,
        window=matrix.window,
        fan=len(inputs) // matrix.groups if whole_groups else fan,
        groups=matrix.groups,
        counted=counted,
    )


@dataclass(frozen=True)
class Cost:
    """The cost of an operation or a network."""

    weights: float
    """Number of weights that the sparsity is counted over."""
    macs: float
    """Multiplications of one inference, unpadded."""
    latency: float
    """Cost of one inference in the unit of a `Price`: padded multiplications plus bytes moved in
    equivalent multiplications; or executed instructions."""
    stored: float
    """Bytes of weights, padded."""

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.weights - other.weights,
            self.macs - other.macs,
            self.latency - other.latency,
            self.stored - other.stored,
        )

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.weights + other.weights,
            self.macs + other.macs,
            self.latency + other.latency,
            self.stored + other.stored,
        )


NO_COST = Cost(0, 0, 0, 0)
Price: TypeAlias = Callable[[Op, int, int], Cost]
"""The cost of an operation with so many input and output channels left."""


def padded(count: int, multiple: int) -> int:
    """A number of channels, rounded up to a multiple as the device stores or computes it."""
    return -(-count // multiple) * multiple


def op_cost(op: Op, inputs: int, outputs: int, cost: ChannelCost, value_bytes: int) -> Cost:
    """The cost of an operation.

    Args:
      op: the operation.
      inputs: number of input channels left.
      outputs: number of output channels left.
      cost: the device's constants.
      value_bytes: bytes of a weight or an activation.
    """
    moved = op.input_pixels * inputs + op.output_pixels * outputs
    if not op.window:
        return Cost(0, 0, cost.macs_per_byte * moved * value_bytes, 0)
    fan = op.fan or inputs // op.groups
    weights = op.window * fan * outputs
    positions = op.output_pixels * op.window
    computed = positions * padded(fan, cost.compute_inputs) * cost.computed_outputs(outputs)
    kept = padded(outputs, cost.stored_inputs) if fan == 1 else cost.stored_outputs_of(outputs)
    stored = op.window * padded(fan, cost.stored_inputs) * kept
    return Cost(
        weights=weights if op.counted else 0,
        macs=positions * fan * outputs,
        latency=computed + cost.macs_per_byte * (moved + weights) * value_bytes,
        stored=stored * value_bytes,
    )


VALUE_BYTES: Mapping[Numerics, int] = {
    "float32": 4,
    "float16": 4,
    "float16-arithmetic": 2,
    "dynamic-range": 1,
    "int8": 1,
}
"""Bytes of a weight as the device computes with it."""


def constant_price(profile: DeviceProfile) -> Price:
    """The price of operations by the constants of a device, narrowed to a route."""
    return by_constants(profile.channel_cost, VALUE_BYTES[profile.numerics])


def table_price(profile: DeviceProfile, costs: FormatCosts) -> Price:
    """The price of operations by a cost table of the number format of a device's route."""
    return by_table(costs, profile.channel_cost, VALUE_BYTES[profile.numerics])


def by_constants(cost: ChannelCost, value_bytes: int) -> Price:
    """The price of operations by the constants of a device; arguments as for `op_cost`."""
    return lambda op, inputs, outputs: op_cost(op, inputs, outputs, cost, value_bytes)


def by_table(costs: FormatCosts, cost: ChannelCost, value_bytes: int) -> Price:
    """The price of operations whose latency is in instructions, by a cost table.

    Args:
      costs: what operators cost in the number format of a route.
      cost: the device's constants, for what is stored.
      value_bytes: bytes of a weight or an activation.
    """

    def price(op: Op, inputs: int, outputs: int) -> Cost:
        instructions = costs.of_one(operation_at(op, inputs, outputs))
        return replace(op_cost(op, inputs, outputs, cost, value_bytes), latency=instructions)

    return price


class CostModel:
    """The cost of a network, updated as channels of its groups are removed.

    Args:
      ops: the operations of the network.
      groups: the groups that may lose channels.
      price: what an operation costs.
    """

    def __init__(self, ops: Sequence[Op], groups: Sequence[Group], price: Price) -> None:
        self._ops = ops
        self._price = price
        self._known: dict[tuple[int, int, int], Cost] = {}
        self._left = [(len(op.inputs), len(op.outputs)) for op in ops]
        self._costs = [self._op_cost(index, self._left[index]) for index in range(len(ops))]
        self._touched = _touched(ops, groups)

    def copy(self) -> CostModel:
        """An independent copy of the current state."""
        other = copy.copy(self)
        other._left, other._costs = list(self._left), list(self._costs)
        return other

    @property
    def total(self) -> Cost:
        """The current cost of all operations."""
        return sum(self._costs, NO_COST)

    def saving(self, group: int, count: int) -> Cost:
        """The cost that removing `count` more channels of a group would save."""
        saved = NO_COST
        for index, inputs, outputs in self._touched[group]:
            saved += self._costs[index] - self._op_cost(
                index, self._after(index, inputs, outputs, count)
            )
        return saved

    def remove(self, group: int, count: int) -> None:
        """Removes `count` channels of a group."""
        for index, inputs, outputs in self._touched[group]:
            self._left[index] = self._after(index, inputs, outputs, count)
            self._costs[index] = self._op_cost(index, self._left[index])

    def _after(self, index: int, inputs: int, outputs: int, count: int) -> tuple[int, int]:
        left = self._left[index]
        return left[0] - inputs * count, left[1] - outputs * count

    def _op_cost(self, index: int, left: tuple[int, int]) -> Cost:
        key = (index, *left)
        if key not in self._known:
            self._known[key] = self._price(self._ops[index], *left)
        return self._known[key]


def _touched(ops: Sequence[Op], groups: Sequence[Group]) -> list[list[tuple[int, int, int]]]:
    """For every group its operations: `(index, inputs, outputs)` removed with each channel."""
    owner = {
        label: index for index, group in enumerate(groups) for label in group.channels.tolist()
    }
    found: list[list[tuple[int, int, int]]] = [[] for _ in groups]
    for index, op in enumerate(ops):
        inputs, outputs = (_by_group(labels, owner) for labels in (op.inputs, op.outputs))
        for group in sorted({*inputs, *outputs}):
            size = len(groups[group])
            each = inputs.get(group, 0) // size, outputs.get(group, 0) // size
            found[group].append((index, *each))
    return found


def _by_group(labels: Array, owner: Mapping[int, int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for label in labels.tolist():
        group = owner.get(label)
        if group is not None:
            counts[group] = counts.get(group, 0) + 1
    return counts
