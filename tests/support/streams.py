"""Files that keep places of one run for the next in a variable, straight from the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.lift_cases import Array, ints, values
from tests.support.tflite_builder import Net

LENGTH, NEW, CHANNELS = 3, 2, 4
STEP: dict[str, Any] = {"scales": [0.05], "zero_point": -7}


def named(net: Net) -> int:
    """The variable, as a subgraph refers to it."""
    handle = net.tensor("handle", (), "resource")
    options = schema.VarHandleOptionsT(container=b"", sharedName=b"kept")
    net.operator("VAR_HANDLE", [], [handle], 1, options)
    return handle


def first_values(net: Net, start: Array, **quantization: Any) -> None:
    """A second subgraph, which puts values into the variable."""
    main, net.graph = net.graph, schema.SubGraphT(tensors=[], operators=[], name=b"once")
    net.model.subgraphs.append(net.graph)
    net.graph.inputs = net.graph.outputs = ints()
    constant = net.constant("start", start, **quantization)
    net.operator("ASSIGN_VARIABLE", [named(net), constant], [], 1, schema.AssignVariableOptionsT())
    net.graph = main


def real_stream(path: Path) -> Path:
    """float32 `[1, 2, 3]`, mixed to four channels, behind the three places before, to `[1, 2]`."""
    net = Net()
    x, new = net.tensor("x", (1, NEW, 3)), net.tensor("new", (1, NEW, CHANNELS))
    read, end = (net.tensor(name, (1, LENGTH, CHANNELS)) for name in ("read", "end"))
    row, y = net.tensor("row", (1, LENGTH + NEW, CHANNELS)), net.tensor("y", (1, 2))
    net.operator("CALL_ONCE", [], [], 1, schema.CallOnceOptionsT(initSubgraphIndex=1))
    first_values(net, values(1, LENGTH, CHANNELS))
    handle = named(net)
    net.operator("READ_VARIABLE", [handle], [read], 1, schema.ReadVariableOptionsT())
    first, last = values(CHANNELS, 3), values(2, (LENGTH + NEW) * CHANNELS)
    options = schema.FullyConnectedOptionsT(keepNumDims=True)
    net.operator("FULLY_CONNECTED", [x, net.constant("w1", first), -1], [new], 5, options)
    join_and_keep(net, (read, new, row, end), handle)
    options = schema.FullyConnectedOptionsT()
    net.operator("FULLY_CONNECTED", [row, net.constant("w2", last), -1], [y], 1, options)
    return net.save(path, [x], [y])


def join_and_keep(
    net: Net, tensors: tuple[int, int, int, int], handle: int, begin: int = NEW, writes: int = 1
) -> None:
    """Puts what is new behind what was read, and keeps the last places."""
    read, new, row, end = tensors
    net.operator("CONCATENATION", [read, new], [row], 1, schema.ConcatenationOptionsT(axis=1))
    places = [(0, begin, 0), (1, begin + LENGTH, CHANNELS), (1, 1, 1)]
    cut = [net.constant(f"cut{at}", ints(*numbers)) for at, numbers in enumerate(places)]
    net.operator("STRIDED_SLICE", [row, *cut], [end], 1, schema.StridedSliceOptionsT())
    for _ in range(writes):
        net.operator("ASSIGN_VARIABLE", [handle, end], [], 1, schema.AssignVariableOptionsT())


def stream(
    path: Path, *, begin: int = NEW, kept: Any = STEP, writes: int = 1, starts: bool = True
) -> Path:
    """int8 `[1, 2, 4]`, behind the three places before, through a matrix to `[1, 2]`.

    Args:
      path: of the file.
      begin: where what is kept for the next run begins.
      kept: the quantization of what was kept.
      writes: how often it is kept.
      starts: whether anything is kept before the first run.
    """
    net = Net()
    x = net.tensor("x", (1, NEW, CHANNELS), "int8", **STEP)
    read = net.tensor("read", (1, LENGTH, CHANNELS), "int8", **kept)
    row = net.tensor("row", (1, LENGTH + NEW, CHANNELS), "int8", **STEP)
    end = net.tensor("end", (1, LENGTH, CHANNELS), "int8", **STEP)
    y = net.tensor("y", (1, 2), "int8", scales=[0.3])
    if starts:
        net.operator("CALL_ONCE", [], [], 1, schema.CallOnceOptionsT(initSubgraphIndex=1))
        start = np.arange(LENGTH * CHANNELS, dtype=np.int8).reshape(1, LENGTH, CHANNELS)
        first_values(net, start, **STEP)
    handle = named(net)
    net.operator("READ_VARIABLE", [handle], [read], 1, schema.ReadVariableOptionsT())
    join_and_keep(net, (read, x, row, end), handle, begin, writes)
    matrix = np.rint(values(2, (LENGTH + NEW) * CHANNELS) * 40).astype(np.int8)
    weights = net.constant("w", matrix, scales=[0.02])
    net.operator("FULLY_CONNECTED", [row, weights, -1], [y], 1, schema.FullyConnectedOptionsT())
    return net.save(path, [x], [y])
