"""Checkpoints of training: everything that a run needs to resume exactly.

One `.npz` file, written atomically at the end of each epoch: the variables of the model (weights,
masks, step counters, states of random generators) and of its optimizer, in their order, the best
weights so far, and a description of the run.
"""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import DataError, InputError
from edgeprune.core.files import write_file
from edgeprune.core.npz import DAMAGE
from edgeprune.keras_model.layers import Model

FILE = "checkpoint.npz"
"""Name of the file within the folder of a run."""
_GROUPS = ("model", "optimizer", "best")


@dataclass(frozen=True)
class Best:
    """The best epoch so far."""

    epoch: int
    """Index of the epoch, from 0."""
    value: float
    """Value of the monitored metric."""
    waited: int
    """Number of epochs since."""
    weights: tuple[Array, ...]
    """Weights of the model, in its order."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run at the end of an epoch."""

    run: dict[str, Any]
    """Description of the run by name; a resumed run must have the same."""
    epochs_done: int
    model: tuple[Array, ...]
    """Variables of the wrapped model, in its order."""
    optimizer: tuple[Array, ...]
    """Variables of the optimizer, in its order."""
    best: Best | None = None

    def write(self, path: Path) -> None:
        """Writes the file atomically, replacing an earlier one.

        Raises:
          OutputError: the file cannot be written.
        """
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

    def restore(self, model: Model, folder: Path | None) -> None:
        """Restores the state of a compiled model whose optimizer is built, in place.

        Args:
          model: as it was when the state was captured.
          folder: where the checkpoint was read, for the message.

        Raises:
          DataError: an array is not that of a variable of the model or its optimizer.
        """
        state, optimizer = _state(model), list(model.optimizer.variables)
        groups = [("model", state, self.model), ("optimizer", optimizer, self.optimizer)]
        if self.best:
            groups.append(("best", model.weights, self.best.weights))
        for name, variables, arrays in groups:
            wanted = [tuple(variable.shape) for variable in variables]
            found = [array.shape for array in arrays]
            if wanted != found:
                raise _damaged(
                    folder, f"arrays '{name}' of shapes {found[:4]}..., not {wanted[:4]}..."
                )
        for _, variables, arrays in groups[:2]:
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)


def remove_checkpoint(folder: Path) -> None:
    """Removes the checkpoint of a finished run, and its folder if that is then empty."""
    (folder / FILE).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def capture(run: dict[str, Any], epochs_done: int, model: Model, best: Best | None) -> Checkpoint:
    """Copies the state of a model in training.

    Args:
      run: description of the run.
      epochs_done: number of epochs done.
      model: the compiled model, with its optimizer built.
      best: the best epoch so far.
    """
    return Checkpoint(
        run,
        epochs_done,
        tuple(np.asarray(variable).copy() for variable in _state(model)),
        tuple(np.asarray(variable).copy() for variable in model.optimizer.variables),
        best,
    )


def _state(model: Model) -> list[Any]:
    """Variables of a model, random generators included; metrics are reset with each epoch."""
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for variable in model.variables if id(variable) not in metrics]


def read_checkpoint(path: Path, run: dict[str, Any]) -> Checkpoint:
    """Reads a checkpoint of the same run.

    Args:
      path: as `Checkpoint.write` wrote it.
      run: description of the run to resume; every entry must be equal.

    Raises:
      DataError: the file does not exist, is not a checkpoint, or holds what none can hold.
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
    except DAMAGE as error:
        raise _damaged(path, f"a file that does not read as one ({error})") from error
    if not isinstance(found.run, dict):
        raise _damaged(path, f"a run that is a {type(found.run).__name__}")
    differing = [name for name, value in run.items() if found.run.get(name) != value]
    if differing:
        name = differing[0]
        raise InputError(
            f"{path}: a run can only be resumed as it was started. Expected {name} "
            f"{_short(found.run.get(name))}. Received: {_short(run[name])}. Give the options and "
            "files of the first run, or start again without resuming."
        )
    _require_sound(path, found, run.get("epochs"))
    return found


def _short(value: Any) -> str:
    """A value for a message; of a digest its beginning."""
    text = str(value)
    return f"SHA-256 {text[:8]}..." if re.fullmatch("[0-9a-f]{64}", text) else text


def _damaged(path: Path | None, received: str) -> DataError:
    return DataError(
        f"{path}: expected a checkpoint of training. Received: {received}. Remove it and start "
        "again."
    )


def _require_sound(path: Path, found: Checkpoint, epochs: int | None) -> None:
    """Refuses a checkpoint whose numbers no training can have written.

    Raises:
      DataError: counts out of range, or weights that are not finite.
    """
    done, best = found.epochs_done, found.best
    if type(done) is not int or done < 1 or (epochs is not None and done > epochs):
        raise _damaged(path, f"{done!r} epochs done, of {epochs}")
    if best is not None:
        counts = type(best.epoch) is int and type(best.waited) is int
        if not counts or not 0 <= best.epoch < done or not 0 <= best.waited < done:
            raise _damaged(path, f"a best epoch {best.epoch!r}, {best.waited!r} epochs before")
        if type(best.value) is not float or not math.isfinite(best.value):
            raise _damaged(path, f"the value {best.value!r} of the best epoch")
    for array in (*found.model, *found.optimizer, *(best.weights if best else ())):
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            raise _damaged(path, f"{array.dtype} values that are not finite numbers")


def _group(archive: Any, group: str) -> tuple[Array, ...]:
    names = sorted(name for name in archive.files if name.startswith(f"{group}/"))
    return tuple(archive[name] for name in names)
