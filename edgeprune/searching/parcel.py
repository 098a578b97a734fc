"""A file with its manifest as bytes, for workers on other machines."""

from __future__ import annotations

import json
from pathlib import Path

from edgeprune.core.files import make_output_folder, write_file
from edgeprune.tflite.metadata import manifest_path


def packed(path: Path) -> bytes:
    """A file behind its manifest, which has its length in front."""
    beside = manifest_path(path)
    manifest = beside.read_bytes() if beside.exists() else b""
    return json.dumps(len(manifest)).encode() + b"\n" + manifest + path.read_bytes()


def unpack(content: bytes, path: Path) -> None:
    """Writes what `packed` made; the file last, since it says that both are there.

    Raises:
      OutputError: it cannot be written.
    """
    head, _, rest = content.partition(b"\n")
    length = int(head)
    path.parent.mkdir(parents=True, exist_ok=True)
    make_output_folder(path.parent)
    if length:
        write_file(manifest_path(path), rest[:length])
    write_file(path, rest[length:])
