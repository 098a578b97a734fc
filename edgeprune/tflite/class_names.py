"""The names of classes in a .tflite file, as the TensorFlow Lite Task libraries keep them.

A flatbuffer in the metadata entry TFLITE_METADATA says of every input and output what it is; the
file `labels.txt`, which it names for the output, lies in a ZIP archive behind the model, not
compressed.

Source: `metadata_schema.fbs` of tensorflow/tflite-support, 1.5.0 ("M001"), and its writers.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.scaling import ChannelScale, ScaleBy
from edgeprune.tflite.format.draft import Draft

ENTRY = "TFLITE_METADATA"
LABELS = "labels.txt"
_IDENTIFIER = b"M001"
_PARSER = "1.0.0"
"""The oldest version of the readers that knows everything used here."""
_NORMALIZATION = 1
_IMAGE, _RGB, _GREY = 2, 1, 2
_DESCRIPTION, _AXIS_LABELS = 1, 2
_MOST_BYTES = 1 << 20
"""Largest label file that is read; a million classes have no snippet."""
_WHEN = (1980, 1, 1, 0, 0, 0)
"""The time of the label file, so that the same model gives the same bytes."""


@dataclass(frozen=True)
class Port:
    """What is said of an input or output."""

    name: str
    channels: int | None = None
    """Channels of an image: 1 or 3."""
    scale: ScaleBy | None = None
    """By what values from 0 to 255 become what the file takes."""


def with_class_names(
    draft: Draft, names: Sequence[str], inputs: Sequence[Port], outputs: Sequence[Port]
) -> Draft:
    """Puts the names of classes into a file; one that has such metadata already keeps its own.

    A file of one score for two classes gets the names as a description, since readers expect a
    label for each score.

    Args:
      draft: the file; its model is changed in place.
      names: of the classes, in the order of their numbers.
      inputs: in the order of the main subgraph's.
      outputs: in the order of the main subgraph's; the first gives the classes.
    """
    if any(item.name in (ENTRY, ENTRY.encode()) for item in draft.model.metadata or []):
        return draft
    scores = draft.graph.subgraphs[0].tensors[draft.graph.subgraphs[0].outputs[0]].shape[-1]
    kind = _AXIS_LABELS if scores == len(names) else _DESCRIPTION
    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = np.frombuffer(_flatbuffer(inputs, outputs, kind), np.uint8)
    draft.model.buffers.append(buffer)
    entry.name, entry.buffer = ENTRY, len(draft.model.buffers) - 1
    draft.model.metadata = [*(draft.model.metadata or []), entry]
    return replace(draft, appended=_archive(names))


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names in the label file behind a model, by number; empty where there is none to read.

    Args:
      path: a .tflite file.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(LABELS) as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return ()
    text = content.decode("utf-8", "replace")
    return tuple(text.splitlines()) if len(content) <= _MOST_BYTES else ()


def _archive(names: Sequence[str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        lines = (" ".join(name.splitlines()) for name in names)
        text = "".join(f"{line}\n" for line in lines)
        archive.writestr(zipfile.ZipInfo(LABELS, _WHEN), text.encode("utf-8", "replace"))
    return content.getvalue()


def _flatbuffer(inputs: Sequence[Port], outputs: Sequence[Port], kind: int) -> bytes:
    """ModelMetadata with one SubGraphMetadata."""
    builder = flatbuffers.Builder(1024)
    labels = _table(builder, 5, {0: builder.CreateString(LABELS)}, {2: kind})
    made_in = [_tensor(builder, port) for port in inputs]
    made_out = [
        _tensor(builder, port, [] if place else [labels]) for place, port in enumerate(outputs)
    ]
    parts = {2: _vector(builder, made_in), 3: _vector(builder, made_out)}
    subgraph = _table(builder, 9, parts)
    version = builder.CreateString(_PARSER)
    model = _table(builder, 8, {3: _vector(builder, [subgraph]), 7: version})
    builder.Finish(model, _IDENTIFIER)
    return bytes(builder.Output())


def _tensor(builder: Any, port: Port, files: Sequence[int] = ()) -> int:
    """TensorMetadata: name, what it holds, how it is made, and the files that belong to it."""
    parts = {0: builder.CreateString(port.name)}
    if port.channels is not None:
        image = _table(builder, 2, {}, {0: _GREY if port.channels == 1 else _RGB})
        parts[3] = _table(builder, 3, {1: image}, {0: _IMAGE})
    if port.scale is not None:
        parts[4] = _vector(builder, [_normalization(builder, port.scale)])
    if files:
        parts[6] = _vector(builder, files)
    return _table(builder, 7, parts)


def _normalization(builder: Any, scale: ScaleBy) -> int:
    """ProcessUnit with NormalizationOptions."""
    parts = (scale.mean, scale.std) if isinstance(scale, ChannelScale) else scale
    options = {
        place: builder.CreateNumpyVector(np.asarray(values, np.float32).reshape(-1))
        for place, values in enumerate(parts)
    }
    return _table(builder, 2, {1: _table(builder, 2, options)}, {0: _NORMALIZATION})


def _table(
    builder: Any, fields: int, offsets: dict[int, int], small: dict[int, int] | None = None
) -> int:
    """A table from the offsets of its parts and its fields of one byte, by their numbers."""
    builder.StartObject(fields)
    for place, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(place, offset, 0)
    for place, value in (small or {}).items():
        builder.PrependUint8Slot(place, value, 0)
    end: int = builder.EndObject()
    return end


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    end: int = builder.EndVector()
    return end
