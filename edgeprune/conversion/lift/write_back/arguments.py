"""Operators' constants that hold lengths, and have to follow when channels are removed.

Of RESHAPE the shape, of PAD the amounts, of SLICE begin and size, and so on. What an operator's new
constant is follows from the shapes of its inputs and outputs before and after, and from the
positions that slices take and pads add in Keras; where that leaves it open, the operator is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.conversion.lift.operators.slicing import axes_of_places
from edgeprune.conversion.lift.write_back.positions import Positions
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.graph import Operator, Subgraph

Shape = tuple[int, ...]


class CannotFollowShapeError(Exception):
    """An operator's constants cannot be told from the new shapes; the text says why."""


@dataclass(frozen=True)
class Around:
    """One operator with the shapes around it, before and after."""

    main: Subgraph
    operator: Operator
    shapes: Mapping[int, Shape]
    """New shapes of the tensors that change."""
    positions: Positions

    def before(self, index: int) -> Shape:
        """The shape of a tensor in the file."""
        return self.main.tensors[index].shape

    def after(self, index: int) -> Shape:
        """The shape that it gets."""
        return self.shapes.get(index, self.before(index))

    @property
    def source(self) -> int:
        """The tensor that it reads first."""
        return self.operator.inputs[0]

    @property
    def output(self) -> int:
        """The tensor that it makes first."""
        return self.operator.outputs[0]

    def values(self, position: int) -> Array:
        """The constant at one of its inputs.

        Raises:
          CannotFollowShapeError: it is computed.
        """
        index = self.operator.inputs[position]
        values = self.main.tensors[index].values() if index >= 0 else None
        if values is None:
            raise CannotFollowShapeError(f"its input {position} is computed")
        return values

    def span(self, axis: int) -> range:
        """The positions of its first input along an axis that a slice takes then."""
        keys = self.positions.taken.get(self.operator.index)
        return range(self.after(self.source)[axis])[keys[axis] if keys else slice(None)]

    def changed_axes(self) -> tuple[int, ...]:
        """The axes on which its first input and output, of one rank, change."""
        pairs = zip(
            self.before(self.source),
            self.after(self.source),
            self.before(self.output),
            self.after(self.output),
            strict=True,
        )
        return tuple(axis for axis, (a, b, c, d) in enumerate(pairs) if a != b or c != d)


def new_arguments(
    main: Subgraph,
    operator: Operator,
    shapes: Mapping[int, Shape],
    positions: Positions,
) -> Mapping[int, Array]:
    """New constants of an operator, by the position among its inputs; empty where none change.

    Raises:
      CannotFollowShapeError: they do not follow from the shapes.
    """
    around = [index for index in (*operator.inputs, *operator.outputs) if index in shapes]
    if not around:
        return {}
    follow = _FOLLOWED.get(operator.op)
    return follow(Around(main, operator, shapes, positions)) if follow else {}


def _shape_at(position: int) -> Callable[[Around], Mapping[int, Array]]:
    """For operators that take the shape of their output as an input."""

    def follow(around: Around) -> Mapping[int, Array]:
        if len(around.operator.inputs) <= position:
            return {}
        index = around.operator.inputs[position]
        old = around.main.tensors[index].values() if index >= 0 else None
        dtype = around.main.tensors[index].dtype if index >= 0 else "int32"
        return {position: like_old(old, around.after(around.output), dtype)}

    return follow


def like_old(old: Array | None, shape: Shape, dtype: str) -> Array:
    """A shape with -1 where the old one had it; without an old one, the batch is left open."""
    if old is None:
        return np.array([-1, *shape[1:]], dtype)
    kept = [-1 if was < 0 else n for was, n in zip(old.reshape(-1).tolist(), shape, strict=True)]
    return np.array(kept, dtype)


def _pads(around: Around) -> Mapping[int, Array]:
    amounts = around.values(1).copy()
    pads = around.positions.added.get(around.operator.index, ())
    first = len(amounts) - len(pads)
    for axis in around.changed_axes():
        if axis >= first:
            amounts[axis] = pads[axis - first]
    return {1: amounts}


def _slice(around: Around) -> Mapping[int, Array]:
    begin, size = around.values(1).copy(), around.values(2).copy()
    for axis in around.changed_axes():
        span = around.span(axis)
        begin[axis] = span.start
        size[axis] = size[axis] if size[axis] < 0 else len(span)
    return {1: begin, 2: size}


def _strided_slice(around: Around) -> Mapping[int, Array]:
    begin, end = around.values(1).copy(), around.values(2).copy()
    before, after = around.before(around.source), around.after(around.source)
    options = around.operator.options
    axes = axes_of_places(options, len(begin), len(before))
    for place, axis in axes.items():
        if before[axis] != after[axis]:
            span = around.span(axis)
            begin[place] = span.start
            end[place] = span.stop - (span.start if options.offset else 0)
    return {1: begin, 2: end}


def _split_lengths(around: Around) -> Mapping[int, Array]:
    lengths = around.values(1)
    axis = int(around.values(2).reshape(-1)[0]) % len(around.before(around.source))
    made = [around.after(index)[axis] for index in around.operator.outputs]
    return {1: np.array(made, lengths.dtype)}


def _equal_parts(around: Around) -> Mapping[int, Array]:
    if len({around.after(index) for index in around.operator.outputs}) > 1:
        raise CannotFollowShapeError("its parts would have different numbers of channels")
    return {}


def _tiles(around: Around) -> Mapping[int, Array]:
    times = around.values(1)
    source, output = around.after(around.source), around.after(around.output)
    made: Sequence[int] = [n * m for n, m in zip(source, times.tolist(), strict=True)]
    if tuple(made) != output:
        raise CannotFollowShapeError("it would repeat channels another number of times")
    return {}


def _rows(around: Around) -> Mapping[int, Array]:
    """GATHER whose rows or channels are constants: they name channels by number."""
    axis = around.operator.options.axis % len(around.before(around.source))
    if around.before(around.source)[axis] != around.after(around.source)[axis]:
        raise CannotFollowShapeError("it names channels by their number")
    return {}


_FOLLOWED: Mapping[str, Callable[[Around], Mapping[int, Array]]] = {
    "BROADCAST_TO": _shape_at(1),
    "GATHER": _rows,
    "MIRROR_PAD": _pads,
    "PAD": _pads,
    "PADV2": _pads,
    "RESHAPE": _shape_at(1),
    "SLICE": _slice,
    "SPLIT": _equal_parts,
    "SPLIT_V": _split_lengths,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _tiles,
    "TRANSPOSE_CONV": _shape_at(0),
}
