from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeprune.core.runtime import Runtime
from edgeprune.profiles.encoding import runtimes_of
from edgeprune.profiles.profile import load_profile
from edgeprune.tflite.format.file import Graph, Operator, Subgraph
from edgeprune.tflite.op_versions import op_versions, version_misses


def graph_with(op: str, version: int, *, custom: bool = False) -> Graph:
    operator = Operator(0, op, custom, version, (), (), None)
    subgraph = Subgraph("main", (), (operator,), (), ())
    return Graph(Path("m.tflite"), 0, "", (subgraph,), (), {})


@pytest.mark.parametrize(
    ("op", "version"), [("CONV_2D", 5), ("FULLY_CONNECTED", 9), ("DEQUANTIZE", 3), ("DENSIFY", 1)]
)
def test_versions_that_were_seen_to_load_are_known(op: str, version: int) -> None:
    assert op_versions()["tflite-runtime 2.14.0"][op] >= version


def test_the_dynamic_range_dense_of_new_converters_is_missed_by_the_old_runtime() -> None:
    misses = version_misses(
        graph_with("FULLY_CONNECTED", 12), runtimes_of(load_profile("xnnpack-arm64"))
    )
    assert [str(miss.runtime) for miss in misses] == ["tflite-runtime 2.14.0"]
    assert "FULLY_CONNECTED version 12" in str(misses[0])


def test_an_operator_that_a_runtime_never_had_is_missed() -> None:
    miss = version_misses(graph_with("BUILTIN_999", 1), runtimes_of(load_profile("edge-tpu")))[0]
    assert miss.highest == 0
    assert "not at all" in str(miss)


def test_custom_operators_and_unprobed_runtimes_are_passed_over() -> None:
    runtimes = runtimes_of(load_profile("edge-tpu"))
    assert version_misses(graph_with("MyOp", 99, custom=True), runtimes) == ()
    assert version_misses(graph_with("CONV_2D", 99), [Runtime("tflite-runtime", "9.9")]) == ()


def test_operators_of_every_subgraph_are_looked_at() -> None:
    inner = graph_with("FULLY_CONNECTED", 12).subgraphs[0]
    graph = replace(
        graph_with("CONV_2D", 1), subgraphs=(graph_with("CONV_2D", 1).subgraphs[0], inner)
    )
    assert len(version_misses(graph, runtimes_of(load_profile("xnnpack-arm64")))) == 1
