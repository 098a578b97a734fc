"""Patterns: where zeros must lie for a device's kernels to skip them.

Every pattern is defined on the device matrix `[out, in]` (see `device_matrix`). Patterns are frozen
values in a closed union, so that a `match` over them can be exhaustive. In plans, profiles and
reports a pattern is written as its constructor call, `"Block(2,1)"`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from edgeprune.core.errors import PatternError


def _require_positive(pattern: object, **values: int) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PatternError(
                f"{type(pattern).__name__}: `{name}` must be a positive integer. "
                f"Received: {value!r}."
            )


@dataclass(frozen=True)
class Unstructured:
    """Each weight may be zero on its own; gives the same masks as `Block(1, 1)`."""

    def __str__(self) -> str:
        return "Unstructured"


@dataclass(frozen=True)
class Block:
    """Tiles of `out` rows by `in_` columns of the device matrix are zero or kept as a whole.

    `Block(2, 1)` is two consecutive outputs that share one input: XNNPACK's SpMM kernels load one
    input value for both. `Block(1, 4)` is four consecutive inputs of one output. Tiles start at
    row 0 and column 0; where the matrix is not a multiple of the tile, the tiles at the lower and
    right edge are smaller.
    """

    out: int
    in_: int

    def __post_init__(self) -> None:
        _require_positive(self, out=self.out, in_=self.in_)

    def __str__(self) -> str:
        return f"Block({self.out},{self.in_})"


@dataclass(frozen=True)
class NofM:
    """`n` of every `m` consecutive inputs of an output are kept; the sparsity is `1 - n / m`.

    Groups start at column 0 of the device matrix. Of `r < m` remaining columns `ceil(r * n / m)`
    are kept.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        _require_positive(self, n=self.n, m=self.m)
        if self.n >= self.m:
            raise PatternError(
                f"NofM: `n` weights are kept of `m`, so n must be smaller than m. "
                f"Received: n={self.n}, m={self.m}. For 2:4 write NofM(2,4)."
            )

    @property
    def sparsity(self) -> float:
        """The fraction of zeros that the pattern has by definition."""
        return 1 - self.n / self.m

    def __str__(self) -> str:
        return f"NofM({self.n},{self.m})"


@dataclass(frozen=True)
class Channels:
    """Whole rows of the device matrix are removed; the number kept is a multiple of `multiple`.

    At least `multiple` rows are kept; a matrix with no more rows than that keeps all of them.
    """

    multiple: int

    def __post_init__(self) -> None:
        _require_positive(self, multiple=self.multiple)

    def __str__(self) -> str:
        return f"Channels({self.multiple})"


Pattern: TypeAlias = Unstructured | Block | NofM | Channels

_WRITTEN = re.compile(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*")
_MAX_DIGITS = 9
_FORMS = {
    "Unstructured": (Unstructured, "Unstructured"),
    "Block": (Block, "Block(out,in)"),
    "NofM": (NofM, "NofM(n,m)"),
    "Channels": (Channels, "Channels(multiple)"),
}


def parse_pattern(text: str) -> Pattern:
    """Reads a pattern as `str(pattern)` writes it; spaces do not matter.

    Raises:
      PatternError: not one of the four forms, or numbers that the form does not take.
    """
    forms = ", ".join(form for _, form in _FORMS.values())
    written = _WRITTEN.fullmatch(text)
    if written is None or written[1] not in _FORMS:
        raise PatternError(f"Expected a pattern, one of {forms}. Received: {text!r:.100}.")
    make, form = _FORMS[written[1]]
    arguments = [part.strip() for part in (written[2] or "").split(",") if part.strip()]
    expected = form.count(",") + 1 if "(" in form else 0
    if len(arguments) != expected or not all(
        part.isascii() and part.isdigit() and len(part) <= _MAX_DIGITS for part in arguments
    ):
        raise PatternError(
            f"Expected {form} with whole numbers of at most {_MAX_DIGITS} digits. "
            f"Received: {text!r:.100}."
        )
    pattern: Pattern = make(*map(int, arguments))
    return pattern
