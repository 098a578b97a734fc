"""What a file may cost, in accuracy and otherwise."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from edgeprune.core.errors import InputError


@dataclass(frozen=True)
class Budget:
    """Limits that a file has to keep; those that are None are not asked for."""

    max_drop: float | None = None
    """Accuracy lost against the dense float model, as a fraction; for a metric, in its unit."""
    min_accuracy: float | None = None
    max_bytes: int | None = None
    max_cost: float | None = None
    """In the unit of the front."""

    @property
    def needs_labels(self) -> bool:
        """Whether accuracy has to be known."""
        return self.max_drop is not None or self.min_accuracy is not None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def require_drop(drop: float | None, *, fraction: bool = True) -> None:
    """Checks the most that may be lost against the dense float model.

    Args:
      drop: a fraction of samples, or in the unit of a metric; None if nothing is asked for.
      fraction: whether it is a fraction of samples.

    Raises:
      InputError: it is out of range.
    """
    if drop is not None and not 0 <= drop < (1 if fraction else math.inf):
        of = (
            "a fraction of samples in [0, 1), such as 0.01 for one point"
            if fraction
            else "a finite number, 0 or above"
        )
        raise InputError(f"`max_drop` is {of}. Received: {drop}.")
