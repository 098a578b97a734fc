"""Training that stops early, keeps its best epoch, or goes on after an interruption."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, InputError
from edgeprune.pruning.carry_out import train_pruned
from edgeprune.pruning.training.best_epoch import BestEpoch
from edgeprune.pruning.training.checkpoint import (
    FILE,
    Best,
    Checkpoint,
    capture,
    read_checkpoint,
    remove_checkpoint,
)
from edgeprune.pruning.training.fingerprint import describe_run
from edgeprune.pruning.training.settings import Training
from tests.pruning.training.test_train import X, Y, data, net, rows

ARRAYS = (np.arange(6, dtype="float32").reshape(2, 3), np.array([True, False]))


class PowerCutError(Exception):
    """Ends a run in the middle."""


class _Interrupt(keras.callbacks.Callback):
    def __init__(self, epoch: int, batch: int) -> None:
        super().__init__()
        self._at = (epoch, batch)
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del logs
        if (self._epoch, batch) == self._at:
            raise PowerCutError


def dropping_net() -> Any:
    """Whose random generator is part of the state."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 4), name="image")
    x = keras.layers.Conv2D(16, 1, name="conv")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(4, name="dense")(x))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["one-shot", "gradual"])
def test_a_resumed_run_ends_as_if_it_had_never_stopped(start: Any, tmp_path: Path) -> None:
    model = dropping_net()
    options: dict[str, Any] = {
        "epochs": 4,
        "batch_size": 24,
        "augment": "flip-shift",
        "start": start,
        "validation": 0.2,
    }
    whole = train_pruned(model, rows(model), data(), **options)
    folder = tmp_path / "state"
    stop = [_Interrupt(2, 1)]
    with pytest.raises(PowerCutError):
        train_pruned(model, rows(model), data(), checkpoint=folder, callbacks=stop, **options)
    assert [path.name for path in folder.iterdir()] == [FILE]
    told: list[int] = []
    resumed = train_pruned(
        model,
        rows(model),
        data(),
        checkpoint=folder,
        resume=True,
        progress=lambda _, done, __: told.append(done),
        **options,
    )
    assert told == [6, 7, 8, 9, 10, 11, 12]  # of 3 batches in an epoch; 6 while Keras compiles
    for received, expected in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    again = train_pruned(model, rows(model), data(), checkpoint=folder, resume=True, **options)
    for received, expected in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    options["epochs"] = 5
    with pytest.raises(InputError, match=r"Expected epochs 4. Received: 5"):
        train_pruned(model, rows(model), data(), checkpoint=folder, resume=True, **options)
    remove_checkpoint(folder)
    assert not folder.exists()


@pytest.mark.slow
def test_resuming_what_was_never_begun_starts_anew(tmp_path: Path) -> None:
    model = net()
    with pytest.warns(UserWarning, match="no checkpoint to resume from"):
        train_pruned(
            model, rows(model), data(), epochs=1, checkpoint=tmp_path / "state", resume=True
        )
    with pytest.raises(InputError, match="expected `checkpoint`"):
        train_pruned(model, rows(model), data(), epochs=1, resume=True)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = {"epochs": 3, "plan": "abc"}
    best = Best(1, 0.25, 1, ARRAYS)
    Checkpoint(run, 2, ARRAYS, ARRAYS[:1], best).write(tmp_path / FILE)
    found = read_checkpoint(tmp_path / FILE, run)
    assert (found.run, found.epochs_done) == (run, 2)
    assert found.best is not None
    assert (found.best.epoch, found.best.value, found.best.waited) == (1, 0.25, 1)
    for received, expected in (
        (found.model, ARRAYS),
        (found.optimizer, ARRAYS[:1]),
        (found.best.weights, ARRAYS),
    ):
        assert len(received) == len(expected)
        for one, other in zip(received, expected, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
    with pytest.raises(InputError, match="Expected plan abc. Received: other"):
        read_checkpoint(tmp_path / FILE, {**run, "plan": "other"})


def test_a_damaged_checkpoint_is_an_error(tmp_path: Path) -> None:
    Checkpoint({}, 1, ARRAYS, (), None).write(tmp_path / FILE)
    content = (tmp_path / FILE).read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"PK not a zip"):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(DataError, match="Remove it and start again"):
            read_checkpoint(tmp_path / FILE, {})


@pytest.mark.parametrize(
    "about",
    ["[" * 100_000, "[]", '{"run": []}', '{"run": [], "best": null, "epochs_done": 1}', "1"],
)
def test_a_description_of_another_form_is_damage(tmp_path: Path, about: str) -> None:
    np.savez(tmp_path / FILE, about=np.array(about))
    with pytest.raises(DataError, match="Remove it and start again"):
        read_checkpoint(tmp_path / FILE, {})


@pytest.mark.parametrize("done", [99, -5, 0, 1.5, True, "2", None])
def test_a_number_of_epochs_that_no_run_has_done_is_damage(tmp_path: Path, done: Any) -> None:
    Checkpoint({"epochs": 3}, done, ARRAYS, (), None).write(tmp_path / FILE)
    with pytest.raises(DataError, match="epochs done, of 3"):
        read_checkpoint(tmp_path / FILE, {"epochs": 3})


