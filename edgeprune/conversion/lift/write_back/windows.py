"""Windows over earlier runs, whose channels go with those of what is new in them.

A file keeps them in variables: in the main subgraph they are read and written, and another one puts
values there at first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.layers import Past
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.core.arrays import Array
from edgeprune.keras_model.layers import Model
from edgeprune.tflite.format.draft import Draft, raw_bytes
from edgeprune.tflite.streams import Window, find_streams

Shape = tuple[int, ...]


def _changed(lifted: Lifted, pruned: Model) -> Iterator[tuple[Window, Array]]:
    """The windows that become smaller, and what is in each at first, in real values."""
    windows = find_streams(lifted.graph).windows
    for name, operator in lifted.operators.items():
        if operator in windows and isinstance(lifted.model.get_layer(name), Past):
            values, window = np.asarray(pruned.get_layer(name).value), windows[operator]
            first = lifted.graph.subgraphs[window.subgraph].tensors[window.first]
            if (1, *values.shape) != first.shape:
                yield window, values


def window_shapes(lifted: Lifted, pruned: Model) -> Mapping[int, Shape]:
    """The new shapes of the tensors in which windows are read and written, where they change."""
    return {
        index: (1, *values.shape)
        for window, values in _changed(lifted, pruned)
        for index in (window.read, window.written)
    }


def put_first_values(draft: Draft, lifted: Lifted, pruned: Model) -> None:
    """Puts what is in smaller windows at first into the subgraph that runs once, in place."""
    for window, values in _changed(lifted, pruned):
        tensor: Any = draft.model.subgraphs[window.subgraph].tensors[window.first]
        known = lifted.graph.subgraphs[window.subgraph].tensors[window.first]
        stored = values[None]
        if known.scales.size:
            stored = np.rint(stored / known.scales[0]) + known.zero_points[0]
        draft.model.buffers.append(schema.BufferT(data=raw_bytes(stored.astype(known.dtype))))
        tensor.buffer = len(draft.model.buffers) - 1
        tensor.shape = np.array(stored.shape, np.int32)
