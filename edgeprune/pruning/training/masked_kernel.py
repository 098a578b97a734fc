"""A kernel in training with its mask, and the rule by which the mask is made.

The kernel is seen as `where(mask, kernel, 0)`, so a pruned weight neither reaches the output nor
receives a gradient. It keeps its value while the schedule runs, so that it can come back when masks
are made anew (Zhu and Gupta, 2017, arXiv:1710.01878, section 3); by a rule with `regrow` it even
moves meanwhile. Once the schedule has reached its final sparsity the kernel itself is set to zero.
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
"""Under this name Keras finds the classes of a saved model again."""
DECAY = 2e-4
"""Pulls pruned weights that may still move towards zero: the lambda of SR-STE.

Source: Zhou et al., 2021, arXiv:2102.04010, section 4.
"""

for _schedule in (ConstantSparsity, LinearDecay, PolynomialDecay):
    keras.saving.register_keras_serializable(package=KERAS_PACKAGE)(_schedule)

_KIND_OF_RANK = {2: "Dense", 3: "Conv1D", 4: "Conv2D"}
"""How the weights of a layer with `get_prunable_weights` are read: as `[..., in, out]`."""


@dataclass(frozen=True)
class PruningRule:
    """How the kernels of one layer are pruned while it trains."""

    pattern: Pattern
    schedule: Schedule
    pooling: Literal["AVG", "MAX"] = "AVG"
    """Whether the mean or the highest magnitude in a tile is the score of the tile."""
    path: str = ""
    """Of the layer within the wrapped one; empty for the wrapped layer itself."""
    regrow: bool = False
    """Whether pruned weights go on to move until the sparsity is final, and may come back.

    Their gradient is that of the masked kernel (straight through) plus `DECAY` times the weight:
    SR-STE, Zhou et al., 2021, arXiv:2102.04010, equation 8.
    """

    def __post_init__(self) -> None:
        if self.pooling not in ("AVG", "MAX"):
            raise InputError(f"`block_pooling_type` is 'AVG' or 'MAX'. Received: {self.pooling!r}.")

    def sparsity_at(self, step: int) -> float:
        """The fraction of zeros at a step; an `NofM` has its own from the first mask on."""
        if isinstance(self.pattern, NofM):
            return self.pattern.sparsity
        return self.schedule.sparsity_at(step)

    def mask(self, kind: str, kernel: Array, step: int) -> Mask:
        """The mask of a kernel, in the shape of the kernel; True keeps."""
        scores = magnitude(device_matrix.to_device(kind, kernel))
        if self.pooling == "MAX" and isinstance(self.pattern, Block):
            scores = tile_maximum(scores, self.pattern)
        found = make_mask(scores, self.pattern, self.sparsity_at(step))
        return device_matrix.to_keras(kind, found, kernel.shape)

    def get_config(self) -> dict[str, Any]:
        """The rule as a Keras config holds it."""
        return {
            "pattern": str(self.pattern),
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "pooling": self.pooling,
            "path": self.path,
            "regrow": self.regrow,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PruningRule:
        """The rule that `get_config` described."""
        return cls(
            parse_pattern(config["pattern"]),
            keras.saving.deserialize_keras_object(config["schedule"]),
            config["pooling"],
            config["path"],
            config.get("regrow", False),
        )


@dataclass(frozen=True)
class MaskedKernel:
    """A kernel that is trained, its mask, and the rule it is pruned by."""

    path: str
    """Of the layer, as messages name it."""
    kind: str
    kernel: Any
    """`keras.Variable`, in Keras order."""
    mask: Any
    """bool `keras.Variable` of the same shape; True keeps."""
    rule: PruningRule

    def masked(self) -> Any:
        """The kernel with zeros in place, as a tensor."""
        return keras.ops.where(self.mask.value, self.kernel.value, 0)

    def trained(self, step: Any) -> Any:
        """`masked` as the forward pass of training uses it, with the gradient that the rule wants.

        Args:
          step: scalar tensor, steps done.
        """
        if not self.rule.regrow:
            return self.masked()
        moving = step < self.rule.schedule.final_step
        mask = keras.ops.convert_to_tensor(self.mask.value)
        return _straight_through(keras.ops.convert_to_tensor(self.kernel.value), mask, moving)

    def set_zeros(self) -> None:
        """Writes the zeros into the kernel itself."""
        self.kernel.assign(self.masked())

    def update(self, step: int) -> None:
        """Makes the mask anew for a step.

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
    """The masked kernel; while `moving`, pruned weights get its gradient plus their decay."""

    def masked(weights: Any) -> Any:
        def gradient(*arguments: Any, upstream: Any = None) -> Any:
            # TensorFlow gives the gradient as the argument, other backends by name.
            above = arguments[0] if upstream is None else upstream
            pruned = keras.ops.where(moving, above + DECAY * weights, 0)
            return keras.ops.where(mask, above, pruned)

        return keras.ops.where(mask, weights, 0), gradient

    return keras.ops.custom_gradient(masked)(kernel)


def kernels_of(layer: Layer) -> tuple[tuple[str, Any], ...]:
    """The `(kind, keras.Variable)` of every kernel of a built layer that patterns apply to.

    A layer of the user's own takes part by a method `get_prunable_weights()`, as in TensorFlow
    Model Optimization; its weights are read as `[..., in, out]`.
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


class MaskedRegularizer:
    """Applies a regularizer to the kept weights only."""

    def __init__(self, regularizer: Any, mask: Any) -> None:
        self._regularizer = regularizer
        self._mask = mask

    def __call__(self, kernel: Any) -> Any:
        """The penalty, a scalar tensor."""
        return self._regularizer(keras.ops.where(self._mask, kernel, 0))
