"""How names, numbers and bytes are written in the text of a graph."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array

_BARE = re.compile(r"[A-Za-z0-9_./:;@-]+")
"""Names that are written without quotes; nothing else in a line looks like one."""
_LONGEST_NAME = 200
_KEPT_OF_A_NAME = 160
_LISTED = 8
"""Values of an array that are written out; longer ones have a digest in their place."""


def name_text(name: str) -> str:
    """A name as it is, or in quotes with JSON's escapes where it has anything unusual in it.

    Of a name of more than 200 characters the first 160 and a digest of all are written.
    """
    if len(name) > _LONGEST_NAME:
        digest = digest_of(name.encode("utf-8", "surrogatepass"))
        return f"{json.dumps(name[:_KEPT_OF_A_NAME])}...{digest}"
    return name if _BARE.fullmatch(name) else json.dumps(name)


def digest_of(content: bytes | Array) -> str:
    """Eight hexadecimal digits that follow from the bytes alone: the beginning of their SHA-256."""
    raw = content if isinstance(content, bytes) else np.ascontiguousarray(content).data
    return "#" + hashlib.sha256(raw).hexdigest()[:8]


def bytes_text(content: bytes | Array) -> str:
    """How many bytes there are, and their digest."""
    return f"{len(content)} bytes {digest_of(content)}"


def number_text(value: Any) -> str:
    """A number in the fewest digits that give it back as float32; whole ones as they are."""
    return str(np.float32(value)) if isinstance(value, (float, np.floating)) else str(value)


def list_text(values: Iterable[Any]) -> str:
    """Values in brackets."""
    return f"[{', '.join(number_text(value) for value in values)}]"


def values_text(values: Array | Sequence[Any]) -> str:
    """Values of an array with one axis: all of a few, else how many, from where to where, digest.

    NaN in them is neither the least nor the greatest.
    """
    array = np.asarray(values)
    if array.size <= _LISTED:
        return list_text(array)
    digest = digest_of(array)
    low, high = (number_text(edge) for edge in (np.fmin.reduce(array), np.fmax.reduce(array)))
    return f"[{array.size} from {low} to {high} {digest}]"
