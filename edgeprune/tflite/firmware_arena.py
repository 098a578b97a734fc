"""How much arena firmware has to give TensorFlow Lite Micro for a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeprune.tflite.decode.arena import tensor_bytes
from edgeprune.tflite.decode.choose import arena_of
from edgeprune.tflite.format.graph import Graph

ROOM = 16 * 1024
"""Bytes for what TensorFlow Lite Micro keeps beside planned buffers, where nothing measured it."""
OFFLINE_PLAN = "OfflineMemoryAllocation"
"""The entry of a file's metadata with places in the arena that a compiler chose.

Source: micro_allocation_info.cc in tensorflow/lite/micro of tflite-micro: a version, a subgraph and
a count, then an offset for each tensor, -1 for those that are planned when the file is loaded.
"""
_ALIGNED = 16


@dataclass(frozen=True)
class FirmwareArena:
    """How many bytes of arena a file takes, and what says so."""

    size: int
    """A multiple of 16: TensorFlow Lite Micro leaves what is over unused."""
    said: str


def measured_size(size: int, runtime: str) -> FirmwareArena:
    """An arena of which an interpreter on a computer used so many bytes."""
    said = f"measured by {runtime} on a computer; 32-bit pointers take a little less"
    return FirmwareArena(_rounded(size), said)


def planned_arena(graph: Graph) -> FirmwareArena:
    """An arena that was not measured: planned buffers, and room for the interpreter's own."""
    buffers = _planned_offline(graph) or arena_of(graph.subgraphs[0]).bytes_with(())
    said = (
        f"not measured: {buffers} bytes of planned buffers and {ROOM} for the interpreter's own; "
        "arena_used_bytes() says what is used"
    )
    return FirmwareArena(_rounded(buffers + ROOM), said)


def _planned_offline(graph: Graph) -> int | None:
    """Bytes of the arena where a compiler planned it, as Vela does; None where none did.

    Tensors that it left to the loader, and that are no constants, are counted beside it.
    """
    tensors = graph.subgraphs[0].tensors
    plan = graph.metadata.get(OFFLINE_PLAN, b"")
    if len(plan) != 4 * (3 + len(tensors)):
        return None
    offsets = np.frombuffer(plan, "<i4")[3:].tolist()
    placed = [o + tensor_bytes(t) for o, t in zip(offsets, tensors, strict=True) if o >= 0]
    left = [
        tensor_bytes(t)
        for o, t in zip(offsets, tensors, strict=True)
        if o < 0 and not t.constant and not t.variable
    ]
    return max(placed, default=0) + sum(left)


def _rounded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
