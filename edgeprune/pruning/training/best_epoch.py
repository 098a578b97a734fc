"""Callbacks that watch the epochs of a run: which is best, how far it is, what to resume from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras

from edgeprune.core.errors import InputError, ModelError
from edgeprune.core.progress import Progress
from edgeprune.pruning.training.callbacks import Logs
from edgeprune.pruning.training.checkpoint import FILE, Best, Checkpoint, capture

_FOR_EVER = 10**9
"""Epochs without improvement that no run has."""


class BestEpoch(keras.callbacks.EarlyStopping):  # type: ignore[misc]  # Keras has no types
    """Leaves a model with the weights of its best epoch, and may stop when none gets better.

    Args:
      monitor: name of the metric, as Keras logs it; with `:max` or `:min` behind it if Keras does
        not know which way it gets better.
      first: number of the first epoch that counts, from 0: masks are final at its end.
      patience: epochs without a better one after which training stops; None never stops.
      best: from the run that is resumed.
      checks_early: whether an unknown metric is refused after the first batch; not if other
        callbacks may bring it at the end of an epoch.
    """

    def __init__(
        self,
        monitor: str,
        first: int,
        patience: int | None,
        best: Best | None = None,
        *,
        checks_early: bool = True,
    ) -> None:
        name, _, mode = monitor.partition(":")
        if mode not in ("", "min", "max"):
            raise InputError(
                f"`monitor` is the name of a metric, perhaps with ':max' or ':min' behind it. "
                f"Received: {monitor!r}."
            )
        super().__init__(
            name,
            patience=patience or _FOR_EVER,
            mode=mode or "auto",
            restore_best_weights=True,
            start_from_epoch=first,
        )
        self.best_weights: list[Any] | None = None
        self._resumed = best
        self._checks_early = checks_early

    @property
    def found(self) -> Best | None:
        """The best epoch so far; None before the first that counts."""
        if self.best_weights is None:
            return None
        return Best(self.best_epoch, float(self.best), self.wait, tuple(self.best_weights))

    def on_train_begin(self, logs: Logs = None) -> None:
        """Begins with what a resumed run had found."""
        super().on_train_begin(logs)
        if self._resumed is not None:
            self.best = self._resumed.value
            self.best_epoch = self._resumed.epoch
            self.wait = self._resumed.waited
            self.best_weights = list(self._resumed.weights)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Looks after the first batch whether there is such a metric, before an epoch is spent.

        Raises:
          InputError: there is none, and no other callback could bring it at the end of an epoch.
        """
        del batch
        if self._checks_early and self.monitor.removeprefix("val_") not in (logs or {}):
            raise self._unknown(logs)
        self._checks_early = False

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Compares the epoch with the best.

        Raises:
          InputError: Keras does not know which way the metric gets better.
        """
        try:
            super().on_epoch_end(epoch, logs)
        except ValueError as error:
            raise InputError(
                f"`monitor`: whether '{self.monitor}' is good when it is high or low is not known. "
                f"Write '{self.monitor}:max' or '{self.monitor}:min'."
            ) from error

    def get_monitor_value(self, logs: Logs) -> Any:
        """The metric of the epoch.

        Raises:
          InputError: there is no such metric.
          ModelError: it is not a finite number, since training came apart.
        """
        if self.monitor not in (logs or {}):
            raise self._unknown(logs)
        value = super().get_monitor_value(logs)
        if not math.isfinite(value):
            raise ModelError(
                f"{self.model.name}: expected a finite {self.monitor}. Received: {value}; training "
                "diverged. Give a lower learning rate, and see that the data is scaled as the "
                "model wants it."
            )
        return value

    def _unknown(self, logs: Logs) -> InputError:
        return InputError(
            f"`monitor`: expected one of {', '.join(logs or {})}. Received: {self.monitor!r}. "
            "Metrics are those the model is compiled with; with 'val_' in front if there is "
            "validation data."
        )


class SaveState(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes a checkpoint at the end of each epoch.

    Args:
      folder: is made when the first one is written; its parent must be there.
      run: what the run is, see `checkpoint`.
      best: tells the best weights so far.
    """

    def __init__(self, folder: Path, run: dict[str, Any], best: BestEpoch) -> None:
        super().__init__()
        self._folder = folder
        self._run = run
        self._best = best

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Replaces the checkpoint."""
        del logs
        self._folder.mkdir(exist_ok=True)
        state: Checkpoint = capture(self._run, epoch + 1, self.model, self._best.found)
        state.write(self._folder / FILE)


class ProgressCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells how far training is, and its loss.

    Args:
      progress: is told after every step.
      epochs: in all.
      steps: batches in an epoch.
      first: number of the first epoch of this run, from 0.
    """

    def __init__(self, progress: Progress, epochs: int, steps: int, first: int = 0) -> None:
        super().__init__()
        self.done = first * steps
        self._progress = progress
        self._epochs = epochs
        self._steps = steps
        self._epoch = first
        self._before = self.done

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Notes which epoch it is."""
        del logs
        self._epoch = epoch
        self._before = self.done

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Tells the number of steps done."""
        # Keras counts an execution of several steps as full even when the epoch ends within it.
        self.done = self._before + min(batch + 1, self._steps)
        loss = (logs or {}).get("loss")
        told = "" if loss is None else f", loss {float(loss):.3f}"
        what = f"training, epoch {self._epoch + 1} of {self._epochs}{told}"
        self._progress(what, self.done, self._epochs * self._steps)
