"""Files that listen to a stream: what they keep of one run for the next ones.

    file     READ_VARIABLE and x --> CONCATENATION --> y, whose last places --> ASSIGN_VARIABLE
    Keras    x --> Past --> y

Samples that run one behind the other, as targets run them, are a batch in Keras: each sample finds
those before it there. Other uses of variables have no counterpart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeprune.conversion.lift.layers import Past
from edgeprune.conversion.lift.operators.slicing import strided_keys
from edgeprune.conversion.lift.site import BlockedError, KerasTensor, Site, restored
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.graph import Graph, Operator, Subgraph, Tensor

_AXIS = 1
"""Along which places follow each other, behind the batch."""
_DAMAGES = (BlockedError, LookupError, AttributeError, ValueError, TypeError)
"""What shapes and options of a damaged file raise."""
_READ, _WRITE, _NAMED, _ONCE = "READ_VARIABLE", "ASSIGN_VARIABLE", "VAR_HANDLE", "CALL_ONCE"


@dataclass(frozen=True, eq=False)
class Streams:
    """The windows over earlier runs that a file keeps."""

    starts: Mapping[int, Array] = field(default_factory=dict)
    """By the CONCATENATION that adds to a window: what is in it at first, `[length, ...]`."""
    aside: frozenset[int] = frozenset()
    """The operators that keep the windows, which Keras does not need."""


def find_streams(graph: Graph) -> Streams:
    """Finds the windows of a file; none where a variable is anything else."""
    main = graph.subgraphs[0]
    reads = [operator for operator in main.operators if operator.op == _READ]
    kept = [operator for operator in main.operators if operator.op in (_READ, _WRITE)]
    try:
        initial = dict(_initial(graph))
        starts = dict(_window(main, read, initial) for read in reads)
    except (_NoWindowError, *_DAMAGES):
        return Streams()
    if len(kept) != 2 * len(starts):
        return Streams()
    aside = (each.index for each in main.operators if each.op in (_READ, _WRITE, _NAMED, _ONCE))
    return Streams(starts, frozenset(aside))


class _NoWindowError(Exception):
    """A variable is something else than a window."""


def _require(holds: bool) -> None:
    if not holds:
        raise _NoWindowError


def _initial(graph: Graph) -> Iterator[tuple[str, tuple[Tensor, Array]]]:
    """What the file puts into each variable before the first run."""
    for operator in graph.operators:
        if operator.op != _ONCE:
            continue
        index = getattr(operator.options, "initSubgraphIndex", 0)
        _require(0 < index < len(graph.subgraphs))
        once = graph.subgraphs[index]
        for write in once.operators:
            if write.op == _WRITE:
                values = restored(once, write.inputs[1])
                _require(values is not None)
                yield _name(once, write), (once.tensors[write.inputs[1]], np.asarray(values))


def _name(subgraph: Subgraph, operator: Operator) -> str:
    """The name of the variable that an operator reads or writes."""
    maker = subgraph.makers.get(operator.inputs[0])
    if maker is None or maker.op != _NAMED or maker.options is None:
        raise _NoWindowError
    return f"{maker.options.container!r} {maker.options.sharedName!r}"


def _window(
    main: Subgraph, read: Operator, initial: Mapping[str, tuple[Tensor, Array]]
) -> tuple[int, Array]:
    """The operator that adds to a window, and what is in it at first."""
    name = _name(main, read)
    stored, start = initial.get(name, (None, None))
    readers = [reader for reader, _ in main.readers.get(read.outputs[0], ())]
    _require(stored is not None and len(readers) == 1 and readers[0].op == "CONCATENATION")
    join = readers[0]
    _require(join.inputs[:1] == read.outputs and len(join.inputs) == 2)
    _require(join.options.axis == _AXIS and not join.options.fusedActivationFunction)
    around = [main.tensors[index] for index in (*join.inputs, *join.outputs)]
    _require(all(_alike(stored, tensor) for tensor in around))
    _require(start is not None and start.shape == around[0].shape and start.shape[:1] == (1,))
    writes = [each for each in main.operators if each.op == _WRITE and _name(main, each) == name]
    _require(len(writes) == 1 and writes[0].index > read.index)
    _require(_is_end_of(main, writes[0].inputs[1], join, around[0].shape[_AXIS]))
    return join.index, np.asarray(start)[0]


def _alike(first: Tensor | None, second: Tensor) -> bool:
    """Whether numbers stand for the same in both tensors."""
    return (
        first is not None
        and first.dtype == second.dtype
        and np.array_equal(first.scales, second.scales)
        and np.array_equal(first.zero_points, second.zero_points)
    )


def _is_end_of(main: Subgraph, index: int, join: Operator, length: int) -> bool:
    """Whether a tensor is the last `length` places of what an operator joins."""
    cut = main.makers.get(index)
    if cut is None or cut.op != "STRIDED_SLICE" or cut.inputs[0] != join.outputs[0]:
        return False
    whole = main.tensors[join.outputs[0]].shape
    given = [main.tensors[at].values() for at in cut.inputs[1:]]
    if len(given) != 3 or any(values is None for values in given):
        return False
    numbers = [[int(value) for value in np.asarray(values).reshape(-1)] for values in given]
    keys, shape = strided_keys(cut.options, whole, numbers)
    taken = [range(size)[key] for size, key in zip(whole, keys, strict=True)]
    wanted = [range(size) for size in whole]
    wanted[_AXIS] = wanted[_AXIS][-length:]
    return taken == wanted and len(shape) == len(whole)


def with_past(site: Site, start: Array) -> KerasTensor:
    """A CONCATENATION of a window and what is new, in Keras.

    Raises:
      BlockedError: samples are no batch, or its second input is no value of theirs.
    """
    if site.whole or not site.is_live(1):
        raise BlockedError("it keeps values of earlier samples, which are no batch here")
    layer = Past(start.shape, name=site.name)
    made: Any = site.apply(layer, site.tensor(1))
    site.building.values.append((layer, [start]))
    return made
