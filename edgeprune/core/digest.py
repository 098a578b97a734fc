"""SHA-256 of arrays and of values as JSON, by which equal content is known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgeprune.core.arrays import Array

Fingerprint: TypeAlias = Mapping[str, str]
"""Digests of what something is made from, by what a person would call it."""


def of_parts(parts: Iterable[Any]) -> str:
    """The digest of bytes, one part after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def of_arrays(arrays: Iterable[Array]) -> str:
    """The digest of arrays in order: dtype, shape and every value."""
    return of_parts(
        part
        for array in arrays
        for part in (f"{array.dtype}{array.shape}".encode(), np.ascontiguousarray(array).data)
    )


def of_json(content: Any) -> str:
    """The digest of a value that can be written as JSON, whatever the order of its keys."""
    return of_parts([json.dumps(content, sort_keys=True).encode()])


def of_file(path: Path) -> str | None:
    """The digest of a file's bytes; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return of_parts(iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return None
