"""Takes out of a .tflite file what costs flash and computes nothing; outputs stay bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeprune.tflite.format.draft import DenseLater, empty_buffer
from edgeprune.tflite.format.draft_indices import drop_unused_buffers
from edgeprune.tflite.metadata import METADATA_NAME, drop_metadata


@dataclass(frozen=True)
class Slimming:
    """What is left out: the names of tensors, the manifest inside the file.

    `merge` says whether constants with equal bytes share them.
    """

    names: bool = False
    manifest: bool = False
    merge: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is asked for."""
        return self.names or self.manifest or self.merge


KEEP_ALL = Slimming()


def slim(model: Any, wanted: Slimming) -> None:
    """Leaves out of a `ModelT` what is not wanted; edits it in place.

    Inputs and outputs keep their names in the signature, by which callers find them.
    """
    if wanted.names:
        for subgraph in model.subgraphs:
            for tensor in subgraph.tensors:
                tensor.name = None
    if wanted.manifest:
        drop_metadata(model, METADATA_NAME)
    if wanted.merge:
        merge_buffers(model)
    if wanted.changes:
        drop_unused_buffers(model)


def merge_buffers(model: Any) -> None:
    """Lets tensors with equal bytes share a buffer, and those without any the empty one.

    Variables keep buffers of their own, and metadata too.
    """
    empty = empty_buffer(model)
    first: dict[bytes, int] = {}
    for tensor in (tensor for subgraph in model.subgraphs for tensor in subgraph.tensors):
        data = model.buffers[tensor.buffer].data
        if tensor.isVariable or isinstance(data, DenseLater):
            continue
        if data is None or not len(data):
            tensor.buffer = empty
        else:
            tensor.buffer = first.setdefault(bytes(data), tensor.buffer)
