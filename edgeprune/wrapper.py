"""The wrapper: a Keras layer that holds masks while another layer trains.

A wrapper evaluates its layer with `where(mask, kernel, 0)` for the kernel, so a pruned weight
neither reaches the output nor receives a gradient, whatever layer or optimizer it is; a rule with
`regrow` lets gradients through to pruned weights while its schedule runs. The layer itself is not
changed. A pruned weight keeps its value while the schedule runs, so that it can come
back when masks are made anew (Zhu and Gupta, 2017, arXiv:1710.01878, section 3); once the schedule
has reached its final sparsity the kernel itself is set to zero.

Usually the wrapped layer holds the one kernel. Of a subclassed model nothing is known but what it
computes, so it is wrapped as a whole and the wrapper holds one mask for each kernel inside.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from edgeprune import keras_model, layout
from edgeprune.errors import InputError, ModelError
from edgeprune.keras_model import Layer, Model
from edgeprune.layout import Array
from edgeprune.mask import Mask, make_mask
from edgeprune.pattern import Block, NofM, Pattern, parse_pattern
from edgeprune.schedule import ConstantSparsity, LinearDecay, PolynomialDecay, Schedule
from edgeprune.score import magnitude, tile_maximum

PACKAGE = "edgeprune"
"""Under this name Keras finds the classes of a saved model again."""
PREFIX = "prune_low_magnitude_"
"""Stands before the layer's name in the name of its wrapper."""
DECAY = 2e-4
"""Pulls pruned weights that may still move towards zero: the lambda of SR-STE.

Source: Zhou et al., 2021, arXiv:2102.04010, section 4.
"""

for _schedule in (ConstantSparsity, LinearDecay, PolynomialDecay):
    keras.saving.register_keras_serializable(package=PACKAGE)(_schedule)

_KIND_OF_RANK = {2: "Dense", 3: "Conv1D", 4: "Conv2D"}
"""How the weights of a layer with `get_prunable_weights` are read: as `[..., in, out]`."""


@dataclass(frozen=True)
class Rule:
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
        scores = magnitude(layout.to_device(kind, kernel))
        if self.pooling == "MAX" and isinstance(self.pattern, Block):
            scores = tile_maximum(scores, self.pattern)
        found = make_mask(scores, self.pattern, self.sparsity_at(step))
        return layout.to_keras(kind, found, kernel.shape)

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
    def from_config(cls, config: dict[str, Any]) -> Rule:
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
    rule: Rule

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
    kernel = keras_model.kernel_variable(layer)
    return ((type(layer).__name__, kernel),) if isinstance(kernel, keras.Variable) else ()


