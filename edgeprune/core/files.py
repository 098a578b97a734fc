"""Files that edgeprune writes: atomic writes, and an artifact's sizes and hash."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.errors import OutputError, TfliteError


@dataclass(frozen=True)
class Artifact:
    """A .tflite file on disk; sizes in bytes."""

    path: Path
    sha256: str
    size_bytes: int
    gzip_bytes: int
    """Size after gzip at level 6, as in a download or an app bundle, where zeros compress."""


def describe_file(path: Path) -> Artifact:
    """Reads a file's hash and sizes.

    Raises:
      TfliteError: the file does not exist or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TfliteError(
            f"{path}: expected a .tflite file. Received: {error.strerror or error}."
        ) from error
    return Artifact(
        path,
        hashlib.sha256(content).hexdigest(),
        len(content),
        len(gzip.compress(content, compresslevel=6, mtime=0)),
    )


def require_folder(path: Path) -> None:
    """Checks that a file can be written at `path`, before any work on it starts.

    Raises:
      OutputError: its folder is missing or not writable, or `path` is itself a folder.
    """
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(
            f"{path}: the output folder '{folder}' does not exist. Make it first: mkdir -p {folder}"
        )
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path}: the output folder '{folder}' is not writable.")
    if path.is_dir():
        raise OutputError(f"{path}: expected the name of a file to write. Received: a folder.")


def require_keras_name(path: Path) -> None:
    """Checks that a file at `path` can be written as a Keras model.

    Raises:
      OutputError: as `require_folder`, or the name does not end in `.keras`.
    """
    if path.suffix != ".keras":
        raise OutputError(f"{path}: expected an output name ending in .keras.")
    require_folder(path)


def write_file(path: Path, *parts: bytes | memoryview) -> None:
    """Writes a file atomically: to a temporary file beside it, which is then renamed.

    Args:
      path: the file; an existing one is replaced.
      parts: contents, written one after the other.

    Raises:
      OutputError: as `require_folder`, or the disk is full.
    """
    require_folder(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(parts)
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error
