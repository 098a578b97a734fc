"""Unpacks weights of a .tflite file that are packed behind DECODE operators."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.decode_operator import PackedTensor, packed_tensors
from edgeprune.tflite.format.draft import Draft, raw_bytes
from edgeprune.tflite.format.draft_indices import (
    drop_tensors,
    drop_unused_buffers,
    named_by_signatures,
)


def unpack_weights(draft: Draft) -> tuple[str, ...]:
    """Unpacks every tensor whose coding is read here, in all subgraphs; edits `draft.model`.

    A DECODE is dropped when all of its outputs are unpacked. Outputs that are one and the same
    become one tensor again.

    Returns:
      The names of the tensors, in the order of their operators.
    """
    return tuple(
        name for index in range(len(draft.graph.subgraphs)) for name in _unpack(draft, index)
    )


def _unpack(draft: Draft, index: int) -> list[str]:
    subgraph, before = draft.model.subgraphs[index], draft.graph.subgraphs[index]
    found = list(packed_tensors(before))
    unread = {each.operator.index for each in found if not each.readable}
    whole = {each.operator.index: each.operator.index not in unread for each in found}
    chosen = [each for each in found if whole[each.operator.index]]
    if not chosen:
        return []
    ends = before.ends | named_by_signatures(draft.graph, index)
    others = (o for o in before.operators if not whole.get(o.index, False))
    stays = ends | {i for operator in others for i in operator.inputs}
    kept: dict[tuple[Hashable, ...], int] = {}
    renamed: dict[int, int] = {}
    for each in chosen:
        if each.key in kept and each.tensor.index not in ends:
            renamed[each.tensor.index] = kept[each.key]
        else:
            kept.setdefault(each.key, each.tensor.index)
            _fill(draft, subgraph, each, in_place=each.mask.index not in stays)
    _read_instead(subgraph, renamed)
    subgraph.operators = [o for i, o in enumerate(subgraph.operators) if not whole.get(i, False)]
    constants = {tensor.index for each in chosen for tensor in (each.mask, each.ancillary)}
    drop_tensors(draft.model, index, (constants - stays) | {*renamed})
    drop_unused_buffers(draft.model)
    return [each.tensor.name for each in chosen if each.tensor.index not in renamed]


def _fill(draft: Draft, subgraph: Any, each: PackedTensor, *, in_place: bool) -> None:
    """Gives a tensor its values, in the mask's buffer unless something else uses that too."""
    buffer = each.mask.buffer
    if not in_place or draft.graph.buffer_owners[buffer] > 1:
        draft.model.buffers.append(schema.BufferT())
        buffer = len(draft.model.buffers) - 1
    draft.model.buffers[buffer].data = raw_bytes(each.values())
    subgraph.tensors[each.tensor.index].buffer = buffer


def _read_instead(subgraph: Any, renamed: dict[int, int]) -> None:
    """Lets operators read other tensors."""
    for operator in subgraph.operators:
        if renamed and operator.inputs is not None:
            inputs = [renamed.get(int(index), int(index)) for index in operator.inputs]
            operator.inputs = np.array(inputs, np.int32)
