"""Follows XNNPACK's pass that moves parts of a network to the NCHW layout.

The pass joins neighbouring nodes to clusters, drops clusters with a node that cannot join or with
too few zeros, and marks the values that the nodes of the others *read* as NCHW. It never checks
what the last node of a cluster writes: that is where a network that fits only partly goes wrong,
and why the pass is followed step by step here, and its layouts are checked afterwards.

Source: `xnn_subgraph_rewrite_for_nchw` in src/subgraph.c, google/XNNPACK b9d4073a6 and 37e59cdb3,
equal in both except for FULLY_CONNECTED nodes, whose weights the later one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgeprune.tflite.format.graph import Subgraph, Tensor
from edgeprune.tflite.gate.compatibility import ClusterFit
from edgeprune.tflite.gate.node import Node, constant, consumers, is_constant
from edgeprune.tflite.gate.rules import XnnpackRules


@dataclass(frozen=True)
class Layouts:
    """Where the pass ends.

    `nchw` are the tensors in NCHW. `leaders` has the cluster of each node, by the position of its
    leading node; `dropped` are the leaders of clusters that stay in NHWC, with the position of the
    node that broke them. `zeros` and `parameters` are counted per leader over the 1x1 convolutions.
    `ended` says whether anything ends a cluster, without which the pass does nothing.
    """

    nchw: frozenset[int]
    leaders: tuple[int, ...]
    dropped: dict[int, int]
    zeros: dict[int, int]
    parameters: dict[int, int]
    ended: bool


@dataclass
class _Pass:
    """The state of the pass while it runs; node positions are indices of `nodes`."""

    main: Subgraph
    nodes: Sequence[Node]
    fits: Sequence[ClusterFit]
    ends: list[bool]
    leader: list[int]
    broken: list[int | None]
    makers: dict[int, int]
    outside: frozenset[int]
    zeros: dict[int, int] = field(default_factory=dict)
    parameters: dict[int, int] = field(default_factory=dict)
    asleep: set[int] = field(default_factory=set)

    def joined(self, position: int) -> bool:
        """Whether the pass looks at the inputs of a node."""
        fits = self.fits[position].inside or self.ends[position]
        return fits and position not in self.asleep

    def values(self, position: int) -> Iterator[int]:
        """The values that a node reads and that are computed at run time."""
        for index in self.nodes[position].inputs:
            if not is_constant(self.main, index):
                yield index

    def alive(self, position: int) -> bool:
        """Whether a node's cluster has not been dropped."""
        return self.broken[self.leader[position]] is None

    def join(self, position: int) -> bool:
        """Joins a node with those that make its inputs; says whether a leader has changed."""
        changed = False
        for index in self.values(position):
            maker = self.makers.get(index)
            if index in self.outside or maker is None:
                self.broken[position] = position
                continue
            fit = self.fits[maker]
            if not (fit.inside or fit.begins) or self.broken[maker] is not None:
                deeper = self.broken[maker]
                self.broken[position] = maker if deeper is None else deeper
                continue
            self.ends[maker] = False
            if self.leader[maker] != self.leader[position]:
                self.leader[maker] = self.leader[position] = max(
                    self.leader[maker], self.leader[position]
                )
                changed = True
        return changed


def find_layouts(
    main: Subgraph,
    nodes: Sequence[Node],
    fits: Sequence[ClusterFit],
    rules: XnnpackRules,
    *,
    assume_pruned: bool = False,
) -> Layouts:
    """Follows the pass over the nodes of a network for which sparse inference was asked.

    With `assume_pruned`, as if every cluster had enough zeros.
    """
    state = _Pass(
        main=main,
        nodes=nodes,
        fits=fits,
        ends=[fit.ends for fit in fits],
        leader=list(range(len(nodes))),
        broken=[None] * len(nodes),
        makers={node.output: position for position, node in enumerate(nodes)},
        outside=frozenset(main.inputs + main.outputs)
        | {tensor.index for tensor in main.tensors if tensor.variable},
    )
    part = _partitions(main, nodes, rules)
    started = {part[p] for p in range(len(nodes)) if state.ends[p] and state.join(p)}
    for position, number in enumerate(part):
        if number not in started:
            state.asleep.add(position)
    if started:
        _join_all(state)
    _drop_broken(state)
    _drop_shared(state, consumers(main, nodes, repeats=rules.repeats_count))
    _count_zeros(state, rules)
    return Layouts(
        nchw=frozenset(_nchw(state, assume_pruned=assume_pruned)),
        leaders=tuple(state.leader),
        dropped={p: b for p, b in enumerate(state.broken) if b is not None},
        zeros=state.zeros,
        parameters=state.parameters,
        ended=bool(started),
    )


