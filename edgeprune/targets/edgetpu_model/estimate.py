"""A whole network as the Edge TPU compiler would see it: operators, bytes, cycles, and the fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from edgeprune.targets.edgetpu_model.mapping import Placement, place
from edgeprune.targets.edgetpu_model.parameters import Stored, stored
from edgeprune.tflite.format.file import Graph


@dataclass(frozen=True)
class OperatorEstimate:
    """One operator: where it runs, and what it stores there."""

    placement: Placement
    stored: Stored


@dataclass(frozen=True)
class Estimate:
    """What the compiler would make of a file."""

    operators: tuple[OperatorEstimate, ...]
    pixels: int
    """Height times width of the largest input."""

    @cached_property
    def placements(self) -> tuple[Placement, ...]:
        """Where every operator runs."""
        return tuple(operator.placement for operator in self.operators)

    @property
    def mapped(self) -> int:
        """Operators on the Edge TPU."""
        return sum(placement.mapped for placement in self.placements)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the parameters that are kept on the chip if there is room."""
        return sum(operator.stored.kept for operator in self.operators)

    @property
    def streamed_bytes(self) -> int:
        """Bytes of the parameters that are streamed in any case."""
        return sum(operator.stored.streamed for operator in self.operators)

    @property
    def cycles(self) -> int:
        """The sum of the compiler's estimates of the layers it maps."""
        return sum(operator.stored.cycles for operator in self.operators)

    def notes(self) -> Iterator[str]:
        """Yields what is not exact, each thing once, with the operators that it holds for."""
        places: dict[str, list[str]] = {}
        for operator in self.operators:
            if operator.stored.note:
                places.setdefault(operator.stored.note, []).append(str(operator.placement.index))
        for note, indices in places.items():
            yield f"Operator {', '.join(indices)}: {note}."


def estimate(graph: Graph) -> Estimate:
    """Estimates what edgetpu_compiler would make of a file's main subgraph."""
    main = graph.subgraphs[0]
    operators = tuple(
        OperatorEstimate(
            placement,
            stored(main, main.operators[placement.index]) if placement.mapped else Stored(),
        )
        for placement in place(graph)
    )
    return Estimate(operators, max(map(_pixels, _input_shapes(graph)), default=0))


def _input_shapes(graph: Graph) -> Iterator[tuple[int, ...]]:
    for index in graph.inputs:
        yield graph.tensors[index].shape


def _pixels(shape: tuple[int, ...]) -> int:
    """Height times width of a map `[..., h, w, c]`; 1 for a row of values."""
    return shape[-3] * shape[-2] if len(shape) > 2 else 1
