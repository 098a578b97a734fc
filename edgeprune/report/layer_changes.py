"""What became of every layer: the costs of a dense and a pruned file side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.core.grid import Cell, Grid, Judgement, grid

if TYPE_CHECKING:
    from edgeprune.targets.measurement import LayerCost, Measurement


GAIN = 1.05
"""A layer whose cycles fall by less than this factor gained nothing worth the name."""


@dataclass(frozen=True)
class LayerChange:
    """One layer of the pruned file, beside the same one of the dense file.

    `dense` is None where the two files do not have the same operators in the same order.
    """

    dense: LayerCost | None
    pruned: LayerCost

    @property
    def gain(self) -> float | None:
        """How many times fewer cycles it takes; None where they are not known."""
        if self.dense is None or not self.dense.cycles or not self.pruned.cycles:
            return None
        return self.dense.cycles / self.pruned.cycles

    @property
    def gained(self) -> bool:
        """Whether it takes clearly fewer cycles."""
        return self.gain is not None and self.gain >= GAIN


def compare_layers(dense: Measurement | None, pruned: Measurement) -> tuple[LayerChange, ...]:
    """Every layer of a pruned file beside its own in the dense one.

    Layers are matched by their place, since the converter gives them other names in every file.
    """
    before: tuple[LayerCost | None, ...] = dense.layers if dense else ()
    if [layer.op for layer in before if layer] != [layer.op for layer in pruned.layers]:
        before = (None,) * len(pruned.layers)
    return tuple(map(LayerChange, before, pruned.layers))


def change_grid(dense: Measurement | None, pruned: Measurement) -> Grid:
    """What every layer costs in both files, and why those that did not gain did not."""
    return grid(
        f"{pruned.model}: costs {pruned.source}",
        ("layer", "operator", "runs on", ">dense", ">pruned", ">times fewer", "why"),
        (
            (
                change.pruned.name,
                change.pruned.op,
                change.pruned.where,
                _cost(change.dense),
                _cost(change.pruned),
                _gain(change),
                change.pruned.note,
            )
            for change in compare_layers(dense, pruned)
        ),
    )


def _cost(layer: LayerCost | None) -> str:
    """Cycles, else bytes."""
    if layer is None or layer.cycles is layer.bytes is None:
        return "-"
    return f"{layer.bytes:,} B" if layer.cycles is None else f"{layer.cycles:,}"


def _gain(change: LayerChange) -> Cell:
    if change.gain is None:
        return "-"
    return Judgement(f"{change.gain:.2f}", True) if change.gained else f"{change.gain:.2f}, no gain"
