"""Callbacks of a training run: keep the best epoch, write checkpoints, report progress."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras

from edgeprune.core.errors import InputError, ModelError
from edgeprune.core.files import make_output_folder
from edgeprune.core.progress import Progress
from edgeprune.pruning.training.callbacks import Logs
from edgeprune.pruning.training.checkpoint import FILE, Best, Checkpoint, capture

_UNLIMITED = 10**9
"""A patience in epochs that no run exhausts."""


_BETTER = {"_loss": "min", "_accuracy": "max"}
"""Ends of what Keras logs of one of several outputs, and which values of it are better."""


def _better(name: str) -> str:
    return next((mode for end, mode in _BETTER.items() if name.endswith(end)), "auto")


class BestEpoch(keras.callbacks.EarlyStopping):  # type: ignore[misc]  # Keras has no types
    """Restores the weights of the best epoch, and stops early if asked to.

    Args:
      monitor: name of the metric, as Keras logs it; with the suffix `:max` or `:min` if Keras does
        not know whether higher or lower is better.
      first: index of the first epoch that counts, from 0: masks are final at its end.
      patience: epochs without improvement after which training stops; None never stops.
      best: the best epoch of the run that is resumed.
      checks_early: whether an unknown metric raises after the first batch; not if other callbacks
        may add it at the end of an epoch.
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
                f"`monitor` is the name of a metric, optionally with the suffix ':max' or ':min'. "
                f"Received: {monitor!r}."
            )
        super().__init__(
            name,
            patience=patience or _UNLIMITED,
            mode=mode or _better(name),
            restore_best_weights=True,
            start_from_epoch=first,
        )
        self.best_weights: list[Any] | None = None
        self._resumed = best
        self._checks_early = checks_early

    @property
    def found(self) -> Best | None:
        """The best epoch so far; None before the end of the first that counts."""
        if self.best_weights is None:
            return None
        return Best(self.best_epoch, float(self.best), self.wait, tuple(self.best_weights))

    def on_train_begin(self, logs: Logs = None) -> None:
        """Starts from the best epoch of a resumed run."""
        super().on_train_begin(logs)
        if self._resumed is not None:
            self.best = self._resumed.value
            self.best_epoch = self._resumed.epoch
            self.wait = self._resumed.waited
            self.best_weights = list(self._resumed.weights)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Checks after the first batch that the metric exists, before an epoch is spent.

        Raises:
          InputError: it does not, and no other callback could add it at the end of an epoch.
        """
        del batch
        if self._checks_early and self.monitor.removeprefix("val_") not in (logs or {}):
            raise self._unknown(logs)
        self._checks_early = False

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Compares the epoch with the best.

        Raises:
          InputError: Keras does not know whether a higher or a lower value is better.
        """
        try:
            super().on_epoch_end(epoch, logs)
        except ValueError as error:
            raise InputError(
                f"`monitor`: it is not known whether a high or a low '{self.monitor}' is better. "
                f"Write '{self.monitor}:max' or '{self.monitor}:min'."
            ) from error

    def get_monitor_value(self, logs: Logs) -> Any:
        """The metric of the epoch.

        Raises:
          InputError: there is no such metric.
          ModelError: it is not finite, since training diverged.
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
      folder: folder of the checkpoint, created with the first one; its parent must exist.
      run: description of the run, see `Checkpoint`.
      best: the callback that keeps the best epoch.
    """

    def __init__(self, folder: Path, run: dict[str, Any], best: BestEpoch) -> None:
        super().__init__()
        self._folder = folder
        self._run = run
        self._best = best

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Replaces the checkpoint."""
        del logs
        make_output_folder(self._folder)
        state: Checkpoint = capture(self._run, epoch + 1, self.model, self._best.found)
        state.write(self._folder / FILE)


class ProgressCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports the progress of training, and its loss.

    Args:
      progress: called after every step.
      epochs: total number of epochs.
      steps: batches in an epoch.
      first: index of the first epoch of this run, from 0.
    """

    def __init__(self, progress: Progress, epochs: int, steps: int, first: int = 0) -> None:
        super().__init__()
        self.done = first * steps
        self._progress = progress
        self._epochs = epochs
        self._steps = steps
        self._epoch = first
        self._before = self.done

    def on_train_begin(self, logs: Logs = None) -> None:
        """Says what Keras does before the first step, which may take a minute."""
        del logs
        self._progress("compiling the training step", self.done, self._epochs * self._steps)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Records the index of the epoch."""
        del logs
        self._epoch = epoch
        self._before = self.done

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Reports the number of steps done."""
        # Keras counts an execution of several steps as full even when the epoch ends within it.
        self.done = self._before + min(batch + 1, self._steps)
        loss = (logs or {}).get("loss")
        told = "" if loss is None else f", loss {float(loss):.3f}"
        what = f"training, epoch {self._epoch + 1} of {self._epochs}{told}"
        self._progress(what, self.done, self._epochs * self._steps)
