"""How much arena firmware has to give TensorFlow Lite Micro for a file."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.tflite.decode.choose import arena_of
from edgeprune.tflite.format.graph import Graph

ROOM = 16 * 1024
"""Bytes for what TensorFlow Lite Micro keeps beside planned buffers, where nothing measured it."""
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
    buffers = arena_of(graph.subgraphs[0]).bytes_with(())
    said = (
        f"not measured: {buffers} bytes of planned buffers and {ROOM} for the interpreter's own; "
        "arena_used_bytes() says what is used"
    )
    return FirmwareArena(_rounded(buffers + ROOM), said)


def _rounded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
