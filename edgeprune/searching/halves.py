"""Two halves of the labelled samples: one selects among candidates, the other reports.

A sample's half follows from a hash of its content alone. So equal samples lie in one half, in
whatever order and on whatever machine they are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from edgeprune.core.data import Data, Rows
from edgeprune.core.errors import DataError
from edgeprune.core.sources import Table

Labelled: TypeAlias = Data | Table
"""Samples of which any rows can be read."""


def in_halves(samples: Labelled) -> tuple[Labelled, Labelled]:
    """The samples that select, and those that report.

    Raises:
      DataError: one half would be empty.
    """
    first = np.array([_is_first(samples, row) for row in range(len(samples))], bool)
    selecting, reporting = np.flatnonzero(first), np.flatnonzero(~first)
    if not len(selecting) or not len(reporting):
        raise DataError(
            "Expected enough different labelled samples for two halves, one to select by and one "
            f"to report on. Received: {len(samples)}. Give more, best a few thousand, as x_test "
            "and y_test in the data or with --validation-data."
        )
    return samples.only(selecting), samples.only(reporting)


def _is_first(samples: Labelled, row: int) -> bool:
    digest = hashlib.sha256()
    for part in _content(samples, np.array([row])):
        digest.update(part)
    return digest.digest()[0] % 2 == 0


def _content(samples: Labelled, rows: Rows) -> Iterator[Any]:
    if isinstance(samples, Table):
        yield from samples.content(rows)
        return
    for array in samples.x:
        chosen = np.ascontiguousarray(array[rows])
        yield f"{chosen.dtype}{chosen.shape}".encode()
        yield chosen.data
