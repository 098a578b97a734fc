"""The wrapper: a Keras layer that holds the masks of another layer while it trains.

A wrapper calls its layer with masked kernels replacing its own (see `masked_kernel`). It works for
any layer, which itself is not changed.

Usually the wrapped layer has one kernel. The graph of a subclassed model is not known, so it is
wrapped as a whole, and the wrapper holds one mask for each kernel in it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from edgeprune.core.errors import InputError, ModelError
from edgeprune.core.spelling import with_article
from edgeprune.keras_model.layers import Layer, Model, layers_inside, map_layers
from edgeprune.pruning.training.masked_kernel import (
    KERAS_PACKAGE,
    MaskedKernel,
    MaskedRegularizer,
    PruningRule,
    kernels_of,
)

WRAPPER_PREFIX = "prune_low_magnitude_"
"""Prefix of the layer's name in the name of its wrapper."""


@keras.saving.register_keras_serializable(package=KERAS_PACKAGE)
class PruneLowMagnitude(keras.layers.Wrapper):
    """Trains a layer with masked kernels.

    `strip_pruning` returns the plain layer. `UpdatePruningStep` must be among the callbacks of
    `fit`; without it the masks would never be updated, so that calling the layer for training
    raises an `InputError`.

    Args:
      layer: any Keras layer; a built one keeps its weights.
      rules: a rule for the layer itself or, if it is a model, for each layer in it with kernels.
      **kwargs: arguments of `keras.layers.Wrapper`.
    """

    def __init__(self, layer: Layer, rules: tuple[PruningRule, ...], **kwargs: Any) -> None:
        kwargs.setdefault("name", f"{WRAPPER_PREFIX}{layer.name}")
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, **kwargs)
        self.rules = tuple(rules)
        self.masked_kernels: tuple[MaskedKernel, ...] = ()
        self.supports_masking = layer.supports_masking
        self._begun = False
        self._has_callback = False
        self._takes_training = "training" in inspect.signature(layer.call).parameters

    def build(self, input_shape: Any = None) -> None:
        """Builds the layer if necessary, and adds a mask for each kernel that keeps all weights.

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

    def _masked_kernels(self, rule: PruningRule) -> Iterator[MaskedKernel]:
        layer = self.layer if not rule.path else map_layers(self.layer).layers[rule.path]
        path = f"{self.layer.name}/{rule.path}" if rule.path else self.layer.name
        kernels = kernels_of(layer)
        if not kernels:
            raise ModelError(
                f"{path}: expected a layer with a kernel that patterns are defined on. "
                f"Received: {with_article(type(layer).__name__)}. Leave it unwrapped."
            )
        for kind, kernel in kernels:
            mask = self.add_weight(
                shape=kernel.shape, dtype="bool", initializer="ones", trainable=False, name="mask"
            )
            if kernel.regularizer is not None:
                kernel.regularizer = MaskedRegularizer(kernel.regularizer, mask)
            yield MaskedKernel(path, kind, kernel, mask, rule)

    def call(self, inputs: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Calls the layer with masked kernels replacing its own.

        Raises:
          InputError: it trains, and no `UpdatePruningStep` has begun.
        """
        if training and not self._has_callback and not _is_symbolic(inputs):
            raise InputError(
                f"{self.name}: expected the callback UpdatePruningStep, which updates the masks "
                "while training. Received: training without it, which would prune nothing. Add "
                "edgeprune.UpdatePruningStep() to the callbacks of fit; in a loop of your own call "
                "its set_model and on_train_begin first."
            )
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
        # The scope collects updates of moving averages and seeds, and losses; apply them here.
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
        """The shape and dtype of the layer's output."""
        if not self._takes_training:
            kwargs.pop("training", None)
        return self.layer.compute_output_spec(inputs, **kwargs)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The time-step mask that the layer passes on."""
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self) -> dict[str, Any]:
        """The Keras configuration of the wrapper, which includes the layer's."""
        return {**super().get_config(), "rules": [rule.get_config() for rule in self.rules]}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> PruneLowMagnitude:
        """Restores a wrapper from what `get_config` returned."""
        layer = keras.saving.deserialize_keras_object(config["layer"], custom_objects)
        rules = tuple(PruningRule.from_config(rule) for rule in config["rules"])
        left = {name: value for name, value in config.items() if name not in {"layer", "rules"}}
        return cls(layer, rules, **left)

    @property
    def steps_done(self) -> int:
        """Training steps counted so far."""
        return int(np.asarray(self.step))  # int() alone fails on a variable that is distributed

    def begin(self) -> None:
        """Computes the masks of step 0, if training is at step 0 and the schedule prunes there.

        A wrapper that the first batch has yet to build computes them after that batch.
        """
        self._begun = self.built
        self._has_callback = True
        if self.built and self.steps_done == 0:
            for entry in self.masked_kernels:
                if entry.rule.schedule.should_prune(0):
                    entry.update(0)
            self.settle()

    def advance(self, steps: int) -> None:
        """Counts training steps and updates the masks that are due by their schedule."""
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
        """Sets pruned weights to zero in every kernel whose sparsity is final.

        Optimizers may move them: momentum and weight decay act without a gradient.
        """
        step = self.steps_done
        for entry in self.masked_kernels:
            if step >= entry.rule.schedule.final_step:
                entry.set_zeros()


def _is_symbolic(inputs: Any) -> bool:
    """Whether a layer is called to put a graph together, not to compute."""
    return any(isinstance(part, keras.KerasTensor) for part in keras.tree.flatten(inputs))


@keras.saving.register_keras_serializable(package=KERAS_PACKAGE)
class PrunedModel(keras.Model):
    """A subclassed model in a wrapper, to be trained with masks.

    Args:
      wrapper: the wrapper of the built model.
      **kwargs: arguments of `keras.Model`.
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
        """The Keras configuration of the model, which includes the wrapper's."""
        wrapper = keras.saving.serialize_keras_object(self.wrapper)
        return {**super().get_config(), "wrapper": wrapper}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> PrunedModel:
        """Restores a model from what `get_config` returned."""
        wrapper = keras.saving.deserialize_keras_object(config["wrapper"], custom_objects)
        return cls(wrapper, name=config.get("name"))


def unwrapped(layer: Any) -> Any:
    """The layer itself, of one that is wrapped for pruning; any other operation as it is."""
    return layer.layer if isinstance(layer, PruneLowMagnitude) else layer


def wrappers(model: Model | Layer) -> tuple[PruneLowMagnitude, ...]:
    """Every wrapper in a model or layer, at any depth, each once; a wrapper includes itself."""
    layers = layers_inside(model)
    return tuple(layer for layer in layers if isinstance(layer, PruneLowMagnitude))