@keras.saving.register_keras_serializable(package=PACKAGE)
class PruneLowMagnitude(keras.layers.Wrapper):
    """Trains a layer with masks over its kernels.

    `strip_pruning` takes the layer out again; `UpdatePruningStep` must be among the callbacks of
    `fit`, or masks are never made.

    Args:
      layer: any Keras layer; a built one keeps its weights.
      rules: one for each layer with kernels: the layer itself, or of a model those inside.
      **kwargs: to `keras.layers.Wrapper`.
    """

    def __init__(self, layer: Layer, rules: tuple[Rule, ...], **kwargs: Any) -> None:
        kwargs.setdefault("name", f"{PREFIX}{layer.name}")
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, **kwargs)
        self.rules = tuple(rules)
        self.masked_kernels: tuple[MaskedKernel, ...] = ()
        self.supports_masking = layer.supports_masking
        self._begun = False
        self._takes_training = "training" in inspect.signature(layer.call).parameters

    def build(self, input_shape: Any = None) -> None:
        """Builds the layer if it is not yet, and makes a mask that keeps all for each kernel.

        Raises:
          ModelError: a rule names a layer without a kernel.
        """
        super().build(input_shape)
        self.step = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, name="pruning_step"
        )
        self.masked_kernels = tuple(
            masked for rule in self.rules for masked in self._masked_kernels(rule)
        )

    def _masked_kernels(self, rule: Rule) -> Iterator[MaskedKernel]:
        layer = self.layer if not rule.path else keras_model.unique_layers(self.layer)[rule.path]
        path = f"{self.layer.name}/{rule.path}" if rule.path else self.layer.name
        kernels = kernels_of(layer)
        if not kernels:
            raise ModelError(
                f"{path}: expected a layer with a kernel that patterns are defined on. "
                f"Received: a {type(layer).__name__}. Leave it unwrapped."
            )
        for kind, kernel in kernels:
            mask = self.add_weight(
                shape=kernel.shape, dtype="bool", initializer="ones", trainable=False, name="mask"
            )
            if kernel.regularizer is not None:
                kernel.regularizer = _OnKept(kernel.regularizer, mask)
            yield MaskedKernel(path, kind, kernel, mask, rule)

    def call(self, inputs: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Calls the layer with the masked kernels in place of its own."""
        if self._takes_training:
            kwargs["training"] = training
        step = self.step.value
        masked = {
            id(entry.kernel): entry.trained(step) if training else entry.masked()
            for entry in self.masked_kernels
        }
        variables = self.layer.variables
        scope = keras.StatelessScope(
            [(variable, masked.get(id(variable), variable.value)) for variable in variables],
            collect_losses=True,
            initialize_variables=False,
        )
        before = [scope.get_current_value(variable) for variable in variables]
        with scope:
            outputs = self.layer(inputs, **kwargs)
        # Moving averages, seeds and losses of the layer end up in the scope; they belong outside.
        for variable, old in zip(variables, before, strict=True):
            new = scope.get_current_value(variable)
            if new is not old:
                variable.assign(new)
        for loss in scope.losses:
            self.add_loss(loss)
        return outputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output shape of the layer."""
        return self.layer.compute_output_shape(input_shape)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """Shape and type of the layer's output."""
        if not self._takes_training:
            kwargs.pop("training", None)
        return self.layer.compute_output_spec(inputs, **kwargs)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The time-step mask that the layer hands on."""
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the wrapper, the layer's own config among them."""
        return {**super().get_config(), "rules": [rule.get_config() for rule in self.rules]}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> PruneLowMagnitude:
        """The wrapper that `get_config` described."""
        layer = keras.saving.deserialize_keras_object(config["layer"], custom_objects)
        rules = tuple(Rule.from_config(rule) for rule in config["rules"])
        left = {name: value for name, value in config.items() if name not in {"layer", "rules"}}
        return cls(layer, rules, **left)

    @property
    def steps_done(self) -> int:
        """Training steps counted so far."""
        return int(np.asarray(self.step))  # int() alone fails on a variable that is distributed

    def begin(self) -> None:
        """Makes the masks of step 0, if training is there and the schedule names that step.

        A wrapper that the first batch has yet to build makes them after that batch.
        """
        self._begun = self.built
        if self.built and self.steps_done == 0:
            for entry in self.masked_kernels:
                if entry.rule.schedule.should_prune(0):
                    entry.update(0)
            self.settle()

    def advance(self, steps: int) -> None:
        """Counts training steps and makes masks anew where a schedule wants it."""
        if not self._begun:
            self.begin()
        before = self.steps_done
        now = before + steps
        self.step.assign(now)
        due = [entry for entry in self.masked_kernels if entry.rule.schedule.is_due(before, now)]
        for entry in due:
            entry.update(now)
        if due:
            self.settle()

    def settle(self) -> None:
        """Writes the zeros into every kernel whose sparsity is final; optimizers may move them."""
        step = self.steps_done
        for entry in self.masked_kernels:
            if step >= entry.rule.schedule.final_step:
                entry.set_zeros()


@keras.saving.register_keras_serializable(package=PACKAGE)
class PrunedModel(keras.Model):
    """Trains a subclassed model with masks; holds it in a wrapper.

    Args:
      wrapper: around the built model.
      **kwargs: to `keras.Model`.
    """

    def __init__(self, wrapper: PruneLowMagnitude, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wrapper = wrapper
        if not wrapper.built:
            wrapper.build()
            wrapper.built = True
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Calls the model through its wrapper."""
        return self.wrapper(inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        """The wrapper, the model's own config in it."""
        wrapper = keras.saving.serialize_keras_object(self.wrapper)
        return {**super().get_config(), "wrapper": wrapper}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> PrunedModel:
        """The model that `get_config` described."""
        wrapper = keras.saving.deserialize_keras_object(config["wrapper"], custom_objects)
        return cls(wrapper, name=config.get("name"))


def wrappers(model: Model | Layer) -> tuple[PruneLowMagnitude, ...]:
    """Every wrapper in a model or layer once, however deep; a wrapper is its own."""
    layers = keras_model.layers_inside(model)
    return tuple(layer for layer in layers if isinstance(layer, PruneLowMagnitude))


class _OnKept:
    """Applies a regularizer to the kept weights only."""

    def __init__(self, regularizer: Any, mask: Any) -> None:
        self._regularizer = regularizer
        self._mask = mask

    def __call__(self, kernel: Any) -> Any:
        return self._regularizer(keras.ops.where(self._mask, kernel, 0))
