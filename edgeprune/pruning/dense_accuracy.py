"""Looks whether a classifier knows its own samples, before work is spent on wrongly scaled ones."""

from __future__ import annotations

import warnings

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.class_numbers import class_numbers
from edgeprune.core.data import Data
from edgeprune.core.errors import QualityWarning
from edgeprune.keras_model.interface import predict
from edgeprune.keras_model.layers import Model
from edgeprune.pruning.training.distill import output_kinds

LOOKED_AT = 256
"""Samples that are run at most."""
FEWEST = 32
"""Fewer samples do not tell chance from knowledge."""
SIGMAS = 2.0
"""Standard deviations above chance that an accuracy must have to be more than chance."""


def warn_at_chance(model: Model, data: Data, name: str) -> None:
    """Warns where a classifier's accuracy on labelled samples is no better than chance.

    Nothing is said where it cannot be known: several outputs, few samples, labels of one class, or
    a model that does not give classes.

    Args:
      model: a built Keras model.
      data: samples with or without labels; up to `LOOKED_AT` of them are run.
      name: of the model, for the warning.

    Warns:
      QualityWarning: the accuracy is at chance level.
    """
    labels = class_numbers(data.y)
    if labels is None or len(data) < FEWEST or not _gives_classes(model):
        return
    rows = np.linspace(0, len(data) - 1, min(len(data), LOOKED_AT)).astype(np.intp)
    outputs = predict(model, list(data.take(rows).x))[0]
    told = labels[rows]
    if told.shape != outputs.shape[:-1] or outputs.shape[-1] < 2 or len(np.unique(told)) < 2:
        return
    classes = outputs.argmax(-1)
    accuracy, chance = float(np.mean(classes == told)), _agreement_by_chance(classes, told)
    if accuracy <= chance + SIGMAS * np.sqrt(chance * (1 - chance) / len(rows)):
        warnings.warn(
            f"{name}: the dense model is right on {accuracy:.1%} of {len(rows)} samples, "
            f"which is chance level ({chance:.1%}). It seems to get other values than in training: "
            "check --scale, and that the labels are in the model's order.",
            QualityWarning,
            stacklevel=2,
        )


def _gives_classes(model: Model) -> bool:
    kinds = output_kinds(model)
    return len(kinds) == 1 and kinds[0] != "values"


def _agreement_by_chance(first: Array, second: Array) -> float:
    """How often two lists of classes agree if one is shuffled (Cohen, 1960)."""
    classes = np.union1d(first, second)
    return float(sum(np.mean(first == one) * np.mean(second == one) for one in classes))
