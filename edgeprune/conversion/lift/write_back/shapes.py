"""Shapes of a file's tensors after channels were removed: those of the smaller Keras model."""

from __future__ import annotations

from collections.abc import Mapping

from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.write_back.values import missing_layer
from edgeprune.conversion.lift.write_back.windows import window_shapes
from edgeprune.core.errors import TfliteError
from edgeprune.keras_model.calls import nodes_of
from edgeprune.keras_model.layers import Model

Shape = tuple[int, ...]


def new_shapes(lifted: Lifted, pruned: Model) -> Mapping[int, Shape]:
    """The shapes of the tensors of the main subgraph that are computed, where they change.

    Raises:
      ModelError: a layer of the lifted model is missing.
      TfliteError: a tensor has other axes than in Keras, so that its new shape is not known.
    """
    before, after = _shapes(lifted.model), _shapes(pruned)
    found: dict[int, Shape] = {**window_shapes(lifted, pruned)}
    for index, value in lifted.tensors.items():
        if value not in before:  # no output depends on it
            continue
        if value not in after:
            raise missing_layer(lifted, value[0])
        if before[value] != after[value]:
            found[index] = _carried_over(lifted, index, before[value], after[value])
    return found


def _shapes(model: Model) -> Mapping[tuple[str, int], tuple[int | None, ...]]:
    """Shapes of what is computed, by the layer or operation and which of its outputs it is."""
    return {
        (operation.name, number): tuple(tensor.shape)
        for operation in model.operations
        for number, tensor in enumerate(
            tensor for node in nodes_of(operation) for tensor in node.output_tensors
        )
    }


def _carried_over(
    lifted: Lifted, index: int, before: tuple[int | None, ...], after: tuple[int | None, ...]
) -> Shape:
    """The shape of a tensor, with those axes changed that change in Keras.

    The batch, which Keras may leave open, stays as it is in the file. What the file leaves open has
    any length there.
    """
    tensor = lifted.graph.tensors[index]
    open_axes = [axis for axis, length in enumerate(tensor.shape_signature) if length < 0]
    changed = {axis: n for axis, n in enumerate(after) if n is not None and n != before[axis]}
    fits = len(before) == len(after) == len(tensor.shape) and all(
        axis in open_axes or tensor.shape[axis] == before[axis] for axis in changed
    )
    if not fits:
        raise TfliteError(
            f"{lifted.path}: {tensor.name!r}: expected the axes {list(before)} that it has in "
            f"Keras. Received: {list(tensor.shape)}, so that channels cannot be removed here. "
            "Take a route that keeps channels, or leave layers out with --skip."
        )
    return tuple(changed.get(axis, length) for axis, length in enumerate(tensor.shape))
