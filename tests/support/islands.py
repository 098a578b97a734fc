"""Files with operators that cannot be lifted, between others that can; straight from the schema."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.lift_cases import ints, values
from tests.support.tflite_builder import Net


def pointwise(net: Net, x: int, name: str, outputs: int, *, activation: int = 0) -> int:
    """A 1x1 CONV_2D of random weights on a map."""
    shape = net.graph.tensors[x].shape.tolist()
    made = net.tensor(name, (*shape[:-1], outputs))
    kernel = net.constant(f"{name}/kernel", values(outputs, 1, 1, shape[-1], seed=outputs))
    bias = net.constant(f"{name}/bias", values(outputs, seed=outputs + 1))
    options = schema.Conv2DOptionsT(
        padding=1, strideH=1, strideW=1, fusedActivationFunction=activation
    )
    options.dilationHFactor = options.dilationWFactor = 1
    net.operator("CONV_2D", [x, kernel, bias], [made], 1, options)
    return made


LENGTHS = (4, 3, 2, 1)
"""How many pixels of each row `turned` takes."""


def turned(net: Net, x: int, name: str) -> int:
    """REVERSE_SEQUENCE of the first pixels of each row, for which Keras has no counterpart."""
    made = net.tensor(name, net.graph.tensors[x].shape.tolist())
    options = schema.ReverseSequenceOptionsT(seqDim=2, batchDim=1)
    lengths = net.constant(f"{name}/lengths", ints(*LENGTHS))
    net.operator("REVERSE_SEQUENCE", [x, lengths], [made], 1, options)
    return made


def mean_of(net: Net, x: int, name: str) -> int:
    """The mean over the pixels of a map."""
    made = net.tensor(name, (1, int(net.graph.tensors[x].shape[-1])))
    options = schema.ReducerOptionsT()
    net.operator("MEAN", [x, net.constant(f"{name}/axes", ints(1, 2))], [made], 1, options)
    return made


def two_parts(path: Path, *, channels: int = 16) -> Path:
    """Two convolutions, an island, two convolutions, the mean over pixels."""
    net = Net()
    x = net.tensor("x", (1, 4, 4, 3))
    before = pointwise(net, pointwise(net, x, "first", channels), "second", channels)
    between = turned(net, before, "between")
    after = pointwise(net, pointwise(net, between, "third", channels), "fourth", 5)
    return net.save(path, [x], [mean_of(net, after, "scores")])


def all_outside(path: Path) -> Path:
    """An island, and no weights beside it."""
    net = Net()
    x = net.tensor("x", (1, 4, 4, 3))
    return net.save(path, [x], [mean_of(net, turned(net, x, "alone"), "scores")])


def remembering(path: Path) -> Path:
    """Adds what the sample before left in a variable, and leaves its own; then a convolution."""
    net = Net()
    x = net.tensor("x", (1, 2, 2, 4))
    handle = net.tensor("handle", (), "resource")
    state = net.tensor("state", (1, 2, 2, 4))
    total = net.tensor("total", (1, 2, 2, 4))
    net.operator("CALL_ONCE", [], [], 1, schema.CallOnceOptionsT(initSubgraphIndex=1))
    net.operator("VAR_HANDLE", [], [handle], 1, schema.VarHandleOptionsT(b"", b"memory"))
    net.operator("READ_VARIABLE", [handle], [state], 1, schema.ReadVariableOptionsT())
    first = pointwise(net, x, "first", 4)
    net.operator("ADD", [first, state], [total], 1, schema.AddOptionsT())
    net.operator("ASSIGN_VARIABLE", [handle, total], [], 1, schema.AssignVariableOptionsT())
    made = pointwise(net, pointwise(net, total, "second", 8), "third", 2)
    _with_start(net, np.full((1, 2, 2, 4), 0.5, np.float32))
    return net.save(path, [x], [made])


def _with_start(net: Net, start: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    """A subgraph that gives the variable the value it has at first."""
    main, net.graph = net.graph, schema.SubGraphT(tensors=[], operators=[], name=b"start")
    handle = net.tensor("handle", (), "resource")
    net.operator("VAR_HANDLE", [], [handle], 1, schema.VarHandleOptionsT(b"", b"memory"))
    given = net.constant("start", start)
    net.operator("ASSIGN_VARIABLE", [handle, given], [], 1, schema.AssignVariableOptionsT())
    net.graph.inputs = net.graph.outputs = ints()
    net.model.subgraphs.append(net.graph)
    net.graph = main


def branching(path: Path) -> Path:
    """A convolution, then IF its mean is positive x + x, else x * x; then a convolution."""
    net = Net()
    x = net.tensor("x", (1, 2, 2, 4))
    first = pointwise(net, x, "first", 4)
    level = net.tensor("level", ())
    axes = net.constant("axes", ints(0, 1, 2, 3))
    net.operator("MEAN", [first, axes], [level], 1, schema.ReducerOptionsT())
    positive = net.tensor("positive", (), "bool")
    zero = net.constant("zero", np.array(0, np.float32))
    net.operator("GREATER", [level, zero], [positive], 1, schema.GreaterOptionsT())
    chosen = net.tensor("chosen", (1, 2, 2, 4))
    options = schema.IfOptionsT(thenSubgraphIndex=1, elseSubgraphIndex=2)
    net.operator("IF", [positive, first], [chosen], 1, options)
    made = pointwise(net, chosen, "last", 3)
    for op in ("ADD", "MUL"):
        _branch(net, op)
    return net.save(path, [x], [made])


def looping(path: Path, *, op: str, below: float) -> Path:
    """A convolution, then op(x, x) or op(x) while the mean of x is below a number; then another.

    MINIMUM gives x again, so that it never ends; LOG ends with NaN.
    """
    net = Net()
    x, looped = net.tensor("x", (1, 2, 2, 4)), net.tensor("looped", (1, 2, 2, 4))
    options = schema.WhileOptionsT(condSubgraphIndex=1, bodySubgraphIndex=2)
    net.operator("WHILE", [pointwise(net, x, "first", 4)], [looped], 1, options)
    made = pointwise(net, pointwise(net, looped, "second", 16), "third", 3)
    _condition(net, below)
    _branch(net, op)
    return net.save(path, [x], [made])


def _condition(net: Net, below: float) -> None:
    main, net.graph = net.graph, schema.SubGraphT(tensors=[], operators=[], name=b"condition")
    given, level = net.tensor("given", (1, 2, 2, 4)), net.tensor("level", ())
    lower = net.tensor("lower", (), "bool")
    limit = net.constant("limit", np.array(below, np.float32))
    axes = net.constant("axes", ints(0, 1, 2, 3))
    net.operator("MEAN", [given, axes], [level], 1, schema.ReducerOptionsT())
    net.operator("LESS", [level, limit], [lower], 1, schema.LessOptionsT())
    net.graph.inputs, net.graph.outputs = ints(given), ints(lower)
    net.model.subgraphs.append(net.graph)
    net.graph = main


def _branch(net: Net, op: str) -> None:
    main, net.graph = net.graph, schema.SubGraphT(tensors=[], operators=[], name=op.encode())
    given, made = net.tensor("given", (1, 2, 2, 4)), net.tensor("made", (1, 2, 2, 4))
    kinds = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT}
    options = kinds.get(op, schema.MaximumMinimumOptionsT)() if op != "LOG" else None
    net.operator(op, [given] if op == "LOG" else [given, given], [made], 1, options)
    net.graph.inputs, net.graph.outputs = ints(given), ints(made)
    net.model.subgraphs.append(net.graph)
    net.graph = main
