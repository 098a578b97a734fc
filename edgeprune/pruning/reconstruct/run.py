"""Runs a dense model and its copy side by side, call by call, on the same samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Literal

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.keras_model.layers import Layer, Model, layers_inside, unique_layers
from edgeprune.pruning.reconstruct.graph import Step, Tensor, read_graph
from edgeprune.pruning.reconstruct.recording import recorded
from edgeprune.pruning.reconstruct.store import Store

_BATCH_SIZE = 16
Side = Literal["dense", "copy"]


class Run:
    """Two models of one architecture, run call by call through their graph.

    Activations are kept until their last use, and those of the copy only where they differ.

    Args:
      dense: the dense model.
      copy: a copy of it, whose layers may be pruned along the way; `dense` itself if none is.
      x: samples, one array `[n, ...]` per input.
      store: keeps the activations.
    """

    def __init__(self, dense: Model, copy: Model, x: list[Array], store: Store) -> None:
        self.batches = -(-len(x[0]) // _BATCH_SIZE)
        self._graph = read_graph(dense, len(x))
        self.steps = self._graph.steps
        self._copy_steps = self.steps if copy is dense else read_graph(copy, len(x)).steps
        self._last_uses = self._graph.last_uses()
        self._dense_layers = unique_layers(dense)
        self._copy_layers = unique_layers(copy)
        self._paths = {id(layer): path for path, layer in self._dense_layers.items()}
        self._store = store
        self._changed_layers: set[str] = set()
        for value, array in zip(self._graph.inputs, x, strict=True):
            for batch in range(self.batches):
                # Strided, so that data sorted by class does not make one-sided batches.
                store.append(("dense", value), np.ascontiguousarray(array[batch :: self.batches]))

    def dense_layer(self, path: str) -> Layer:
        """A layer of the dense model."""
        return self._dense_layers[path]

    def copy_layer(self, path: str) -> Layer:
        """The same layer of the copy."""
        return self._copy_layers[path]

    def mark_changed(self, path: str) -> None:
        """Marks a layer of the copy as computing something else than the dense one from now on."""
        self._changed_layers.add(path)

    def is_changed(self, index: int) -> bool:
        """Whether a call may give another result in the copy than in the dense model."""
        step = self.steps[index]
        inputs = any(("copy", value) in self._store for value in step.inputs)
        return inputs or bool(self._changed_layers & set(self._inside(step)))

    def paths(self, index: int) -> list[str]:
        """The paths of the layers that a call runs, in the order of their first call."""
        step = self.steps[index]
        inside = self._inside(step)
        if len(inside) <= 1:
            return inside
        called: list[str] = []
        with ExitStack() as stack:
            for path in inside:
                seen = stack.enter_context(recorded(self._dense_layers[path]))
                seen.on_call = lambda path=path: called.append(path)
            step.run(self._batch("dense", step, 0))
        return list(dict.fromkeys(called))

    def direct_paths(self, index: int) -> list[str]:
        """The path of the layer that a call runs itself; empty for an operation or a model."""
        path = self._paths.get(id(self.steps[index].operation))
        return [path] if path else []

    def following(self, index: int) -> Layer | None:
        """The only layer or operation that reads the only output of a layer's call, if any."""
        outputs = self.steps[index].outputs
        if len(outputs) != 1 or not self.direct_paths(index):
            return None
        takers = [step for step in self.steps if outputs[0] in step.inputs]
        return takers[0].operation if len(takers) == 1 else None

    def pairs(self, index: int, path: str) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yields `(batch index, dense input, copy input)` for each use of a layer within a call."""
        step, other = self.steps[index], self._copy_steps[index]
        for batch in range(self.batches):
            before = self._entering(step, self._dense_layers[path], "dense", batch)
            after = before
            if self.is_changed(index):
                after = self._entering(other, self._copy_layers[path], "copy", batch)
            yield from ((batch, *pair) for pair in zip(before, after, strict=True))

    def _entering(self, step: Step, layer: Layer, side: Side, batch: int) -> list[Tensor]:
        values = self._batch(side, step, batch)
        if step.operation is layer:
            return values[:1]
        with recorded(layer) as seen:
            step.run(values)
        return seen.inputs

    def advance(self, index: int) -> None:
        """Computes the outputs of a call, and frees values that nothing reads any more."""
        step, other = self.steps[index], self._copy_steps[index]
        changed = self.is_changed(index)
        for batch in range(self.batches):
            self._keep("dense", step, step.run(self._batch("dense", step, batch)))
            if changed:
                self._keep("copy", step, other.run(self._batch("copy", step, batch)))
        for value in {*step.inputs, *step.outputs}:
            if self._last_uses.get(value, -1) <= index:
                self._store.free(("dense", value))
                self._store.free(("copy", value))

    def _keep(self, side: Side, step: Step, outputs: list[Tensor]) -> None:
        for value, tensor in zip(step.outputs, outputs, strict=True):
            self._store.append((side, value), tensor)

    def _batch(self, side: Side, step: Step, batch: int) -> list[Tensor]:
        keys = [
            (side, value) if (side, value) in self._store else ("dense", value)
            for value in step.inputs
        ]
        return [self._store.batch(key, batch) for key in keys]

    def _inside(self, step: Step) -> list[str]:
        if not hasattr(step.operation, "_flatten_layers"):
            return []
        inside = layers_inside(step.operation)
        return [self._paths[id(layer)] for layer in inside if id(layer) in self._paths]
