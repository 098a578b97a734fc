"""Costs are found again from counts that were made of them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from edgeprune.core.terms import Numerics
from edgeprune.profiles.operation_costs import FormatCosts, operation_amounts
from edgeprune.targets.arm64_emulated.calibrate_operators import (
    Counted,
    counted,
    solve_operators,
)
from edgeprune.targets.arm64_emulated.operator_probes import operator_probes
from edgeprune.tflite.format.graph import Graph
from tests.support.probe_graphs import graph_of_network

TILE = (6, 8)


def probes(numerics: Numerics) -> list[Graph]:
    return [graph_of_network(net) for net in operator_probes(numerics)]


def imagined_costs(found: list[Counted]) -> FormatCosts:
    """A machine whose every feature costs something."""
    names = {
        name
        for each in found
        for operation in each.operations
        for name in operation_amounts(operation, TILE)
    }
    rng = np.random.default_rng(0)
    costs = {name: float(rng.uniform(0.5, 3)) for name in sorted(names)}
    return FormatCosts(
        numerics="float32", tile=TILE, costs={**costs, "start": 5e4, "read": 1.0}, error=0
    )


def test_the_networks_tell_the_costs_of_a_machine_by_their_counts_alone() -> None:
    known = [counted(graph, 1) for graph in probes("float32")]
    machine = imagined_costs(known)
    counts = [
        Counted(
            each.operations,
            each.read,
            each.written,
            round(machine.of(each.operations) + machine.around(each.read, each.written)),
        )
        for each in known
    ]
    solved = solve_operators(counts, "float32")
    assert solved.tile == TILE
    assert solved.error < 1e-3
    for each in counts:
        made = solved.of(each.operations) + solved.around(each.read, each.written)
        assert made == pytest.approx(each.instructions, rel=0.02)


@cache
def kinds(numerics: Numerics) -> set[str]:
    """The operators of all probes of a number format."""
    graphs = [graph.subgraphs[0] for graph in probes(numerics)]
    return {op.op for graph in graphs for op in graph.operators}


@pytest.mark.parametrize("numerics", ["int8", "dynamic-range", "float16-arithmetic"])
def test_every_number_format_has_the_same_kinds_of_operators(numerics: Numerics) -> None:
    """int8 has what leads to it and from it beside them; XNNPACK moves no pixels in halves."""

    extra = {"int8": {"QUANTIZE", "DEQUANTIZE"}, "float16-arithmetic": {"DEQUANTIZE"}}
    missing = {"float16-arithmetic": {"TRANSPOSE", "REVERSE_V2"}}
    assert kinds(numerics) - kinds("float32") == extra.get(numerics, set())
    assert kinds("float32") - kinds(numerics) == missing.get(numerics, set())
