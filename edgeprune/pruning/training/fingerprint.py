"""By what a run of training is known again on resuming: its data, model, plan and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras
import tensorflow as tf

from edgeprune.core import digest
from edgeprune.core.data import Data
from edgeprune.core.plan import Plan
from edgeprune.core.sources import Stream, Table
from edgeprune.keras_model.layers import Model
from edgeprune.pruning.training.settings import Training

_SAID = {"expected", "faster_route", "next_step"}
"""What a plan says, and nobody carries out."""


def describe_run(
    model: Model, plan: Plan, data: Any, training: Training, chosen: dict[str, Any]
) -> dict[str, Any]:
    """Everything that must be equal for a run to be resumed, by name.

    Args:
      model: the dense model.
      plan: its plan.
      data: samples, of which every value counts (of images names, sizes and times of the files), or
        a stream, of which shapes and dtypes do if it says them.
      training: how the run was asked for.
      chosen: what was chosen for it, by name.
    """
    teacher = training.teacher
    return {
        "plan": digest.of_parts([plan.model_dump_json(exclude=_SAID).encode()]),
        "weights": digest.of_arrays(model.get_weights()),
        "data": _of_data(data),
        "validation": _of_data(training.validation),
        "monitor": training.monitor,
        "teacher": None if teacher is None else digest.of_arrays(teacher.get_weights()),
        "epochs": training.epochs,
        "batch size": training.batch_size,
        "learning rate": training.learning_rate,
        "loss": dict(training.loss) if isinstance(training.loss, Mapping) else training.loss,
        "augment": training.augment,
        "distillation": asdict(training.distillation),
        "seed": training.seed,
        **chosen,
    }


def _of_data(data: Any) -> Any:
    """The digest of samples; of batches what they say of themselves; a fraction as it is."""
    if isinstance(data, Data):
        return digest.of_arrays([*data.x, *data.labels])
    if isinstance(data, Table):
        return digest.of_parts(data.identity())
    if isinstance(data, Stream):
        return _of_data(data.given)
    if isinstance(data, tf.data.Dataset):
        return f"batches of {data.element_spec}"
    if isinstance(data, keras.utils.PyDataset):
        return f"{len(data)} batches"
    return data if isinstance(data, int | float) else "batches"
