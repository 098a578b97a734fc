"""Runs a dense model and its copy side by side, call by call, on the same samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Literal

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import Call, Tensor, read_calls
from edgeprune.keras_model.layers import Layer, LayerMap, layers_inside
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

    def __init__(self, dense: LayerMap, copy: LayerMap, x: list[Array], store: Store) -> None:
        self.batches = -(-len(x[0]) // _BATCH_SIZE)
        self._graph = read_calls(dense.model, len(x))
        self.calls = self._graph.calls
        same = copy.model is dense.model
        self._copy_calls = self.calls if same else read_calls(copy.model, len(x)).calls
        self._dense = dense
        self._copy = copy
        self._store = store
        self._changed_layers: set[str] = set()
        for value, array in zip(self._graph.inputs, x, strict=True):
            for batch in range(self.batches):
                # Strided, so that data sorted by class does not make one-sided batches.
                store.append(("dense", value), np.ascontiguousarray(array[batch :: self.batches]))

    def dense_layer(self, path: str) -> Layer:
        """A layer of the dense model."""
        return self._dense.layers[path]

    def copy_layer(self, path: str) -> Layer:
        """The same layer of the copy."""
        return self._copy.layers[path]

    def mark_changed(self, path: str) -> None:
        """Marks a layer of the copy as computing something else than the dense one from now on."""
        self._changed_layers.add(path)

    def is_changed(self, index: int) -> bool:
        """Whether a call may give another result in the copy than in the dense model."""
        call = self.calls[index]
        inputs = any(("copy", value) in self._store for value in call.inputs)
        return inputs or bool(self._changed_layers & set(self._inside(call)))

    def paths(self, index: int) -> list[str]:
        """The paths of the layers that a call runs, in the order of their first call."""
        call = self.calls[index]
        inside = self._inside(call)
        if len(inside) <= 1:
            return inside
        called: list[str] = []
        with ExitStack() as stack:
            for path in inside:
                seen = stack.enter_context(recorded(self._dense.layers[path]))
                seen.on_call = lambda path=path: called.append(path)
            call.run(self._batch("dense", call, 0))
        return list(dict.fromkeys(called))

    def direct_paths(self, index: int) -> list[str]:
        """The path of the layer that a call runs itself; empty for an operation or a model."""
        path = self._dense.path_of(self.calls[index].operation)
        return [path] if path else []

    def following(self, index: int) -> Layer | None:
        """The only layer or operation that reads the only output of a layer's call, if any."""
        outputs = self.calls[index].outputs
        if len(outputs) != 1 or not self.direct_paths(index):
            return None
        takers = self._graph.takers.get(outputs[0], ())
        return takers[0].operation if len(takers) == 1 else None

    def pairs(self, index: int, path: str) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yields `(batch index, dense input, copy input)` for each use of a layer within a call."""
        call, other = self.calls[index], self._copy_calls[index]
        for batch in range(self.batches):
            before = self._entering(call, self._dense.layers[path], "dense", batch)
            after = before
            if self.is_changed(index):
                after = self._entering(other, self._copy.layers[path], "copy", batch)
            yield from ((batch, *pair) for pair in zip(before, after, strict=True))

    def _entering(self, call: Call, layer: Layer, side: Side, batch: int) -> list[Tensor]:
        values = self._batch(side, call, batch)
        if call.operation is layer:
            return values[:1]
        with recorded(layer) as seen:
            call.run(values)
        return seen.inputs

    def advance(self, index: int) -> None:
        """Computes the outputs of a call, and frees values that nothing reads any more."""
        call, other = self.calls[index], self._copy_calls[index]
        changed = self.is_changed(index)
        for batch in range(self.batches):
            self._keep("dense", call, call.run(self._batch("dense", call, batch)))
            if changed:
                self._keep("copy", call, other.run(self._batch("copy", call, batch)))
        for value in {*call.inputs, *call.outputs}:
            if self._graph.last_uses.get(value, -1) <= index:
                self._store.free(("dense", value))
                self._store.free(("copy", value))

    def _keep(self, side: Side, call: Call, outputs: list[Tensor]) -> None:
        for value, tensor in zip(call.outputs, outputs, strict=True):
            self._store.append((side, value), tensor)

    def _batch(self, side: Side, call: Call, batch: int) -> list[Tensor]:
        keys = [
            (side, value) if (side, value) in self._store else ("dense", value)
            for value in call.inputs
        ]
        return [self._store.batch(key, batch) for key in keys]

    def _inside(self, call: Call) -> list[str]:
        if not hasattr(call.operation, "_flatten_layers"):
            return []
        paths = map(self._dense.path_of, layers_inside(call.operation))
        return [path for path in paths if path is not None]
