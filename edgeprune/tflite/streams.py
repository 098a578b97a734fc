"""Files that listen to a stream: what they keep of one run for the next ones.

    READ_VARIABLE and x --> CONCATENATION --> y, whose last places --> ASSIGN_VARIABLE

Samples of such a file follow each other, wherever it is run: each finds those before it. In other
files that keep something, what a sample leaves there is nothing that the next one may find.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeprune.tflite.format.graph import Graph, Operator, Subgraph, Tensor

_AXIS = 1
"""Along which places follow each other, behind the batch."""
_DAMAGES = (LookupError, AttributeError, ValueError, TypeError)
"""What shapes and options of a damaged file raise."""
_READ, _WRITE, _NAMED, _ONCE = "READ_VARIABLE", "ASSIGN_VARIABLE", "VAR_HANDLE", "CALL_ONCE"


@dataclass(frozen=True, eq=False)
class Window:
    """Places of earlier runs that a file keeps in a variable."""

    read: int
    """The tensor of the main subgraph in which they are read."""
    written: int
    """The one that is kept for the next run."""
    subgraph: int
    """The subgraph that runs once, before the first run."""
    first: int
    """Its constant with what is there at first, `[1, length, ...]`."""


@dataclass(frozen=True, eq=False)
class Streams:
    """The windows over earlier runs that a file keeps."""

    windows: Mapping[int, Window] = field(default_factory=dict)
    """By the CONCATENATION that adds to a window."""
    aside: frozenset[int] = frozenset()
    """The operators that keep the windows, and compute nothing else."""


def find_streams(graph: Graph) -> Streams:
    """Finds the windows of a file; none where a variable is anything else."""
    main = graph.subgraphs[0]
    reads = [operator for operator in main.operators if operator.op == _READ]
    kept = [operator for operator in main.operators if operator.op in (_READ, _WRITE)]
    try:
        initial = dict(_initial(graph))
        windows = dict(_window(graph, read, initial) for read in reads)
    except (_NoWindowError, *_DAMAGES):
        return Streams()
    if len(kept) != 2 * len(windows) or any(tensor.variable for tensor in main.tensors):
        return Streams()
    return Streams(windows, frozenset(_aside(main)))


def is_fresh(graph: Graph) -> bool:
    """Whether each sample has to find variables as they are at first: all but windows."""
    return graph.keeps_state and not find_streams(graph).windows


def _aside(main: Subgraph) -> Iterator[int]:
    """The operators that read and write variables, and what makes values for that alone."""
    for operator in main.operators:
        readers = [r.op for index in operator.outputs for r, _ in main.readers.get(index, ())]
        kept = bool(readers) and set(readers) == {_WRITE} and not main.ends & {*operator.outputs}
        if kept or operator.op in (_READ, _WRITE, _NAMED, _ONCE):
            yield operator.index


class _NoWindowError(Exception):
    """A variable is something else than a window."""


def _require(holds: bool) -> None:
    if not holds:
        raise _NoWindowError


def _initial(graph: Graph) -> Iterator[tuple[str, tuple[int, int]]]:
    """What the file puts into each variable before the first run: a subgraph, and its constant."""
    for operator in graph.operators:
        if operator.op != _ONCE:
            continue
        index = getattr(operator.options, "initSubgraphIndex", 0)
        _require(0 < index < len(graph.subgraphs))
        once = graph.subgraphs[index]
        for write in once.operators:
            if write.op == _WRITE:
                yield _name(once, write), (index, write.inputs[1])


def _name(subgraph: Subgraph, operator: Operator) -> str:
    """The name of the variable that an operator reads or writes."""
    maker = subgraph.makers.get(operator.inputs[0])
    if maker is None or maker.op != _NAMED or maker.options is None:
        raise _NoWindowError
    return f"{maker.options.container!r} {maker.options.sharedName!r}"


def _window(
    graph: Graph, read: Operator, initial: Mapping[str, tuple[int, int]]
) -> tuple[int, Window]:
    """The operator that adds to a window, and the window."""
    main, name = graph.subgraphs[0], _name(graph.subgraphs[0], read)
    subgraph, first = initial[name]
    stored = graph.subgraphs[subgraph].tensors[first]
    (join,) = [reader for reader, _ in main.readers[read.outputs[0]]]
    _require(join.op == "CONCATENATION" and len(join.inputs) == 2)
    _require(join.inputs[:1] == read.outputs and join.options.axis == _AXIS)
    _require(not join.options.fusedActivationFunction)
    around = [main.tensors[index] for index in (*join.inputs, *join.outputs)]
    _require(all(_alike(stored, tensor) for tensor in around))
    _require(stored.values() is not None)
    _require(stored.shape == around[0].shape and stored.shape[0] == 1)
    (write,) = [each for each in main.operators if each.op == _WRITE and _name(main, each) == name]
    _require(write.index > read.index)
    _require(_is_end_of(main, write.inputs[1], join, stored.shape[_AXIS]))
    return join.index, Window(read.outputs[0], write.inputs[1], subgraph, first)


def _alike(first: Tensor, second: Tensor) -> bool:
    """Whether numbers stand for the same in both tensors."""
    return (
        first.dtype == second.dtype
        and np.array_equal(first.scales, second.scales)
        and np.array_equal(first.zero_points, second.zero_points)
    )


def _is_end_of(main: Subgraph, index: int, join: Operator, length: int) -> bool:
    """Whether a tensor is the last `length` places of what an operator joins."""
    cut = main.makers.get(index)
    if cut is None or cut.op != "STRIDED_SLICE" or cut.inputs[0] != join.outputs[0]:
        return False
    options, whole = cut.options, main.tensors[join.outputs[0]].shape
    given = [main.tensors[at].values() for at in cut.inputs[1:]]
    if len(given) != 3 or any(values is None for values in given):
        return False
    numbers = [np.asarray(values).reshape(-1).tolist() for values in given]
    odd = options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask
    if odd or {len(each) for each in numbers} != {len(whole)}:
        return False
    begins, ends = (
        [None if mask >> axis & 1 else value for axis, value in enumerate(values)]
        for mask, values in zip((options.beginMask, options.endMask), numbers, strict=False)
    )
    taken = [
        range(size)[slice(*at)] for size, *at in zip(whole, begins, ends, numbers[2], strict=True)
    ]
    wanted = [range(size) for size in whole]
    wanted[_AXIS] = wanted[_AXIS][-length:]
    return taken == wanted
