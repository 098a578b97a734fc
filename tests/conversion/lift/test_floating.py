"""Whether a file computes in quantized values, or only stores some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.floating import computes_in_steps
from edgeprune.tflite.format.file import read
from tests.support.tflite_builder import Net


@pytest.mark.parametrize("floats", [True, False])
def test_rows_of_a_quantized_table_that_become_floats_are_no_computation(
    floats: bool, tmp_path: Path
) -> None:
    net = Net()
    ids = net.tensor("ids", (1, 3), "int32")
    table = net.constant("table", np.ones((9, 4), np.int8), scales=[0.5])
    rows = net.tensor("rows", (1, 3, 4), "int8", scales=[0.5])
    net.operator("GATHER", [table, ids], [rows], options=schema.GatherOptionsT())
    made = net.tensor("made", (1, 3, 4))
    net.operator("DEQUANTIZE", [rows], [made])
    graph = read(net.save(tmp_path / "m.tflite", [ids], [made if floats else rows]))
    assert computes_in_steps(graph) is not floats
