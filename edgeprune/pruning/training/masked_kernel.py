"""A kernel in training with its mask, and the rule that computes the mask.

The layer uses `where(mask, kernel, 0)`, so a pruned weight neither affects the output nor receives
a gradient. It keeps its value while the schedule runs, so that it can regrow when masks are updated
(Zhu and Gupta, 2017, arXiv:1710.01878, section 3); with `regrow` it is trained meanwhile. Once the
schedule has reached its final sparsity, pruned weights of the kernel itself are set to zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from edgeprune.core import device_matrix
from edgeprune.core.arrays import Array
from edgeprune.core.errors import InputError, ModelError
from edgeprune.core.mask import Mask, make_mask
from edgeprune.core.pattern import Block, NofM, Pattern, parse_pattern
from edgeprune.core.score import magnitude, tile_maximum
from edgeprune.keras_model.layers import Layer, kernel_variable
from edgeprune.pruning.training.schedule import (
    ConstantSparsity,
    LinearDecay,
    PolynomialDecay,
    Schedule,
)

KERAS_PACKAGE = "edgeprune"
"""Package name under which Keras registers the classes, to load them from saved models."""
DECAY = 2e-4
"""Decay of pruned weights that may regrow: the lambda of SR-STE.

Source: Zhou et al., 2021, arXiv:2102.04010, section 4.
"""

for _schedule in (ConstantSparsity, LinearDecay, PolynomialDecay):
    keras.saving.register_keras_serializable(package=KERAS_PACKAGE)(_schedule)

_KIND_OF_RANK = {2: "Dense", 3: "Conv1D", 4: "Conv2D"}
"""The layer kind by the rank of a weight of `get_prunable_weights`, read as `[..., in, out]`."""


@dataclass(frozen=True)
class PruningRule:
    """How the kernels of one layer are pruned while it trains.

    Raises:
      InputError: an unknown `pooling`.
    """

    pattern: Pattern
    schedule: Schedule
    pooling: Literal["AVG", "MAX"] = "AVG"
    """Whether the score of a tile is the mean or the highest magnitude in it."""
    path: str = ""
    """Path of the layer within the wrapped one; empty for the wrapped layer itself."""
    regrow: bool = False
    """Whether pruned weights are trained until the sparsity is final, and may regrow.

    Their gradient is that of the masked kernel (straight through) plus `DECAY` times the weight:
    SR-STE, Zhou et al., 2021, arXiv:2102.04010, equation 8.
    """

    def __post_init__(self) -> None:
        if self.pooling not in ("AVG", "MAX"):
            raise InputError(f"`block_pooling_type` is 'AVG' or 'MAX'. Received: {self.pooling!r}.")

    def sparsity_at(self, step: int) -> float:
        """The fraction of zeros at a step; an `NofM` has its fixed one from the first mask on."""
        if isinstance(self.pattern, NofM):
            return self.pattern.sparsity
        return self.schedule.sparsity_at(step)

    def mask(self, kind: str, kernel: Array, step: int) -> Mask:
        """The mask of a kernel at a step.

        Args:
          kind: Keras class name of the layer.
          kernel: in Keras order, see `device_matrix`.
          step: training steps done.

        Returns:
          bool, in the shape of the kernel; True keeps.

        Raises:
          ModelError: a weight is not finite.
        """
        scores = magnitude(device_matrix.to_device(kind, kernel))
        if self.pooling == "MAX" and isinstance(self.pattern, Block):
            scores = tile_maximum(scores, self.pattern)
        found = make_mask(scores, self.pattern, self.sparsity_at(step))
        return device_matrix.to_keras(kind, found, kernel.shape)

    def get_config(self) -> dict[str, Any]:
        """The rule as a Keras configuration."""
        return {
            "pattern": str(self.pattern),
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "pooling": self.pooling,
            "path": self.path,
            "regrow": self.regrow,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PruningRule:
        """Restores a rule from what `get_config` returned."""
        return cls(
            parse_pattern(config["pattern"]),
            keras.saving.deserialize_keras_object(config["schedule"]),
            config["pooling"],
            config["path"],
            config.get("regrow", False),
        )


@dataclass(frozen=True)
class MaskedKernel:
    """A kernel in training, its mask, and its pruning rule."""

    path: str
    """Path of the layer, for messages."""
    kind: str
    kernel: Any
    """`keras.Variable`, in Keras order."""
    mask: Any
    """bool `keras.Variable` of the same shape; True keeps."""
    rule: PruningRule

    def masked(self) -> Any:
        """The masked kernel, a tensor."""
        return keras.ops.where(self.mask.value, self.kernel.value, 0)

    def trained(self, step: Any) -> Any:
        """The masked kernel as training uses it, with the gradient that the rule defines.

        Args:
          step: integer scalar tensor, training steps done.
        """
        if not self.rule.regrow:
            return self.masked()
        moving = step < self.rule.schedule.final_step
        mask = keras.ops.convert_to_tensor(self.mask.value)
        return _straight_through(keras.ops.convert_to_tensor(self.kernel.value), mask, moving)

    def set_zeros(self) -> None:
        """Sets the pruned weights of the kernel itself to zero."""
        self.kernel.assign(self.masked())

    def update(self, step: int) -> None:
        """Recomputes the mask for a step.

        Raises:
          ModelError: a weight is not finite.
        """
        try:
            mask = self.rule.mask(self.kind, np.asarray(self.kernel), step)
        except ModelError as error:
            raise ModelError(f"{self.path}: at training step {step}: {error}") from error
        self.mask.assign(mask)

    @property
    def sparsity(self) -> float:
        """The fraction of weights that the mask sets to zero."""
        return 1 - float(np.mean(np.asarray(self.mask)))

    @property
    def threshold(self) -> float:
        """The smallest magnitude of a kept weight."""
        return float(np.abs(np.asarray(self.kernel)[np.asarray(self.mask)]).min())


def _straight_through(kernel: Any, mask: Any, moving: Any) -> Any:
    """The masked kernel; while `moving`, pruned weights receive its gradient plus a decay."""

    def masked(weights: Any) -> Any:
        def gradient(*arguments: Any, upstream: Any = None) -> Any:
            # TensorFlow passes the gradient by position, other backends by name.
            above = arguments[0] if upstream is None else upstream
            pruned = keras.ops.where(moving, above + DECAY * weights, 0)
            return keras.ops.where(mask, above, pruned)

        return keras.ops.where(mask, weights, 0), gradient

    return keras.ops.custom_gradient(masked)(kernel)


def kernels_of(layer: Layer) -> tuple[tuple[str, Any], ...]:
    """The `(kind, keras.Variable)` of every prunable kernel of a built layer.

    A custom layer opts in with a method `get_prunable_weights()`, as in TensorFlow Model
    Optimization; its weights are read as `[..., in, out]`.
    """
    if hasattr(layer, "get_prunable_weights"):
        weights = layer.get_prunable_weights()
        return tuple(
            (_KIND_OF_RANK[len(weight.shape)], weight)
            for weight in weights
            if len(weight.shape) in _KIND_OF_RANK
        )
    kernel = kernel_variable(layer)
    return ((type(layer).__name__, kernel),) if isinstance(kernel, keras.Variable) else ()


class MaskedRegularizer(keras.regularizers.Regularizer):
    """Applies a regularizer to the kept weights only.

    Args:
      regularizer: a Keras regularizer.
      mask: bool `keras.Variable` in the shape of the kernel; True keeps.
    """

    def __init__(self, regularizer: Any, mask: Any) -> None:
        self._regularizer = regularizer
        self._mask = mask

    def __call__(self, kernel: Any) -> Any:
        """The penalty on a kernel, a scalar tensor."""
        return self._regularizer(keras.ops.where(self._mask, kernel, 0))
