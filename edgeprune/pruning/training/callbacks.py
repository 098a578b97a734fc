"""Callbacks of training with wrappers: one updates the masks, one logs them to TensorBoard."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from edgeprune.pruning.training.tensorboard import require_tensorboard
from edgeprune.pruning.training.wrapper import wrappers

Logs = dict[str, Any] | None


class UpdatePruningStep(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Counts training steps for every wrapper of a model and updates masks when they are due.

    A step is a batch. The count is kept in the wrappers, so it continues after saving and loading.
    In a custom training loop, call `set_model(model)` and `on_train_begin()`, then
    `on_train_batch_begin(batch)` before each batch and `on_epoch_end(epoch)` after each epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._first_batch = 0
        self._begun = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        """Computes the first masks, if the schedule begins at step 0."""
        del logs
        self._begun = 0
        self._wrappers = wrappers(self.model)
        if not self._wrappers:
            warnings.warn(
                f"{self.model.name}: expected a model with pruning wrappers, as "
                "prune_low_magnitude returns it. Received: a plain one, of which nothing is "
                "pruned.",
                stacklevel=2,
            )
        for wrapper in self._wrappers:
            wrapper.begin()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Records that a step starts; counts the one before if its end was not reported."""
        del logs
        self._count()
        self._first_batch, self._begun = batch, 1

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Counts the steps of an execution: one, or up to `steps_per_execution`."""
        del logs
        # Keras counts an execution as full even when the epoch ends within it.
        steps = (self.params or {}).get("steps")
        last = batch if steps is None else min(batch, steps - 1)
        self._begun = last - self._first_batch + 1
        self._count()

    def on_epoch_end(self, batch: int, logs: Logs = None) -> None:
        """Sets pruned weights to zero where the sparsity is final.

        The epoch's index is called `batch` as in TensorFlow Model Optimization, where custom loops
        pass it by that name.
        """
        del batch, logs
        self._count()
        for wrapper in self._wrappers:
            wrapper.settle()

    def on_train_end(self, logs: Logs = None) -> None:
        """Sets the zeros again, since other callbacks may have restored earlier weights."""
        self.on_epoch_end(0, logs)

    def _count(self) -> None:
        steps, self._begun = self._begun, 0
        if steps:
            for wrapper in self._wrappers:
                wrapper.advance(steps)


class PruningSummaries(keras.callbacks.TensorBoard):  # type: ignore[misc]  # Keras has no types
    """Writes sparsity and threshold of every mask to TensorBoard at the end of each epoch.

    The threshold is the smallest magnitude that is kept. The values are logged by training step,
    in a run called `pruning` beside those that `keras.callbacks.TensorBoard` writes.

    Args:
      log_dir: log folder of TensorBoard.
      **kwargs: arguments of `keras.callbacks.TensorBoard`.

    Raises:
      InputError: the package tensorboard is not installed.
    """

    def __init__(self, log_dir: str | os.PathLike[str], **kwargs: Any) -> None:
        require_tensorboard()
        super().__init__(log_dir=os.fspath(log_dir), **kwargs)
        self._pruning_writer = tf.summary.create_file_writer(str(Path(log_dir) / "pruning"))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Writes the current values."""
        super().on_epoch_end(epoch, logs)
        with self._pruning_writer.as_default():
            for wrapper in wrappers(self.model):
                step = wrapper.steps_done
                for entry in wrapper.masked_kernels:
                    tf.summary.scalar(f"{entry.path}/sparsity", entry.sparsity, step)
                    tf.summary.scalar(f"{entry.path}/threshold", entry.threshold, step)
        self._pruning_writer.flush()
