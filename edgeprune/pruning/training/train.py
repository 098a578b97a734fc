"""Trains a copy of a model with pruning wrappers, as a plan says, and takes the wrappers out again.

Training starts from the one-shot solution, or from the dense weights with a sparsity that rises
along a cubic. Masks move during the first part of all steps (see `default_schedule`), in which
pruned weights may come back (SR-STE, see `PruningRule`), and then stay, so that the weights left
can make up for what was taken. The dense model is the teacher (see `distill`).

What each part brings, `Block(2,1)` at 90 % of the network of scripts/bench_accuracy on images of
16x16 (dense 73.7 %), 4 epochs of 10,000 images with flip-shift: gradual without a teacher 58.8 %,
with one 62.1 %; from the one-shot solution with a teacher 63.3 %, where pruned weights may come
back 64.6 %, with the zeros spread by measured losses 67.1 %. With 50,000 images it is 69.0 %
however the zeros are spread, so evenly is the default.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeprune.conversion.lift.parts import before_islands
from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, InputError, ModelError, QualityWarning
from edgeprune.core.plan import Plan
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.sources import AnySource, Stream, Table
from edgeprune.core.spelling import with_article
from edgeprune.keras_model.copies import compile_as, copy_model
from edgeprune.keras_model.interface import output_packer, own_training, packer_of
from edgeprune.keras_model.layers import LayerMap, Model
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.channels.plan_removal import NO_RULES, ChannelRules, Importance
from edgeprune.pruning.one_shot import one_shot, remove_channels
from edgeprune.pruning.reconstruct.samples import RECONSTRUCTION_SAMPLES
from edgeprune.pruning.training.batches import Batches, stream_batches
from edgeprune.pruning.training.best_epoch import BestEpoch, ProgressCallback, SaveState
from edgeprune.pruning.training.callbacks import PruningSummaries, UpdatePruningStep
from edgeprune.pruning.training.checkpoint import FILE, Checkpoint, read_checkpoint
from edgeprune.pruning.training.distill import Distillation, Distilled, output_kinds
from edgeprune.pruning.training.epoch_record import RecordEpochs
from edgeprune.pruning.training.feed import make_feed, split_off, steps_in_epoch
from edgeprune.pruning.training.fingerprint import describe_run
from edgeprune.pruning.training.learning_rate import compile_for_training, rate_share
from edgeprune.pruning.training.losses import replacing_loss
from edgeprune.pruning.training.quantized.aware import (
    Awareness,
    MeasureRanges,
    aware_profile,
    try_aware,
)
from edgeprune.pruning.training.quantized.file_grid import FileGrid
from edgeprune.pruning.training.schedule import Schedule, default_schedule
from edgeprune.pruning.training.settings import Start, Training
from edgeprune.pruning.training.strip import strip_pruning
from edgeprune.pruning.training.wrap import wrap
from edgeprune.pruning.training.wrapper import wrappers


def train(
    mapped: LayerMap,
    plan: Plan,
    data: AnySource,
    training: Training,
    *,
    device: DeviceProfile | None = None,
    importance: Importance | None = None,
    rules: ChannelRules = NO_RULES,
    grid: FileGrid | None = None,
    progress: Progress = no_progress,
) -> Model:
    """Trains with masks that follow a schedule, and returns the plain model with its zeros.

    On an int8 route the forward pass is that of the int8 file, see `quantized`, and the model
    returned knows its ranges, which `export` takes.

    Channels that the plan removes are gone before training starts: what trains is the smaller
    model, as it is then left.

    Loss, metrics and optimizer are those the model is compiled with; else the default loss (see
    `replacing_loss`), accuracy and Adam. To the loss comes what the dense model says of the same
    samples; without labels that is the whole loss. A model that trains in a way of its own
    (`train_step` or the like) is trained without a teacher.

    The learning rate rises over the first steps and then falls along a cosine. A learning-rate
    schedule of the model's own optimizer is kept if the model was compiled for this run; one
    that a training before has used up gives its highest rate only. Where little is pruned, a part
    of the rate that was not asked for is enough, see `rate_share`.

    The model of the best epoch is returned, of those at whose end the masks were final.

    Within `tf.distribute.MirroredStrategy().scope()` every replica trains on its part of a batch,
    with the same masks. Keras 3.15 with TensorFlow 2.20 cannot `fit` even a plain model under
    `MultiWorkerMirroredStrategy`; over several machines, train what `prune_low_magnitude` returns
    in a loop of your own (`strategy.run`), with `UpdatePruningStep` called as it says: each machine
    then makes the same masks.

    Args:
      mapped: a built Keras model; not changed.
      plan: one that `check_plan` accepts; its padding is the model's already.
      data: samples with or without labels, as `open_source` gives them.
      training: how.
      device: the plan's device; if None it is found by its name.
      importance: how channels to be removed are weighed; see `channels.plan_removal.gather`.
      rules: for custom layers: how each class passes channels on.
      grid: of the quantized file that the model was lifted from, by which training rounds.
      progress: told after every step how many of all are done.

    Returns:
      A new model with the architecture and compilation of the one given.

    Raises:
      DataError: labels are missing without a teacher, a length is not known, or batches ran out
        too early.
      ModelError: the model cannot be copied, or a weight became NaN.
      InputError: an unknown metric, or a checkpoint of another run.
    """
    keras.utils.set_random_seed(training.seed)
    asked, of_file = training.quantize_aware, grid is not None
    profile = aware_profile(mapped.model, plan, asked, device, quantized_file=of_file)
    run = _prepare(mapped.model, plan, data, training, profile is not None)
    teacher = training.teacher or mapped.model
    # Samples that are held out to find the best epoch are not looked at.
    seen = data if isinstance(data, Stream) else run.data
    known = seen.some(RECONSTRUCTION_SAMPLES) if _is_seen_again(seen) else None
    smaller, rest, _ = remove_channels(mapped, plan, known, importance=importance, rules=rules)
    ready = run.state is not None or run.start == "gradual"
    origin = smaller.model if ready else _one_shot(smaller, rest, known, progress)
    wrapped = wrap(origin, rest, run.schedule, regrow=True)
    looked_at = known if isinstance(data, Stream) else data
    labelled = looked_at is None or looked_at.labelled
    loss = replacing_loss(smaller.model, looked_at, training.loss) if labelled else None
    aware = try_aware(wrapped, smaller.model, profile, known, asked, grid)
    student = aware.student if aware else wrapped
    trainee = _trainee(student, smaller.model, teacher, run.distillation, loss)
    compile_for_training(
        trainee,
        smaller.model,
        teacher,
        training.learning_rate,
        run.total_steps,
        rate_share(_mean_sparsity(plan)),
        loss,
    )
    trainee.optimizer.build(trainee.trainable_variables)
    if run.state:
        run.state.restore(trainee, training.checkpoint)
    _fit(trainee, wrapped, aware, run, training, progress)
    _check_finite(wrapped)
    trained = copy_model(smaller.model)
    trained.set_weights(strip_pruning(wrapped).get_weights())
    if aware:
        aware.finish(trained)
    return trained


@dataclass(frozen=True, eq=False)
class _Run:
    """What a training was told, with what follows from the model and the data."""

    data: Data | Table | Batches
    held_out: Any
    """Validation data as `fit` takes it; None without."""
    distillation: Distillation
    steps: int
    """Batches in an epoch."""
    epochs: range
    """The epochs that are left to do, counted from 0."""
    start: Start
    schedule: Schedule
    identity: dict[str, Any]
    """By which a checkpoint is known to belong to this run."""
    state: Checkpoint | None
    """What to resume from."""

    @property
    def total_steps(self) -> int:
        """Batches of all epochs, those done before included."""
        return self.epochs.stop * self.steps


def _prepare(model: Model, plan: Plan, given: AnySource, training: Training, aware: bool) -> _Run:
    packs = packer_of(model), output_packer(model)
    ready = (
        stream_batches(
            given, training.batch_size, *packs, counted=training.steps_per_epoch is not None
        )
        if isinstance(given, Stream)
        else given
    )
    data, held_out = split_off(ready, training.validation, *packs)
    _check_monitor(training.monitor, held_out)
    distillation = _possible(model, data, training.distillation)
    steps = steps_in_epoch(data, training.batch_size, training.steps_per_epoch)
    start = _chosen_start(training.start, given, training.schedule)
    schedule = training.schedule or default_schedule(
        training.epochs * steps, from_one_shot=start == "one-shot"
    )
    chosen = {
        "batches in an epoch": steps,
        "start": start,
        "schedule": repr(schedule),
        "quantisation-aware": aware or None,
    }
    kept = training.checkpoint is not None
    identity = describe_run(model, plan, given, training, chosen) if kept else {}
    state = _state_to_resume(training.checkpoint, identity) if training.resume else None
    epochs = range(state.epochs_done if state else 0, training.epochs)
    return _Run(data, held_out, distillation, steps, epochs, start, schedule, identity, state)


def _check_monitor(monitor: str | None, held_out: Any) -> None:
    if held_out is None and monitor and monitor.startswith("val_"):
        raise InputError(
            f"`monitor`: '{monitor}' is a metric on validation data. Received: none. Hold some out "
            f"(`validation`), or watch '{monitor.removeprefix('val_')}'."
        )


def _fit(
    trainee: Model,
    wrapped: Model,
    aware: Awareness | None,
    run: _Run,
    training: Training,
    progress: Progress,
) -> None:
    """Trains in place, to the weights of the best epoch.

    Raises:
      DataError: batches ran out before the masks were final.
    """
    feed = make_feed(
        run.data,
        batch_size=training.batch_size,
        augment=training.augment,
        seed=training.seed,
        epochs=run.epochs,
        steps_per_epoch=training.steps_per_epoch,
        pack=packer_of(wrapped),
        label_pack=output_packer(wrapped),
    )
    ticks = ProgressCallback(progress, run.epochs.stop, run.steps, run.epochs.start)
    trainee.fit(
        feed.batches,
        initial_epoch=run.epochs.start,
        epochs=run.epochs.stop,
        steps_per_epoch=feed.steps if feed.counted else None,
        validation_data=run.held_out,
        shuffle=feed.shuffled_by_keras,
        callbacks=[*_callbacks(wrapped, aware, run, training), ticks],
        verbose=0,
    )
    if ticks.done < run.schedule.final_step and not trainee.stop_training:
        raise DataError(
            f"The data ran out after {ticks.done} of {run.total_steps} batches, before the "
            f"sparsity had risen to its end (step {run.schedule.final_step}). Let the data repeat, "
            "or give the `steps_per_epoch` that it has."
        )


def _callbacks(wrapped: Model, aware: Awareness | None, run: _Run, training: Training) -> list[Any]:
    validated = run.held_out is not None
    best = BestEpoch(
        training.monitor or ("val_loss" if validated else "loss"),
        _first_final_epoch(run.schedule, run.epochs.stop, run.steps, validated),
        training.patience,
        run.state.best if run.state else None,
        checks_early=not training.callbacks,
    )
    checkpoint, tensorboard = training.checkpoint, training.tensorboard
    return [
        *([UpdatePruningStep()] if wrappers(wrapped) else []),
        *training.callbacks,
        *([MeasureRanges(aware, validated=validated)] if aware else []),
        best,
        *([RecordEpochs(wrapped, training.tell_epoch)] if training.tell_epoch else []),
        *([PruningSummaries(tensorboard)] if tensorboard else []),
        *([SaveState(checkpoint, run.identity, best)] if checkpoint else []),
    ]


def _mean_sparsity(plan: Plan) -> float:
    weights = sum(row.weights for row in plan.pruned)
    return sum(row.weights * row.sparsity for row in plan.pruned) / weights if weights else 0.0


def _possible(model: Model, data: Data | Table | Batches, wanted: Distillation) -> Distillation:
    """The distillation that can be done.

    Raises:
      DataError: there is nothing to learn from.
    """
    possible = Distillation(0.0) if own_training(model) else wanted
    if not isinstance(data, Data | Table):
        return possible
    if not data.labelled and not possible.weight:
        raise DataError(
            "Training needs labels or a teacher. Received: `x` without `y`, and no distillation. "
            "Add `y` to the data, distil, or prune without training (0 epochs)."
        )
    if not data.labelled:
        warnings.warn(
            "There are no labels: training follows the dense model's outputs alone.",
            QualityWarning,
            stacklevel=3,
        )
    return possible


def _is_seen_again(data: AnySource) -> bool:
    """Whether samples can be looked at before training without using them up."""
    return not isinstance(data, Stream) or data.again


def _chosen_start(start: Start, data: AnySource, schedule: Schedule | None) -> Start:
    """Where training starts.

    Raises:
      InputError: the one-shot solution is asked for, of samples that can be read once only.
    """
    again = _is_seen_again(data)
    if start == "one-shot" and isinstance(data, Stream) and not again:
        raise InputError(
            "start='one-shot': expected arrays, a tf.data.Dataset or a PyDataset, which can be "
            "looked at before training. Received: "
            f"{with_article(type(data.given).__name__)}. Start gradually."
        )
    if start != "auto":
        return start
    return "one-shot" if again and schedule is None else "gradual"


def _one_shot(mapped: LayerMap, plan: Plan, data: Data | None, progress: Progress) -> Model:
    """The one-shot solution, made from some of the samples."""
    samples = None if data is None else Data(data.x)
    return one_shot(mapped, plan, samples, finetune=False, progress=progress)


def _state_to_resume(folder: Path | None, run: dict[str, Any]) -> Checkpoint | None:
    if folder is None:
        raise InputError("`resume`: expected `checkpoint`, the folder to resume from.")
    if not (folder / FILE).exists():
        warnings.warn(
            f"{folder}: no checkpoint to resume from (none is written before the end of the first "
            "epoch). Training started from the beginning.",
            QualityWarning,
            stacklevel=3,
        )
        return None
    return read_checkpoint(folder / FILE, run)


def _first_final_epoch(schedule: Schedule, epochs: int, steps: int, validated: bool) -> int:
    """The first epoch that may be the best, counted from 0.

    Masks must be final at its end, where validation looks, or for the loss of training throughout.
    """
    whole = math.ceil(schedule.final_step / steps)
    return min(max(whole - 1, 0) if validated else whole, epochs - 1)


def _trainee(
    student: Model, model: Model, teacher: Model, distillation: Distillation, loss: Any
) -> Model:
    """The model that `fit` is called on; compiled if `model` is."""
    if not distillation.weight and not before_islands(student):
        return student
    if tf.distribute.has_strategy():
        # Its variables must belong to the strategy as those of the student do.
        teacher = copy_model(teacher)
    distilled = Distilled(student, teacher, output_kinds(model, loss), distillation)
    compile_as(distilled, model)
    return distilled


def _check_finite(model: Model) -> None:
    """Refuses a model whose training diverged.

    Raises:
      ModelError: a weight is NaN or infinite.
    """
    for variable in model.weights:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ModelError(
                f"{variable.path}: expected finite weights after training. Received: NaN or "
                "infinity; training diverged. Give a lower learning rate, and see that the data "
                "is scaled as the model wants it."
            )
