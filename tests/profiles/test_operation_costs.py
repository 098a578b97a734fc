"""Operators in numbers, and what a table makes of them, beside slow oracles."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.profiles.operation_costs import COPY, FormatCosts, operation_amounts
from edgeprune.profiles.operations import (
    PAD_OF_CONVOLUTION,
    SWISH,
    Operation,
    operations_by_index,
    operations_of,
)
from edgeprune.targets.arm64_emulated.probe_network import ProbeNetwork
from edgeprune.tflite.format.graph import Subgraph
from tests.support.probe_graphs import graph_of_network


def main_graph(net: ProbeNetwork) -> Subgraph:
    return graph_of_network(net).subgraphs[0]


def operations(net: ProbeNetwork) -> list[Operation]:
    graph = main_graph(net)
    return operations_of(graph.tensors, graph.operators)


def table(tile: tuple[int, int] = (4, 8), **costs: float) -> FormatCosts:
    named = {name.replace("__", "/").replace("_OF_", "-of-"): cost for name, cost in costs.items()}
    return FormatCosts(numerics="float32", tile=tile, costs=named, error=0)


@given(
    size=st.integers(1, 9),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    same=st.booleans(),
)
def test_taps_are_the_places_of_a_kernel_on_the_map(
    size: int, kernel: int, stride: int, same: bool
) -> None:
    """The oracle walks over outputs and kernel places."""
    if not same and size < kernel:
        return
    net = ProbeNetwork((1, size, size, 3), "float32")
    net.convolve(net.random(4, kernel, kernel, 3), stride, same=same)
    (found,) = operations(net)
    side = net.shape[1]
    padded = max(0, (side - 1) * stride + kernel - size) // 2 if same else 0
    inside = sum(
        0 <= y * stride - padded + v < size and 0 <= x * stride - padded + u < size
        for y in range(side)
        for x in range(side)
        for v in range(kernel)
        for u in range(kernel)
    )
    assert found.taps == inside
    assert (found.positions, found.channels, found.kernel_inputs) == (side * side, 4, 3)


@given(
    positions=st.integers(2, 40),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    rows=st.integers(1, 8),
    columns=st.integers(1, 16),
)
def test_a_matrix_is_multiplied_in_whole_tiles_and_a_rest(
    positions: int, inputs: int, outputs: int, rows: int, columns: int
) -> None:
    """The oracle walks over the tiles."""
    operation = Operation(
        "CONV_2D", positions, outputs, positions, inputs, kernel_inputs=inputs, taps=positions
    )
    wanted: Counter[str] = Counter()
    for first in range(0, positions, rows):
        left = min(rows, positions - first)
        for _ in range(0, outputs, columns):
            if left == rows:
                wanted["products"] += rows * columns * inputs
                wanted["tiles"] += 1
            else:
                wanted["rest-products"] += left * columns * inputs
                wanted["rest-passes"] += columns * inputs
                wanted["rest-tiles"] += 1
    found = operation_amounts(operation, (rows, columns))
    names = ("products", "tiles", "rest-products", "rest-passes", "rest-tiles")
    assert {name: found.get(f"matrix/{name}", 0) for name in names} == {
        name: wanted[name] for name in names
    }
    assert found["matrix/outputs"] == positions * outputs


def test_one_position_is_a_vector_in_whole_columns() -> None:
    operation = Operation("FULLY_CONNECTED", 1, 10, 1, 6, kernel_inputs=6)
    assert operation_amounts(operation, (4, 8)) == {
        "vector/operators": 1,
        "vector/products": 16 * 6,
        "vector/outputs": 16,
        "vector/inputs": 6,
    }


def test_costs_are_sums_worked_by_hand() -> None:
    costs = table(
        matrix__products=0.5, matrix__operators=100, matrix__outputs=1, start=1000, read=2
    )
    operation = Operation("CONV_2D", 8, 8, 8, 3, kernel_inputs=3, taps=8)
    assert costs.of_one(operation) == 0.5 * 8 * 8 * 3 + 100 + 64
    assert costs.around(read=24, written=64) == 1000 + 48


def test_an_operator_that_was_not_measured_is_taken_for_a_copy() -> None:
    costs = table(PAD__operators=7, PAD__elements=2)
    odd = Operation("GATHER_ND", 4, 5, 4, 5)
    assert not costs.knows(odd)
    assert costs.of_one(odd) == 7 + 2 * 20
    assert costs.knows(Operation(COPY, 4, 5, 4, 5))


def test_a_second_operand_for_each_channel_has_costs_of_its_own_where_they_are_known() -> None:
    whole = Operation("MUL", 6, 5, 6, 5)
    spread = Operation("MUL", 6, 5, 6, 5, per_channel=True)
    costs = table(MUL__operators=0, MUL__elements=1)
    assert costs.of_one(spread) == costs.of_one(whole) == 30
    named = {**costs.costs, "MUL-per-channel/operators": 0.0, "MUL-per-channel/positions": 10.0}
    assert costs.model_copy(update={"costs": named}).of_one(spread) == 60


@pytest.mark.parametrize("numerics", ["float32", "float16-arithmetic", "dynamic-range", "int8"])
def test_operators_are_the_same_in_every_number_format(numerics: str) -> None:
    """Constants that a float16 file restores cost nothing when it runs."""
    nets = []
    for each in ("float32", numerics):
        net = ProbeNetwork((1, 8, 8, 3), each)  # type: ignore[arg-type]
        net.pad(1)
        net.convolve(net.random(16, 3, 3, 3), 2)
        net.convolve(net.random(1, 3, 3, 16), 1, same=True)
        net.average()
        net.connect(10)
        nets.append(operations(net))
    assert nets[0] == nets[1]
    assert [each.op for each in nets[0]] == [
        PAD_OF_CONVOLUTION,
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
    ]


def test_a_swish_is_known_by_its_operands() -> None:
    """The product of a tensor and its own sigmoid, not of another one."""
    net = ProbeNetwork((1, 4, 4, 8), "float32")
    value = net.current
    net.append("LOGISTIC")
    gate = net.current
    net.append("MUL", others=[value])
    net.append("MUL", others=[gate])
    graph = main_graph(net)
    found = operations_by_index(graph.tensors, graph.operators)
    assert [each.op for each in found.values()] == ["LOGISTIC", SWISH, "MUL"]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 8))
def test_elements_are_positions_times_channels(sides: list[int], channels: int) -> None:
    net = ProbeNetwork((1, *sides, channels), "float32")
    net.append("LOGISTIC")
    (found,) = operations(net)
    assert found.elements == found.input_elements == math.prod(sides) * channels
