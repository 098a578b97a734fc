"""Runs a dense model and its copy side by side, call by call, on the same samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Literal

import keras
import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import Call, Tensor, read_calls
from edgeprune.keras_model.layers import Layer, LayerMap, layers_inside
from edgeprune.pruning.reconstruct.recording import recorded
from edgeprune.pruning.reconstruct.store import Store

BATCH_SIZE = 16
"""Fewest samples in a batch."""
MAX_BATCH_SIZE = 128
"""Most samples in a batch."""
BATCH_POSITIONS = 65536
"""Pixels or steps in a batch of more than `BATCH_SIZE` samples."""
Side = Literal["dense", "copy"]
Key = tuple[Side, int, int]
"""A value of one side, and the batch."""


class Run:
    """Two models of one architecture, run call by call through their graph.

    Calls are run when somebody asks for what goes into a later one, batch by batch, and all that
    were left until then together. Kept in between are only the values that are still to be read,
    and those of the copy only where they differ.

    Args:
      dense: the dense model.
      copy: a copy of it, whose layers may be pruned along the way; `dense` itself if none is.
      x: samples, one array `[n, ...]` per input.
      store: keeps the activations.
    """

    def __init__(self, dense: LayerMap, copy: LayerMap, x: list[Array], store: Store) -> None:
        self.batches = -(-len(x[0]) // batch_size(x))
        self._graph = read_calls(dense.model, len(x))
        self.calls = self._graph.calls
        same = copy.model is dense.model
        self._copy_calls = self.calls if same else read_calls(copy.model, len(x)).calls
        self._dense = dense
        self._copy = copy
        self._store = store
        self._samples = dict(zip(self._graph.inputs, x, strict=True))
        self._changed_layers: set[str] = set()
        self._changed_values: set[int] = set()
        self._changed_calls: set[int] = set()
        self._done = 0

    def dense_layer(self, path: str) -> Layer:
        """A layer of the dense model."""
        return self._dense.layers[path]

    def copy_layer(self, path: str) -> Layer:
        """The same layer of the copy."""
        return self._copy.layers[path]

    def dense_path(self, layer: Layer) -> str | None:
        """The path of a layer of the dense model; None for another's."""
        return self._dense.path_of(layer)

    def mark_changed(self, path: str) -> None:
        """Marks a layer of the copy as computing something else than the dense one from now on."""
        self._changed_layers.add(path)

    def is_changed(self, index: int) -> bool:
        """Whether a call may give another result in the copy than in the dense model."""
        call = self.calls[index]
        inputs = bool(self._changed_values & set(call.inputs))
        return inputs or bool(self._changed_layers & set(self._inside(call)))

    def paths(self, index: int) -> list[str]:
        """The paths of the layers that a call runs, in the order of their first call."""
        call = self.calls[index]
        inside = self._inside(call)
        if len(inside) <= 1:
            return inside
        called: list[str] = []
        self._run_before(index)
        with ExitStack() as stack:
            for path in inside:
                seen = stack.enter_context(recorded(self._dense.layers[path]))
                seen.on_call = lambda path=path: called.append(path)
            call.run(self._entering_call("dense", call, 0))
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

    def is_called_once(self, layer: Layer) -> bool:
        """Whether a layer of the dense model is called once, by the graph itself."""
        return len(self._graph.calls_of(layer)) == 1

    def pairs(self, index: int, path: str) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yields `(batch index, dense input, copy input)` for each use of a layer within a call.

        The two are the same tensor where the call is not changed.
        """
        self._run_before(index)
        call, other = self.calls[index], self._copy_calls[index]
        for batch in range(self.batches):
            before = self._entering(call, self._dense.layers[path], "dense", batch)
            after = before
            if self.is_changed(index):
                after = self._entering(other, self._copy.layers[path], "copy", batch)
            yield from ((batch, *pair) for pair in zip(before, after, strict=True))

    def _entering(self, call: Call, layer: Layer, side: Side, batch: int) -> list[Tensor]:
        values = self._entering_call(side, call, batch)
        if call.operation is layer:
            return values[:1]
        with recorded(layer) as seen:
            call.run(values)
        return seen.inputs

    def advance(self, index: int) -> None:
        """Goes on behind a call, whose layers stay as they are from now on."""
        if self.is_changed(index):
            self._changed_calls.add(index)
            self._changed_values.update(self.calls[index].outputs)

    def _run_before(self, index: int) -> None:
        """Runs the calls before one that were not run yet."""
        if self._done < index:
            for batch in range(self.batches):
                self._run_batch(batch, index)
            self._done = index

    def _run_batch(self, batch: int, end: int) -> None:
        """Runs the calls left before `end` on a batch, and keeps what is read from there on."""
        fresh: dict[Key, Tensor] = {}
        for index in range(self._done, end):
            call, other = self.calls[index], self._copy_calls[index]
            self._run_call("dense", call, batch, fresh)
            if index in self._changed_calls:
                self._run_call("copy", other, batch, fresh)
            for value in {*call.inputs, *call.outputs}:
                if self._graph.last_uses.get(value, -1) <= index:
                    self._forget(value, batch, fresh)
        for key, tensor in fresh.items():
            self._store.put(key, tensor)

    def _run_call(self, side: Side, call: Call, batch: int, fresh: dict[Key, Tensor]) -> None:
        outputs = call.run(self._entering_call(side, call, batch, fresh))
        for value, tensor in zip(call.outputs, outputs, strict=True):
            fresh[side, value, batch] = tensor

    def _forget(self, value: int, batch: int, fresh: dict[Key, Tensor]) -> None:
        sides: tuple[Side, Side] = ("dense", "copy")
        for side in sides:
            fresh.pop((side, value, batch), None)
            self._store.free((side, value, batch))

    def _entering_call(
        self, side: Side, call: Call, batch: int, fresh: Mapping[Key, Tensor] = MappingProxyType({})
    ) -> list[Tensor]:
        """What a call takes of a batch: fresh values, kept ones and samples."""
        return [self._value(side, value, batch, fresh) for value in call.inputs]

    def _value(self, side: Side, value: int, batch: int, fresh: Mapping[Key, Tensor]) -> Tensor:
        if value in self._samples:
            # Strided, so that data sorted by class does not make one-sided batches.
            rows = self._samples[value][batch :: self.batches]
            return keras.ops.convert_to_tensor(np.ascontiguousarray(rows))
        key: Key = (side if value in self._changed_values else "dense", value, batch)
        return fresh[key] if key in fresh else self._store.get(key)

    def _inside(self, call: Call) -> list[str]:
        if not hasattr(call.operation, "_flatten_layers"):
            return []
        paths = map(self._dense.path_of, layers_inside(call.operation))
        return [path for path in paths if path is not None]


def batch_size(x: list[Array]) -> int:
    """The number of samples in a batch: `BATCH_SIZE`, or more of small ones.

    Args:
      x: samples, one array `[n, ...]` per input; only their shapes are used.
    """
    positions = max(math.prod(array.shape[1:-1]) for array in x)
    return min(MAX_BATCH_SIZE, max(BATCH_SIZE, BATCH_POSITIONS // positions))
