"""What a lift gives: a Keras model to compute with, and where each of its parts is in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.errors import InputError
from edgeprune.keras_model.layers import Model
from edgeprune.tflite.format.graph import Graph


@dataclass(frozen=True)
class Weights:
    """The kernel and bias of a layer, as tensors of subgraph 0 that its operator reads.

    Both are what the operator reads: the bytes may lie behind DEQUANTIZE or DENSIFY, see
    `Subgraph.constant_behind`.
    """

    operator: int
    """Index of the operator."""
    kernel: int
    bias: int | None
    kind: str
    """Class of the Keras layer: Conv2D, DepthwiseConv2D, Conv2DTranspose, Conv3D, Dense or
    Embedding."""
    transposed: bool = False
    """Whether a Dense kernel is stored `[in, out]`, as BATCH_MATMUL does, not `[out, in]`."""


@dataclass(frozen=True)
class Constant:
    """A constant other than a kernel or bias that a layer was made with."""

    operator: int
    """Index of the operator."""
    tensor: int
    """Index of the tensor that the operator reads it from; it may be computed from constants."""
    weight: str
    """Attribute of the layer that holds it as a variable; empty where the configuration does, as of
    pads."""


@dataclass(frozen=True)
class Obstacle:
    """An operator that cannot be lifted, or a tensor (then `operator` is -1), and why."""

    operator: int
    name: str
    reason: str


@dataclass(frozen=True)
class IslandPart:
    """Operators of subgraph 0 that are not lifted, and that one layer runs in the interpreter."""

    layer: str
    """Name of the layer, an `Island`."""
    operators: tuple[int, ...]
    """Their indices. Two islands may both run an operator whose result Keras cannot hold, such as
    the handle of a variable."""
    obstacles: tuple[Obstacle, ...]
    """Those of them that cannot be lifted, and why; the others lie between them."""

    @property
    def reason(self) -> str:
        """Why they are not lifted, each reason once."""
        return _reasons(self.obstacles)


@dataclass(frozen=True, eq=False)
class KeptRemainder:
    """The last operators of a file, from the first one that no runtime has, see `tflite.remainder`.

    They are neither lifted nor run, and put back behind what is written. What comes before them
    lies in a folder of its own, while this is held.
    """

    whole: Path
    """The file; what is lifted is what comes before them."""
    operators: tuple[int, ...]
    """Their indices in it."""
    obstacles: tuple[Obstacle, ...]
    """Those of them that no runtime has."""

    @property
    def names(self) -> str:
        """The names of those that no runtime has, each once."""
        return ", ".join(dict.fromkeys(each.name for each in self.obstacles))

    @property
    def reason(self) -> str:
        """Why they are not lifted."""
        return _reasons(self.obstacles)


@dataclass(frozen=True, eq=False)
class Lifted:
    """A .tflite file as a Keras model that computes the same.

    Of a file that ends in operators that no runtime has, it is the file in front of them. The
    model's inputs and outputs come in the order of the file's signature, as arrays do for
    `targets`. Its batch axis is open where the file allows it, else as in the file.
    """

    path: Path
    graph: Graph
    model: Model
    operators: Mapping[str, int]
    """By the name of a layer or operation: index of the operator of subgraph 0 it stands for. An
    operator may need several layers; input layers are not there."""
    tensors: Mapping[int, tuple[str, int]]
    """By the index of an activation of subgraph 0: the layer or operation that computes it, and
    which of its outputs, counted over all calls of it. Several tensors may be one value."""
    weights: Mapping[str, Weights]
    """By the name of the layer. A layer that several operators share has the first one's."""
    constants: Mapping[str, Constant]
    """By the name of the layer."""
    islands: tuple[IslandPart, ...] = ()
    """Operators that are run in the interpreter; empty for a file that is lifted wholly."""
    remainder: KeptRemainder | None = None
    """What comes behind this file in the given one; None where this is all of it."""

    @property
    def given(self) -> Path:
        """The file that was given."""
        return self.path if self.remainder is None else self.remainder.whole

    @property
    def obstacles(self) -> tuple[Obstacle, ...]:
        """The operators of the given file that are not lifted."""
        remainder = () if self.remainder is None else self.remainder.obstacles
        return (*(each for part in self.islands for each in part.obstacles), *remainder)


MOST_LISTED = 8
"""Kinds of obstacles that a message lists, and operators that it lists of each."""


class Unliftable(InputError):  # noqa: N818  the name says what is wrong with the file
    """A .tflite file that no Keras model can be built from."""

    def __init__(self, path: Path, obstacles: Sequence[Obstacle]) -> None:
        super().__init__(
            f"{path}: expected operators that all have a counterpart in Keras. Received: "
            f"{'; '.join(_listed(obstacles))}. Give the model as a .keras file, or convert it "
            "again without these operators; 'edgeprune encode' takes the file as it is."
        )
        self.obstacles = tuple(obstacles)


def require_whole(lifted: Lifted) -> None:
    """Checks that all of a file is lifted, so that another one can be made of its model.

    Raises:
      Unliftable: it has islands, or a remainder; names their operators.
    """
    if lifted.obstacles:
        raise Unliftable(lifted.given, lifted.obstacles)


def _reasons(obstacles: Sequence[Obstacle]) -> str:
    """Why operators are not lifted, each reason once."""
    found: dict[str, list[str]] = {}
    for obstacle in obstacles:
        found.setdefault(obstacle.reason, []).append(obstacle.name)
    return "; ".join(
        f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in found.items()
    )


def _listed(obstacles: Sequence[Obstacle]) -> Iterator[str]:
    """Obstacles in words, those of one kind together."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for obstacle in obstacles:
        kinds.setdefault((obstacle.name, obstacle.reason), []).append(obstacle.operator)
    for (name, reason), numbers in list(kinds.items())[:MOST_LISTED]:
        listed = ", ".join(map(str, numbers[:MOST_LISTED]))
        listed += f" and {len(numbers) - MOST_LISTED} more" if len(numbers) > MOST_LISTED else ""
        where = f"operator{'s' if len(numbers) > 1 else ''} {listed} ({name})"
        yield f"{name if numbers[0] < 0 else where}: {reason}"
    if len(kinds) > MOST_LISTED:
        yield f"and {len(kinds) - MOST_LISTED} other kinds"
