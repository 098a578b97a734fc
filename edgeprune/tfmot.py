"""The names that scripts for TensorFlow Model Optimization use, on edgeprune.

    from edgeprune import tfmot
    tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=...)

is the whole change that a script needs that prunes Keras models while they train.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras

from edgeprune.core.errors import ModelError
from edgeprune.planning.plan_model import plan
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


class PruneForLatencyOnXNNPack:
    """The pruning policy for XNNPACK on ARM64: prunes what a plan for `xnnpack-arm64` prunes.

    Outside a model, where there is no plan, those are the convolutions of 1x1.
    """

    def __init__(self) -> None:
        self._planned: frozenset[str] | None = None

    def allow_pruning(self, layer: Any) -> bool:
        """Whether a layer is one whose zeros the sparse kernels skip."""
        if self._planned is not None:
            return layer.name in self._planned
        return isinstance(layer, keras.layers.Conv2D) and tuple(layer.kernel_size) == (1, 1)

    def ensure_model_supports_pruning(self, model: Any) -> None:
        """Plans the model, and refuses one that would not become faster.

        Raises:
          ModelError: the network does not run on XNNPACK's sparse kernels, or is not built.
        """
        made = plan(model, "xnnpack-arm64")
        if not made.pruned:
            reasons = made.warnings() or [f"{row.path}: {row.reason}" for row in made.layers]
            raise ModelError(
                f"{model.name}: expected a network that XNNPACK's sparse kernels make faster on "
                f"ARM64. Received: one they do not. {' '.join(reasons[:3])}"
            )
        self._planned = frozenset(row.path.rpartition("/")[2] for row in made.pruned)


sparsity = SimpleNamespace(
    keras=SimpleNamespace(
        ConstantSparsity=ConstantSparsity,
        LinearDecay=LinearDecay,
        PruneForLatencyOnXNNPack=PruneForLatencyOnXNNPack,
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
