"""What a file may cost, in accuracy and otherwise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