@pytest.mark.parametrize(
    "best",
    [Best(7, 0.5, 0, ARRAYS), Best(0, math.nan, 0, ARRAYS), Best(0, 0.5, -1, ARRAYS)]
    + [Best(0, 0.5, 0, (np.full(2, np.nan),))],
)
def test_a_best_epoch_that_cannot_have_been_is_damage(tmp_path: Path, best: Best) -> None:
    Checkpoint({}, 2, ARRAYS, (), best).write(tmp_path / FILE)
    with pytest.raises(DataError, match="Remove it and start again"):
        read_checkpoint(tmp_path / FILE, {})


def test_weights_that_are_not_finite_are_damage(tmp_path: Path) -> None:
    Checkpoint({}, 1, (np.array([1.0, np.inf], np.float32),), (), None).write(tmp_path / FILE)
    with pytest.raises(DataError, match="not finite"):
        read_checkpoint(tmp_path / FILE, {})


@pytest.mark.parametrize("which", ["model", "optimizer", "best"])
def test_arrays_of_another_model_are_damage_and_change_nothing(which: str) -> None:
    model = net()
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    state = capture({}, 1, model, Best(0, 0.5, 0, tuple(model.get_weights())))
    state.restore(model, None)
    before = model.get_weights()
    assert state.best is not None
    damaged = {
        "model": replace(state, model=tuple(2 * part for part in state.model[:-1])),
        "optimizer": replace(state, optimizer=(*state.optimizer, np.zeros(3))),
        "best": replace(state, best=replace(state.best, weights=ARRAYS)),
    }
    with pytest.raises(DataError, match=f"arrays '{which}'"):
        damaged[which].restore(model, None)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_data_another_model_and_other_options_are_another_run() -> None:
    def described(y: Any = Y, model: Any = None, **options: Any) -> dict[str, Any]:
        model = model or net()
        training = Training(**{"epochs": 2, **options})
        return describe_run(model, rows(model), Data((X,), y), training, {})

    def differing(other: dict[str, Any]) -> list[str]:
        return [name for name, value in described().items() if other[name] != value]

    heavier = net()
    heavier.set_weights([weight + 1 for weight in heavier.get_weights()])
    assert differing(described()) == []
    assert differing(described(y=(Y + 1) % 4)) == ["data"]
    assert differing(described(model=heavier)) == ["weights"]
    assert differing(described(validation=0.2)) == ["validation"]
    assert differing(described(validation=Data((X[:4],), Y[:4]))) == ["validation"]
    assert differing(described(monitor="accuracy", loss="mse")) == ["monitor", "loss"]


class _Scripted(keras.callbacks.Callback):
    """Writes losses into the logs, and the number of the epoch into the weights."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self._values = values

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.layers[-1].bias.assign([epoch])
        logs["val_good"] = self._values[epoch]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "first", "patience", "kept", "stopped"),
    [
        ([9, 5, 7, 6], 0, None, 0, 4),  # higher is better
        ([9, 5, 7, 6], 1, None, 2, 4),
        ([9, 5, 7, 6], 3, None, 3, 4),
        ([9, 8, 7, 10], 1, 1, 1, 3),
        ([9, 8, 7, 10], 1, 2, 3, 4),
    ],
)
def test_the_best_epoch_with_final_masks_is_kept(
    values: list[float], first: int, patience: int | None, kept: int, stopped: int
) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    x, y = np.zeros((2, 2)), np.zeros((2, 1))
    best = BestEpoch("val_good:max", first, patience, checks_early=False)
    history = model.fit(x, y, epochs=4, verbose=0, callbacks=[_Scripted(values), best])
    assert float(model.layers[-1].bias.numpy()[0]) == kept
    assert len(history.epoch) == stopped


@pytest.mark.slow
def test_a_metric_that_is_not_there_is_named_before_an_epoch_is_spent() -> None:
    model = net()
    steps: list[tuple[str, int, int]] = []
    with pytest.raises(InputError, match=r"expected one of accuracy, loss. Received: 'f1'"):
        train_pruned(
            model,
            rows(model),
            data(),
            epochs=1,
            batch_size=8,
            monitor="f1",
            start="gradual",
            progress=lambda *told: steps.append(told),
        )
    assert max((done for _, done, _ in steps), default=0) <= 1
    with pytest.raises(InputError, match="'val_loss' is a metric on validation data"):
        train_pruned(model, rows(model), data(), epochs=1, monitor="val_loss")
    with pytest.raises(InputError, match="suffix ':max' or ':min'"):
        train_pruned(model, rows(model), data(), epochs=1, monitor="loss:up")


@pytest.mark.slow
def test_validation_data_of_every_form_is_taken() -> None:
    model = net()
    held_out = Data((X[:16],), Y[:16])
    batches = (X[:16], Y[:16])
    for validation, monitor in ((held_out, None), (batches, "val_accuracy")):
        trained = train_pruned(
            model, rows(model), data(), epochs=1, validation=validation, monitor=monitor
        )
        assert np.isfinite(trained.predict(X, verbose=0)).all()
    with pytest.raises(InputError, match="fraction of the samples"):
        train_pruned(model, rows(model), data(), epochs=1, validation=1.5)
    with pytest.raises(InputError, match="held out of arrays"):
        train_pruned(model, rows(model), [(X, Y)], epochs=1, validation=0.5)
