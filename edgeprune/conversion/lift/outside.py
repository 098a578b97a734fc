"""Operators that stay outside of Keras while a file is lifted, and the islands made of them.

    x --> CONV_2D --> Mystery --> RESHAPE --> y      operators of a file
    x --> Conv2D  --> [Mystery] --> Reshape --> y    with an island of one operator

What an operator outside makes is pending. Where a lifted operator or an output needs a pending
tensor, an island is made of all operators that lead to it from tensors that Keras has. So an island
reads nothing that it makes itself, and the operators of a handle or of another tensor that Keras
cannot hold are together. Operators that no output depends on are aside: they are left as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeprune.conversion.lift.cut import cut
from edgeprune.conversion.lift.island import Island
from edgeprune.conversion.lift.lifted import IslandPart, Obstacle
from edgeprune.conversion.lift.operators.folding import MOST_VALUES
from edgeprune.conversion.lift.site import BatchNeededError, Building, Live, Shape, type_of
from edgeprune.targets.child import WorkerError
from edgeprune.targets.serving import file_server
from edgeprune.tflite.format.graph import Graph, Operator, Subgraph, Tensor

_RESOURCE = "resource"


@dataclass(frozen=True)
class Cone:
    """Operators that lead to some tensors, and the tensors of Keras that they start from."""

    operators: frozenset[int]
    inputs: tuple[int, ...]


class Outside:
    """The operators outside so far.

    Args:
      graph: the file.
      building: the Keras graph.
      unusable: why Keras cannot hold a tensor; empty if it can.
    """

    def __init__(self, graph: Graph, building: Building, unusable: Callable[[Tensor], str]) -> None:
        self._graph = graph
        self._main = graph.subgraphs[0]
        self._building = building
        self._unusable = unusable
        self._reasons: dict[int, str] = {}
        self._pending: dict[int, Operator] = {}
        self._made: list[tuple[IslandPart, bytes]] = []
        self.aside = operators_aside(self._main)

    @property
    def islands(self) -> tuple[IslandPart, ...]:
        """The islands made so far."""
        return tuple(part for part, _ in self._made)

    def obstacles(self) -> list[Obstacle]:
        """The operators that cannot be lifted, without those that only lie between them."""
        return [self._obstacle(index, why) for index, why in self._reasons.items() if why]

    def _obstacle(self, index: int, reason: str) -> Obstacle:
        return Obstacle(index, self._main.operators[index].op, reason)

    def refused(self) -> list[Obstacle]:
        """The operators of islands that the interpreter does not load."""
        found = []
        for part, content in self._made:
            try:
                file_server().load(content)
            except WorkerError as error:
                found += [self._refused(index, error) for index in part.operators]
        return found

    def _refused(self, index: int, error: WorkerError) -> Obstacle:
        reason = self._reasons[index] or "it cannot be had without the others"
        # Of a custom operator there is nothing more to say.
        detail = "" if self._main.operators[index].custom else f" ({error})"
        return self._obstacle(index, f"{reason}, and LiteRT does not run it either{detail}")

    def add(self, operator: Operator, reason: str) -> None:
        """Leaves an operator outside; without a reason of its own where it lies between others."""
        self._reasons[operator.index] = reason
        for index in operator.outputs:
            if index >= 0:
                self._building.forget(index)
                self._pending[index] = operator

    def holds(self, index: int) -> bool:
        """Whether a tensor is pending."""
        return index in self._pending

    def why_not(self, index: int) -> str:
        """Why a pending tensor cannot be handed to Keras; empty if it can."""
        tensor = self._main.tensors[index]
        signed = tensor.shape_signature
        if any(size < 0 for size in signed[1:]) or (signed[:1] == (-1,) and tensor.shape[0] != 1):
            return f"its sizes {list(signed)} are set at run time"
        if tensor.dtype.startswith("complex"):
            return f"it holds {tensor.dtype}"
        if not 0 < math.prod(tensor.shape) <= MOST_VALUES:
            return f"it has {math.prod(tensor.shape)} values"
        return self._unusable(tensor)

    def expose(self, index: int) -> None:
        """Makes an island that gives a pending tensor, and others that come with it.

        Raises:
          BatchNeededError: a tensor has no axis for samples.
        """
        cone = self._cone([index])
        given = [each for each in self._pending if each == index or self._comes_with(each, cone)]
        cone = self._cone(given)
        operators = tuple(sorted(cone.operators & self._reasons.keys()))
        name = self._building.unique_name(f"{self._main.tensors[index].name}_island")
        content = cut(self._graph.path, cone.operators, cone.inputs, given)
        shapes = [self._shape(each) for each in (*cone.inputs, *given)]
        layer = Island(
            content,
            shapes[: len(cone.inputs)],
            shapes[len(cone.inputs) :],
            [type_of(self._main.tensors[each]) for each in given],
            whole=self._building.whole,
            fresh=self._keeps_state(cone),
            source=self._source(operators),
            name=name,
        )
        obstacles = [self._obstacle(each, self._reasons[each]) for each in operators]
        named = tuple(each for each in obstacles if each.reason)
        self._made.append((IslandPart(name, operators, named), content))
        self._building.operators[name] = operators[0]
        self._call(layer, cone, given)

    def _source(self, operators: Sequence[int]) -> str:
        """Where an island comes from, in words: `m.tflite, operators 2 to 4 (MEAN, IF)`."""
        first, last = operators[0], operators[-1]
        numbers = f"operator {first}" if first == last else f"operators {first} to {last}"
        ops = dict.fromkeys(self._main.operators[index].op for index in operators)
        return f"{self._graph.path.name}, {numbers} ({', '.join(ops)})"

    def _call(self, layer: Island, cone: Cone, given: Sequence[int]) -> None:
        live = self._building.live
        # An island that nothing leads into takes the samples' number from an input of the model.
        read = cone.inputs or self._graph.inputs[:1]
        tensors = [live[each].tensor for each in read]
        made = layer(tensors if len(tensors) > 1 else tensors[0])
        values = made if isinstance(made, list | tuple) else [made]
        for each, value in zip(given, values, strict=True):
            del self._pending[each]
            self._building.note(each, Live(value, self._main.tensors[each].shape))

    def _shape(self, index: int) -> Shape:
        live = self._building.live.get(index)
        shape = self._main.tensors[index].shape if live is None else live.shape
        if not shape and not self._building.whole:
            raise BatchNeededError
        return shape

    def _comes_with(self, index: int, cone: Cone) -> bool:
        """Whether a pending tensor that is read elsewhere starts from the same tensors."""
        if self.why_not(index):
            return False
        readers = (operator for operator, _ in self._main.readers.get(index, ()))
        is_read = any(reader.index not in self._reasons for reader in readers)
        if not is_read and index not in self._main.outputs:
            return False
        own = self._cone([index])
        return own.operators <= cone.operators or set(own.inputs) == set(cone.inputs)

    def _cone(self, wanted: Iterable[int]) -> Cone:
        """All operators that lead to tensors, from those that Keras has."""
        operators: set[int] = set()
        inputs: list[int] = []
        waiting = list(wanted)
        while waiting:
            index = waiting.pop()
            maker = self._main.makers.get(index)
            if self._building.is_real(index):
                inputs.append(index)
            elif maker is not None and maker.index not in operators:
                for operator in (maker, *self._writers(maker)):
                    operators.add(operator.index)
                    waiting += [each for each in operator.inputs if each >= 0]
        if any(self._reads_resource(self._main.operators[index]) for index in operators):
            operators |= {each.index for each in self._main.operators if each.op == "CALL_ONCE"}
        return Cone(frozenset(operators), tuple(dict.fromkeys(reversed(inputs))))

    def _reads_resource(self, operator: Operator) -> bool:
        return any(self._handle(index) is not None for index in operator.inputs)

    def _writers(self, reader: Operator) -> list[Operator]:
        """The operators before one that store what it may read."""
        handles = {self._handle(index) for index in reader.inputs} - {None}
        return [
            operator
            for operator in self._main.operators[: reader.index]
            if handles and not operator.outputs
            if handles & {self._handle(index) for index in operator.inputs}
        ]

    def _handle(self, index: int) -> Any:
        """What names a resource: operators may make a handle of the same one several times."""
        if index < 0 or self._main.tensors[index].dtype != _RESOURCE:
            return None
        options = getattr(self._main.makers.get(index), "options", None)
        return getattr(options, "sharedName", None) or index

    def _keeps_state(self, cone: Cone) -> bool:
        operators = [self._main.operators[index] for index in cone.operators]
        read = [
            self._main.tensors[index] for each in operators for index in each.inputs if index >= 0
        ]
        return any(tensor.variable or tensor.dtype == _RESOURCE for tensor in read)


def operators_aside(main: Subgraph) -> frozenset[int]:
    """The operators that no output of a subgraph depends on, by their indices."""
    needed: set[int] = set()
    waiting = list(main.outputs)
    while waiting:
        maker = main.makers.get(waiting.pop())
        if maker is not None and maker.index not in needed:
            needed.add(maker.index)
            waiting += [index for index in maker.inputs if index >= 0]
    return frozenset(operator.index for operator in main.operators) - needed


def read_aside(main: Subgraph, besides: frozenset[int]) -> frozenset[int]:
    """The tensors that operators aside read, and others make.

    Args:
      main: the main subgraph.
      besides: operators that do not count: what they read may change.
    """
    aside = operators_aside(main)
    read = (index for number in aside - besides for index in main.operators[number].inputs)
    return frozenset(
        index for index in read if index in main.makers and main.makers[index].index not in aside
    )
