"""Drops tensors and buffers of a draft, and gives all that refer to others the new indices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgeprune.tflite.format.graph import Graph


def drop_tensors(model: Any, subgraph_index: int, dropped: set[int]) -> None:
    """Drops tensors and gives all that refer to others the new indices."""
    subgraph = model.subgraphs[subgraph_index]
    kept = [index for index in range(len(subgraph.tensors)) if index not in dropped]
    # -1 stands for "left out" and stays, as the last entry of the table that it selects.
    new_index = np.full(len(subgraph.tensors) + 1, -1, np.int32)
    new_index[kept] = np.arange(len(kept))
    subgraph.tensors = [subgraph.tensors[index] for index in kept]
    places = {index: place for place, index in enumerate(kept)}
    for details in _details(subgraph):
        details.scales = places.get(details.scales, details.scales)
        details.zeroPoints = places.get(details.zeroPoints, details.zeroPoints)
    for holder, names in _index_fields(subgraph):
        for name in names:
            if getattr(holder, name) is not None:
                setattr(holder, name, new_index[getattr(holder, name)])
    for signature in model.signatureDefs:
        if signature.subgraphIndex == subgraph_index:
            for entry in [*signature.inputs, *signature.outputs]:
                entry.tensorIndex = int(new_index[entry.tensorIndex])


def drop_unread_tensors(model: Any, subgraph_index: int) -> None:
    """Drops the tensors of a subgraph that no operator names, and that are no input or output."""
    subgraph = model.subgraphs[subgraph_index]
    lists = [getattr(holder, name) for holder, names in _index_fields(subgraph) for name in names]
    named = {int(index) for each in lists if each is not None for index in each}
    named |= {index for each in _details(subgraph) for index in (each.scales, each.zeroPoints)}
    drop_tensors(model, subgraph_index, set(range(len(subgraph.tensors))) - named)


def _index_fields(subgraph: Any) -> Iterable[tuple[Any, tuple[str, ...]]]:
    yield subgraph, ("inputs", "outputs")
    for operator in subgraph.operators:
        yield operator, ("inputs", "outputs", "intermediates")


def _details(subgraph: Any) -> Iterable[Any]:
    """Quantization by blocks, whose scales and zero points are tensors of the subgraph."""
    for tensor in subgraph.tensors:
        details = tensor.quantization.details if tensor.quantization is not None else None
        if hasattr(details, "scales"):
            yield details


def named_by_signatures(graph: Graph, subgraph_index: int) -> frozenset[int]:
    """The tensors of a subgraph that a signature gives a name."""
    return frozenset(
        index
        for signature in graph.signatures
        if signature.subgraph == subgraph_index
        for index in (*signature.inputs.values(), *signature.outputs.values())
    )


def drop_unused_buffers(model: Any) -> None:
    """Drops buffers that nothing refers to, except the first, which is empty by convention.

    Old files list the buffers of metadata a second time, by index.
    """
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors]
    holders = [*tensors, *(model.metadata or [])]
    listed = [] if model.metadataBuffer is None else [int(index) for index in model.metadataBuffer]
    known = [index for index in listed if 0 <= index < len(model.buffers)]
    kept = sorted({0, *(holder.buffer for holder in holders), *known})
    model.buffers = [model.buffers[index] for index in kept]
    new_index = {index: i for i, index in enumerate(kept)}
    for holder in holders:
        holder.buffer = new_index[holder.buffer]
    if listed:
        model.metadataBuffer = np.array([new_index[index] for index in known], np.int32)
