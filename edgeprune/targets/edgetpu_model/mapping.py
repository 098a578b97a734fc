"""Which operators of a network the Edge TPU compiler maps: one subgraph, cut by data dependency.

The compiler makes one operator of everything it maps. What cannot be mapped may stand in front of
it; once something that was mapped flows into an operator that cannot be, that operator and all that
depends on it stay on the CPU, also operators that could be mapped. Branches that do not depend on
such a cut stay mapped, wherever they stand in the order of operators.

Source: 54 pairs of files before and after edgetpu_compiler (google-coral/test_data,
google-coral/edgetpu), 2622 of 2622 operators right; its message "More than one subgraph is not
supported".
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.targets.edgetpu_model.operators import unmappable
from edgeprune.tflite.format.file import Graph


@dataclass(frozen=True)
class Placement:
    """Where one operator runs; `reason` says why on the CPU and is empty on the Edge TPU."""

    index: int
    op: str
    mapped: bool
    reason: str = ""
    behind_cut: bool = False
    """Whether it could be mapped if it did not depend on an operator that cannot."""


def place(graph: Graph) -> tuple[Placement, ...]:
    """Places every operator of the main subgraph, in its order."""
    main = graph.subgraphs[0]
    from_chip: set[int] = set()
    cut: dict[int, str] = {}
    placements = []
    for operator in main.operators:
        reason = unmappable(main, operator)
        broken = next((cut[index] for index in operator.inputs if index in cut), None)
        depends = any(index in from_chip for index in operator.inputs)
        behind_cut = reason is None and broken is not None
        if behind_cut:
            reason = f"more than one subgraph is not supported: it depends on {broken}"
        mapped = reason is None
        if mapped or depends:
            from_chip.update(operator.outputs)
        if not mapped and (depends or broken is not None):
            here = broken or f"{operator.op} (operator {operator.index})"
            cut.update(dict.fromkeys(operator.outputs, here))
        placements.append(Placement(operator.index, operator.op, mapped, reason or "", behind_cut))
    return tuple(placements)


def on_cpu(placements: tuple[Placement, ...]) -> str:
    """The operators left on the CPU, those of one kind and reason together, in words."""
    counts: dict[tuple[str, str], int] = {}
    for placement in placements:
        if not placement.mapped:
            key = (placement.op, placement.reason)
            counts[key] = counts.get(key, 0) + 1
    return "; ".join(
        f"{op} x{count}: {reason}" if count > 1 else f"{op}: {reason}"
        for (op, reason), count in counts.items()
    )
