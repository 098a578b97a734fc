"""XNNPACK's pass followed step by step, as slowly as XNNPACK and TFLite do it themselves.

Sources: as those of `edgeprune.tflite.gate.cluster`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeprune.tflite.format.graph import Subgraph
from edgeprune.tflite.gate.node import Node
from edgeprune.tflite.gate.rules import XnnpackRules


def join_again_and_again(state: Any) -> None:
    """Goes over all nodes until no leader changes."""
    changed = True
    while changed:
        changed = False
        for position in range(len(state.nodes)):
            if state.broken[position] is None and state.joined(position):
                changed |= state.join(position)


def partitions(_: Subgraph, nodes: Sequence[Node], rules: XnnpackRules) -> list[int]:
    """Takes all nodes of one kind that can run, then all of the other kind, and so on."""
    theirs = [node.op in rules.left_to_tflite for node in nodes]
    part = [-1] * len(nodes)
    pending = {node.output for node in nodes}
    number = 0
    while -1 in part:
        kind = None
        progress = True
        while progress:
            progress = False
            for position, node in enumerate(nodes):
                ready = part[position] == -1 and not pending.intersection(node.inputs)
                if ready and kind in (None, theirs[position]):
                    kind, part[position], progress = theirs[position], number, True
                    pending.discard(node.output)
        number += 1
    return part
