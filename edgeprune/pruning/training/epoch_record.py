"""What training tells at the end of each epoch, for curves of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.plan import LayerSparsity
from edgeprune.keras_model.layers import Model
from edgeprune.pruning.training.wrapper import wrappers


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training, as it ended."""

    epoch: int
    """Counted from 1, those before an interruption included."""
    metrics: Mapping[str, float]
    """As Keras logs them: `loss`, `val_loss` with validation data, and the model's own."""
    masks: tuple[LayerSparsity, ...]
    """What each mask sets to zero; empty where none is trained with."""
    moved: float | None
    """The fraction of their weights that masks took or gave back since the epoch before, or since
    training began; None without masks."""

    @property
    def sparsity(self) -> float | None:
        """The fraction of zeros over all kernels with a mask; None where there are none."""
        weights = sum(mask.weights for mask in self.masks)
        return sum(mask.zeros for mask in self.masks) / weights if weights else None


class RecordEpochs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Tells a function of every epoch at its end.

    Args:
      wrapped: the model whose masks are looked at.
      tell: gets the record.
    """

    def __init__(self, wrapped: Model, tell: Callable[[EpochRecord], None]) -> None:
        super().__init__()
        self._wrapped = wrapped
        self._tell = tell

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Keeps the first masks."""
        del logs
        self._before = self._masks()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Makes the record of an epoch."""
        before, self._before = self._before, self._masks()
        pairs = zip(before, self._before, strict=True)
        changed = sum(int(np.count_nonzero(old != new)) for (_, old), (_, new) in pairs)
        weights = sum(mask.size for _, mask in self._before)
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        rows = tuple(
            LayerSparsity(path, mask.size, mask.size - int(np.count_nonzero(mask)))
            for path, mask in self._before
        )
        self._tell(EpochRecord(epoch + 1, metrics, rows, changed / weights if weights else None))

    def _masks(self) -> list[tuple[str, Array]]:
        """Path and values of every mask."""
        return [
            (kernel.path, np.array(kernel.mask))
            for wrapper in wrappers(self._wrapped)
            for kernel in wrapper.masked_kernels
        ]