def _join_all(state: _Pass) -> None:
    """Joins nodes until nothing changes.

    The pass goes over all nodes again and again, and hands a leader one node further each time.
    Which nodes are broken is known after the first time, since makers come before their readers;
    what is left is that all nodes that hang together get the largest of their leaders.
    """
    for position in range(len(state.nodes)):
        if state.broken[position] is None and state.joined(position):
            state.join(position)
    group = list(range(len(state.nodes)))
    for position in range(len(state.nodes)):
        if state.broken[position] is None and state.joined(position):
            for index in state.values(position):
                _unite(group, position, state.makers[index])
    largest: dict[int, int] = {}
    roots = [_root(group, position) for position in range(len(group))]
    for position, root in enumerate(roots):
        largest[root] = max(largest.get(root, 0), state.leader[position])
    state.leader[:] = [largest[root] for root in roots]


def _root(group: list[int], position: int) -> int:
    while group[position] != position:
        group[position] = group[group[position]]
        position = group[position]
    return position


def _unite(group: list[int], first: int, second: int) -> None:
    group[_root(group, first)] = _root(group, second)


def _partitions(main: Subgraph, nodes: Sequence[Node], rules: XnnpackRules) -> list[int]:
    """Numbers the parts that TFLite cuts a network into at the operators it runs itself.

    The pass is run on each part, and returns at once from one in which nothing ends a cluster. Each
    part takes all nodes of one kind, ours or TFLite's, that can run before any of the other.

    Source: `PartitionGraphIntoIndependentNodeSubsets` in tflite/graph_info.cc.
    """
    theirs = [node.op in rules.left_to_tflite for node in nodes]
    computed = {node.output for node in nodes} - {t.index for t in main.tensors if t.variable}
    waits = [computed.intersection(node.inputs) for node in nodes]
    readers: dict[int, list[int]] = {}
    for position, needed in enumerate(waits):
        for index in needed:
            readers.setdefault(index, []).append(position)
    missing = [len(needed) for needed in waits]
    ready: dict[bool, list[int]] = {True: [], False: []}
    for position in reversed(range(len(nodes))):
        if not missing[position]:
            ready[theirs[position]].append(position)
    part = [-1] * len(nodes)
    number = -1
    kind = bool(theirs) and not theirs[0]
    while any(ready.values()):
        number, kind = number + 1, not kind
        while ready[kind]:
            position = ready[kind].pop()
            part[position] = number
            for reader in readers.get(nodes[position].output, ()):
                missing[reader] -= 1
                if not missing[reader]:
                    ready[theirs[reader]].append(reader)
    return part


def _drop_broken(state: _Pass) -> None:
    for position, leader in enumerate(state.leader):
        if state.broken[position] is not None and state.broken[leader] is None:
            state.broken[leader] = state.broken[position]


def _drop_shared(state: _Pass, uses: Mapping[int, int]) -> None:
    """Drops clusters that read a value which a node outside reads as well."""
    fitting: dict[int, int] = {}
    for position in range(len(state.nodes)):
        if state.alive(position) and state.joined(position):
            for index in state.values(position):
                fitting[index] = fitting.get(index, 0) + 1
    strangers = _strangers(state)
    for position in range(len(state.nodes)):
        if state.alive(position) and state.joined(position):
            for index in state.values(position):
                if fitting[index] != uses[index]:
                    stranger = strangers.get(index, state.makers[index])
                    state.broken[state.leader[position]] = stranger


def _strangers(state: _Pass) -> dict[int, int]:
    """The first node outside every cluster that reads a value, by the value."""
    found: dict[int, int] = {}
    for position, node in enumerate(state.nodes):
        if not state.joined(position):
            for index in node.inputs:
                found.setdefault(index, position)
    return found


def _count_zeros(state: _Pass, rules: XnnpackRules) -> None:
    known: dict[int, tuple[int, int]] = {}
    for position, node in enumerate(state.nodes):
        if not state.alive(position):
            continue
        weights = constant(state.main, node.inputs[1]) if len(node.inputs) > 1 else None
        pointwise = node.op == "CONV_2D" and weights is not None and weights.shape[1:3] == (1, 1)
        if weights is None or not (
            pointwise or (rules.fully_connected and node.op == "FULLY_CONNECTED")
        ):
            continue
        if weights.index not in known:
            known[weights.index] = _zeros_of(weights)
        zeros, size = known[weights.index]
        leader = state.leader[position]
        state.zeros[leader] = state.zeros.get(leader, 0) + zeros
        state.parameters[leader] = state.parameters.get(leader, 0) + size


def _zeros_of(weights: Tensor) -> tuple[int, int]:
    """How many items of a constant are zero, and how many it has."""
    values = weights.values()
    return (0, 0) if values is None else (values.size - int((values != 0).sum()), values.size)


def _nchw(state: _Pass, *, assume_pruned: bool) -> Iterator[int]:
    for position in range(len(state.nodes)):
        leader = state.leader[position]
        if not state.alive(position) or not state.joined(position):
            continue
        zeros, parameters = state.zeros.get(leader, 0), state.parameters.get(leader, 0)
        if zeros * 3 > parameters * 2 or (assume_pruned and parameters):
            yield from state.values(position)
