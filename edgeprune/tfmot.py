"""The names that scripts for TensorFlow Model Optimization use, on edgeprune.

    from edgeprune import tfmot
    tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=...)

is the whole change that a script needs that prunes Keras models while they train.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras

from edgeprune.pruning.training.callbacks import PruningSummaries, UpdatePruningStep
from edgeprune.pruning.training.schedule import (
    ConstantSparsity,
    LinearDecay,
    PolynomialDecay,
    Schedule,
)
from edgeprune.pruning.training.strip import strip_pruning
from edgeprune.pruning.training.wrap import prune_low_magnitude
from edgeprune.pruning.training.wrapper import PruneLowMagnitude

__all__ = ["sparsity"]


def prune_scope() -> Any:
    """A scope to load wrapped models in; Keras finds them without it, scripts may keep it."""
    return keras.saving.custom_object_scope({"PruneLowMagnitude": PruneLowMagnitude})


sparsity = SimpleNamespace(
    keras=SimpleNamespace(
        ConstantSparsity=ConstantSparsity,
        LinearDecay=LinearDecay,
        PolynomialDecay=PolynomialDecay,
        PruningSchedule=Schedule,
        PruningSummaries=PruningSummaries,
        UpdatePruningStep=UpdatePruningStep,
        prune_low_magnitude=prune_low_magnitude,
        prune_scope=prune_scope,
        strip_pruning=strip_pruning,
    )
)
"""Stands for `tensorflow_model_optimization.sparsity`."""
