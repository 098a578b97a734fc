"""Carries out a plan on a Keras model: activations, padding, channels, zeros, training.

The one place that decides what a plan and a `Training` mean together. `prune_one_shot` and
`train_pruned` are the names that scripts may know it by.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeprune.conversion.given import Given, as_given
from edgeprune.conversion.lift.island import island_errors
from edgeprune.conversion.routes_of_given import require_own_format
from edgeprune.core.data import Data, Ports
from edgeprune.core.errors import DataError, PlanError, QualityWarning
from edgeprune.core.plan import Plan, check_plan
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.sources import Table, open_source
from edgeprune.keras_model.activations import replace_activations
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import LayerMap, Model, can_rebuild, map_layers
from edgeprune.keras_model.padding import make_symmetric
from edgeprune.keras_model.ports import ports_of
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.channels.plan_removal import NO_RULES, ChannelRules, Importance
from edgeprune.pruning.dense_accuracy import LOOKED_AT, warn_at_chance
from edgeprune.pruning.finetune import FineTuning
from edgeprune.pruning.one_shot import one_shot
from edgeprune.pruning.reconstruct.samples import most_samples
from edgeprune.pruning.training.labels import check_training
from edgeprune.pruning.training.quantized.file_grid import grid_of
from edgeprune.pruning.training.settings import Training
from edgeprune.pruning.training.train import train


def prune(
    model: Model | Given | str | Path,
    plan: Plan,
    data: Any = None,
    training: Training | None = None,
    *,
    device: DeviceProfile | None = None,
    permute: bool = True,
    finetune: bool | FineTuning = True,
    importance: Importance | None = None,
    rules: ChannelRules = NO_RULES,
    samples: int | None = None,
    signature: str | None = None,
    progress: Progress = no_progress,
) -> Model:
    """Carries out everything that a plan says on a copy of a model.

    Activations that the plan replaces and padding that it makes symmetric come first, then the
    channels that it removes, then the zeros: in one shot, or while the model trains.

    Args:
      model: a built Keras model, or the path of a `.keras` or `.tflite` file or of a SavedModel
        folder; not changed.
      plan: as `plan` made it or as it was edited since.
      data: samples of any kind that `open_source` takes, with or without labels.
      training: how to train with masks; if None, the plan is carried out in one shot, which needs
        no labels. A plan that prunes nothing trains only where `quantize_aware` is asked for.
      device: the plan's device, for quantisation-aware training; if None it is found by its name.
      permute: one shot: whether channels inside the network may change their order where an
        `NofM` then keeps more weight.
      finetune: one shot: whether the weights kept are fine-tuned on the dense model's answers, or
        which parts of that.
      importance: how channels to be removed are weighed.
      rules: for custom layers: how each class passes channels on.
      samples: one shot: most samples that are taken from `data`; `RECONSTRUCTION_SAMPLES` if None.
      signature: of a SavedModel folder that has several, the one that is taken.
      progress: told what is done.

    Returns:
      A new, plain model with the zeros in place; where channels were removed, a smaller one with
      the same layers. It is compiled as `model`. Of a .tflite file or a SavedModel it is
      a `PrunedFile`, whose `save` writes the file with new weights, and whose `model` is this Keras
      model.

    Raises:
      PlanError: the plan does not fit the model, changes more than the weights of a .tflite
        file, or is for another number format than that of a quantized one.
      TfliteError, Unliftable: as `as_given`; or samples for a file with a fixed batch.
      DataError: training without data, or with labels that do not fit; one shot from batches.
      ModelError: the model cannot be copied, its loss could not be loaded and labels are to be
        trained on, or a weight or an activation is not finite.
      InputError: an unknown metric, a checkpoint of another run, or `samples` that is no number.

    Warns:
      QualityWarning: what costs accuracy, such as one shot without data, with few samples or
        with other activations, or samples on which the dense model is no better than chance.
    """
    given = as_given(model, signature)
    dense = given.model
    _require_weights_alone(given, plan)
    require_own_format(given, plan)
    ports = ports_of(dense)
    most = most_samples(samples)
    if data is not None:
        given.require_open_batch()
    source = None if data is None else open_source(data, ports)
    if isinstance(source, Data | Table):
        given.prove_on(source.some(LOOKED_AT).x)
    mapped = _changed(dense, plan)
    plan = _without_lost_layers(plan, mapped)
    if training is not None and (plan.pruned or training.quantize_aware):
        if source is None:
            raise DataError(
                "Training needs samples. Received: none. Give `data`, or leave out `training`."
            )
        training = _with_teacher(_with_validation(training, ports), dense)
        if isinstance(source, Data | Table):
            source = source.readable()
            warn_at_chance(dense, source.some(LOOKED_AT), given.name)
        check_training(dense, source, training)
        with island_errors():
            trained = train(
                mapped,
                plan,
                source,
                training,
                device=device,
                importance=importance,
                rules=rules,
                grid=grid_of(given.lifted),
                progress=progress,
            )
        return given.pruned(trained)
    if plan.activation:
        warnings.warn(
            f"The plan replaces {len(plan.activation)} activations, which changes what the model "
            "computes: expect to lose accuracy. Train it with --epochs (`training`).",
            QualityWarning,
            stacklevel=2,
        )
    some = None if source is None else source.some(most)
    if some is not None:
        warn_at_chance(dense, some, given.name)
    with island_errors():
        pruned = one_shot(
            mapped,
            plan,
            some,
            permute=permute,
            finetune=finetune,
            importance=importance,
            rules=rules,
            progress=progress,
        )
    return given.pruned(pruned, None if some is None else some.x)


def _require_weights_alone(given: Given, plan: Plan) -> None:
    """Checks that a plan for a .tflite file changes nothing that is not written back."""
    if given.lifted is not None and (plan.padding or plan.activation):
        raise PlanError(
            f"{given.name}: expected a plan of weights alone, which are written back into the "
            "file. Received: one with other padding or activations. Plan again without --padding "
            "and --activation."
        )


def _changed(model: Model, plan: Plan) -> LayerMap:
    """The model with the activations and padding of a plan, after a look whether it fits."""
    mapped = map_layers(model)
    check_plan(plan, describe_layers(mapped))
    if plan.activation:
        mapped = map_layers(replace_activations(model, plan.activation))
    return map_layers(make_symmetric(mapped.model, plan.padding)) if plan.padding else mapped


def _without_lost_layers(plan: Plan, mapped: LayerMap) -> Plan:
    """A plan without the sigmoids that went with the products that were replaced."""
    if not plan.activation:
        return plan
    rows = tuple(row for row in plan.layers if row.path in mapped.layers)
    return plan.model_copy(update={"layers": rows})


def _with_teacher(training: Training, dense: Model) -> Training:
    """Training that learns from the dense model, as it was before the plan changed it."""
    return training if training.teacher is not None else replace(training, teacher=dense)


def _with_validation(training: Training, ports: Ports) -> Training:
    """Training whose validation samples are opened, where they are not a fraction of the others."""
    given = training.validation
    if isinstance(given, int | float):
        return training
    opened = open_source(given, ports)
    ready = opened.readable() if isinstance(opened, Data | Table) else opened
    return replace(training, validation=ready)


def aware_where_dense(training: Training, plan: Plan, model: Model) -> Training:
    """Training for int8 alone, where the route prunes nothing; as it was asked for elsewhere."""
    if plan.pruned or plan.numerics != "int8" or not can_rebuild(model):
        return training
    return replace(training, quantize_aware=True) if training.quantize_aware is None else training


def prune_one_shot(
    model: Model | str | Path,
    plan: Plan,
    x: Any = None,
    *,
    permute: bool = True,
    finetune: bool | FineTuning = True,
    importance: Importance | None = None,
    rules: ChannelRules = NO_RULES,
    signature: str | None = None,
    progress: Progress = no_progress,
) -> Model:
    """Prunes without training: `prune` by its older name, with calibration data `x`."""
    return prune(
        model,
        plan,
        x,
        permute=permute,
        finetune=finetune,
        importance=importance,
        rules=rules,
        signature=signature,
        progress=progress,
    )


def train_pruned(
    model: Model | str | Path,
    plan: Plan,
    data: Any,
    *,
    signature: str | None = None,
    progress: Progress = no_progress,
    **training: Any,
) -> Model:
    """Trains with masks: `prune` by its older name, with the fields of `Training` by their names.

    Raises:
      TypeError: an option that `Training` does not have, or no `epochs`.
    """
    how = Training(**training)
    return prune(model, plan, data, how, signature=signature, progress=progress)
