"""How much arena firmware is told to give: what is planned, and room for the interpreter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.tflite.firmware_arena import OFFLINE_PLAN, ROOM, planned_arena
from edgeprune.tflite.format.file import read
from tests.support.tflite_builder import Net


@pytest.mark.parametrize(
    ("plan", "planned"),
    [
        (None, 32 + 48),  # the input and the output meet
        ([0, 1, 3, 0, 0, 4096], 4096 + 48),  # as placed; the scratch lies below the output
        ([0, 1, 3, 0, -1, 16], 16 + 48 + 1600),  # the scratch is left to the loader
        ([0, 1, 2, 0, 0], 32 + 48),  # not a plan of this file
    ],
)
def test_buffers_lie_where_a_compiler_put_them(
    plan: list[int] | None, planned: int, tmp_path: Path
) -> None:
    net = Net()
    x = net.tensor("x", (1, 32), "int8")
    scratch = net.tensor("scratch", (1600,), "int8")
    y = net.tensor("y", (1, 48), "int8")
    net.operator("CUSTOM", [x, scratch], [y], custom_code=b"ethos-u")
    if plan is not None:
        net.metadata(OFFLINE_PLAN, np.array(plan, "<i4").tobytes())
    graph = read(net.save(tmp_path / "net.tflite", [x], [y]))
    assert planned_arena(graph).size == planned + ROOM
