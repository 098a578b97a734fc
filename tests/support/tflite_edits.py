"""Changes fields of .tflite files by the schema: well-formed tables with other contents."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_NUMBERS = (-(2**31), -2, -1, 0, 1, 2, 3, 4, 5, 9, 64, 127, 255, 65535, 2**31 - 1)
_REFUSED = (struct.error, TypeError, ValueError, OverflowError, AttributeError, IndexError)
"""What the packer raises for fields that no file can hold."""


def edit(model: bytes, seed: int) -> bytes:
    """Returns the model with one to three fields changed, chosen by the seed."""
    rng = random.Random(seed)  # noqa: S311
    for _ in range(20):
        tree = schema.ModelT.InitFromPackedBuf(model)
        for _ in range(rng.choice((1, 1, 2, 3))):
            holder, name = rng.choice(list(_fields(tree)))
            setattr(holder, name, _other(getattr(holder, name), rng))
        builder = flatbuffers.Builder()
        try:
            builder.Finish(tree.Pack(builder), b"TFL3")
        except _REFUSED:
            continue
        return bytes(builder.Output())
    return model


def _fields(node: Any) -> Iterator[tuple[Any, str]]:
    """Every field with a value below a table; weights, which are most bytes, once each."""
    for name, value in vars(node).items():
        if value is None:
            continue
        yield node, name
        for child in value if isinstance(value, list) else [value]:
            if hasattr(child, "__dict__"):
                yield from _fields(child)


def _other(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, rng.choice(_NUMBERS)))
    if isinstance(value, float):
        return rng.choice((0.0, -value, value * 3, float("nan"), float("inf"), 1e38))
    if isinstance(value, np.ndarray):
        return _other_array(value, rng)
    if isinstance(value, list):
        return _other_list(value, rng)
    if isinstance(value, bytes):
        return rng.choice((b"", value * 2, b"\x1b[31m", value[:-1]))
    return None


def _other_array(array: Any, rng: random.Random) -> Any:
    if not array.size:
        return np.zeros(1, array.dtype)
    changed = array.copy()
    kind = rng.randrange(5)
    if kind == 0:
        return changed[:-1]
    if kind == 1:
        return np.append(changed, changed[-1:])
    at = rng.randrange(array.size)
    number = _other(changed[at].item(), rng)
    if np.issubdtype(array.dtype, np.integer):
        limits = np.iinfo(array.dtype)
        number = min(max(number, limits.min), limits.max)
    changed[at] = number
    return changed


def _other_list(items: list[Any], rng: random.Random) -> list[Any]:
    if not items:
        return items
    changed = list(items)
    one, other = rng.randrange(len(items)), rng.randrange(len(items))
    kind = rng.randrange(3)
    if kind == 0:
        changed[one], changed[other] = changed[other], changed[one]
    elif kind == 1:
        del changed[one]
    else:
        changed.insert(other, changed[one])
    return changed
