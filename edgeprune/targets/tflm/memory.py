"""What TFLite Micro takes of a microcontroller: arena by the interpreter, flash with its code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeprune.targets.child import Reply
from edgeprune.tflite.format.decode_operator import holds_packed
from edgeprune.tflite.format.graph import Graph

if TYPE_CHECKING:
    from edgeprune.profiles.facts import Limit
    from edgeprune.profiles.profile import DeviceProfile

PART_BYTES = {
    "total": "arena_bytes",
    "head": "arena_head_bytes",
    "tail": "arena_tail_bytes",
    "TfLiteEvalTensor data": "arena_eval_tensors_bytes",
    "Persistent TfLiteTensor data": "arena_persistent_tensors_bytes",
    "Persistent TfLiteTensor quantization data": "arena_quantization_bytes",
    "Persistent buffer data": "arena_persistent_buffers_bytes",
    "TfLiteTensor variable buffer data": "arena_variables_bytes",
    "NodeAndRegistration struct": "arena_nodes_bytes",
    "Operator runtime data": "arena_operators_bytes",
    "Persistent compression data": "arena_compression_bytes",
}
"""Keys of `Measurement.memory`, by the names that the recording allocator gives its parts.

The head holds activations and scratch buffers, which take turns; the tail what stays, of which the
other names are parts. Source: tensorflow/lite/micro/recording_micro_allocator.cc of tflite-micro.
"""


def memory_of(reply: Reply, graph: Graph, profile: DeviceProfile) -> dict[str, int]:
    """Bytes by the keys of `Measurement.memory`: parts of the arena, flash, and code in it.

    Flash is the file and as much of the firmware's code as the profile knows; `code_bytes` is left
    out where it knows none.
    """
    found = reply.facts["allocations"]
    memory = {key: found[name] for name, key in PART_BYTES.items() if name in found}
    known = [limit.value for _, limit in _code(graph, profile) if limit.value is not None]
    code = {"code_bytes": sum(known)} if known else {}
    return {**memory, **code, "flash_bytes": graph.size_bytes + sum(known)}


def code_words(graph: Graph, profile: DeviceProfile) -> str:
    """What beside the model is counted as flash, and what is not since it is not known."""
    code = list(_code(graph, profile))
    known = "".join(
        f" and {limit.value} bytes of {what} ({limit.source})"
        for what, limit in code
        if limit.value is not None
    )
    unknown = "".join(
        f"; what the {what} takes is not known ({limit.source})"
        for what, limit in code
        if limit.value is None
    )
    without = "" if code else "; the profile does not say what the code takes"
    return f"{known or ' alone'}{unknown}{without}"


def _code(graph: Graph, profile: DeviceProfile) -> Iterator[tuple[str, Limit]]:
    """What runs a file, and what the profile knows of its size."""
    if profile.tflm is not None:
        yield "code", profile.tflm.code_bytes
    if profile.packing is not None and holds_packed(graph):
        yield "code of DECODE", profile.packing.code_bytes
