"""Checkpoints of training: everything that a run needs to go on as if nothing had happened.

One `.npz` file, written whole or not at all at the end of each epoch: the variables of the model
(weights, masks, step counters, states of random generators) and of its optimizer, in their order,
the best weights so far, and a description of the run that they belong to.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import DataError, InputError
from edgeprune.core.files import write_file
from edgeprune.keras_model.layers import Model

FILE = "checkpoint.npz"
"""Name of the file within the folder of a run."""
_GROUPS = ("model", "optimizer", "best")


@dataclass(frozen=True)
class Best:
    """The best epoch so far."""

    epoch: int
    """Counted from 0."""
    value: float
    """Of the metric that is watched."""
    waited: int
    """Epochs since."""
    weights: tuple[Array, ...]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run at the end of an epoch."""

    run: dict[str, Any]
    """What the run is: a resumed one must be the same."""
    epochs_done: int
    model: tuple[Array, ...]
    """Variables of the wrapped model, in its order."""
    optimizer: tuple[Array, ...]
    """Variables of the optimizer, in its order."""
    best: Best | None = None

    def write(self, path: Path) -> None:
        """Writes the file; a reader finds the old one or the new one, whole."""
        groups = {
            "model": self.model,
            "optimizer": self.optimizer,
            "best": self.best.weights if self.best else (),
        }
        best = replace(self.best, weights=()).__dict__ if self.best else None
        about = {"run": self.run, "epochs_done": self.epochs_done, "best": best}
        arrays = {
            f"{group}/{index:05}": array
            for group, values in groups.items()
            for index, array in enumerate(values)
        }
        content = io.BytesIO()
        np.savez(content, about=np.array(json.dumps(about)), **arrays)
        write_file(path, content.getvalue())

    def restore(self, model: Model) -> None:
        """Puts the state into a model that is compiled and whose optimizer is built, in place."""
        pairs = ((_state(model), self.model), (model.optimizer.variables, self.optimizer))
        for variables, arrays in pairs:
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)


def remove_checkpoint(folder: Path) -> None:
    """Removes the checkpoint of a run that is over, and its folder if nothing else is in it."""
    (folder / FILE).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def capture(run: dict[str, Any], epochs_done: int, model: Model, best: Best | None) -> Checkpoint:
    """The state of a model in training, copied."""
    return Checkpoint(
        run,
        epochs_done,
        tuple(np.array(variable) for variable in _state(model)),
        tuple(np.array(variable) for variable in model.optimizer.variables),
        best,
    )


def _state(model: Model) -> list[Any]:
    """Variables of a model, random generators included; metrics begin anew with each epoch."""
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for variable in model.variables if id(variable) not in metrics]


def read_checkpoint(path: Path, run: dict[str, Any]) -> Checkpoint:
    """Reads a checkpoint of the same run.

    Args:
      path: as `Checkpoint.write` wrote it.
      run: what is to be gone on with; every entry must be equal.

    Raises:
      DataError: no such file, or not a checkpoint.
      InputError: it belongs to another run; the message names what differs.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            groups = {group: _group(archive, group) for group in _GROUPS}
        best = Best(**{**about["best"], "weights": groups["best"]}) if about["best"] else None
        found = Checkpoint(
            about["run"], about["epochs_done"], groups["model"], groups["optimizer"], best
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected a checkpoint of training. Received: a file that does not read as "
            f"one ({error}). Remove it and start anew."
        ) from error
    differing = [name for name, value in run.items() if found.run.get(name) != value]
    if differing:
        name = differing[0]
        raise InputError(
            f"{path}: a run can only be resumed as it was started. Expected {name} "
            f"{found.run.get(name)}. Received: {run[name]}. Give the options of the first run, or "
            "start anew without resuming."
        )
    return found


def _group(archive: Any, group: str) -> tuple[Array, ...]:
    names = sorted(name for name in archive.files if name.startswith(f"{group}/"))
    return tuple(archive[name] for name in names)
