"""Wraps the layers of models for pruning: by one rule for all layers, or by a plan.

The models returned are new and share nothing with those given. A layer that is not wrapped is kept,
and `kept_layers` gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras

from edgeprune.core import device_matrix
from edgeprune.core.errors import ModelError
from edgeprune.core.pattern import NofM, Pattern
from edgeprune.core.plan import Plan, check_plan
from edgeprune.core.spelling import with_article
from edgeprune.core.terms import LAYER_KINDS
from edgeprune.keras_model.copies import compile_as, copy_layer, copy_model, rebuild
from edgeprune.keras_model.interface import own_training
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import Layer, Model, can_rebuild, is_model, map_layers
from edgeprune.pruning.training.masked_kernel import PruningRule, kernels_of
from edgeprune.pruning.training.schedule import ConstantSparsity, Schedule
from edgeprune.pruning.training.wrapper import PrunedModel, PruneLowMagnitude

DEFAULT_SCHEDULE = ConstantSparsity(0.5, 0)
"""The default of TensorFlow Model Optimization."""


@dataclass(frozen=True)
class KeptLayer:
    """A layer that was not wrapped, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class _Kept:
    """Holds kept layers in an attribute of a model; Keras would track a bare tuple."""

    layers: tuple[KeptLayer, ...]


_Choice = PruningRule | str
"""A rule to wrap a layer with, or the reason to keep it."""
_Choose = Callable[[str, Layer], _Choice]


def prune_low_magnitude(
    to_prune: Any,
    pruning_schedule: Schedule = DEFAULT_SCHEDULE,
    block_size: tuple[int, int] = (1, 1),
    block_pooling_type: Literal["AVG", "MAX"] = "AVG",
    sparsity_m_by_n: tuple[int, int] | None = None,
    pruning_policy: Any = None,
    *,
    pattern: Pattern | None = None,
    **kwargs: Any,
) -> Any:
    """Wraps a layer, a list of layers, or every layer of a model, to be pruned while it trains.

    Names and meaning are those of TensorFlow Model Optimization, with these differences: layers
    that cannot be wrapped are kept and no error is raised, subclassed models are supported, a block
    on a convolution applies to its device matrix, and the result holds copies.

    Args:
      to_prune: a Keras layer, built or not, a list of them, or a model.
      pruning_schedule: when masks are updated, and to which sparsity.
      block_size: (height, width) of a tile on a Dense kernel `[in, out]`.
      block_pooling_type: whether the mean ("AVG") or highest ("MAX") magnitude in a tile counts.
      sparsity_m_by_n: (m, n), m zeros in every n consecutive input channels; the schedule then
        only decides when masks are updated.
      pruning_policy: an object with `allow_pruning(layer)`, and optionally
        `ensure_model_supports_pruning(model)`, which raises if the model is not supported.
      pattern: the pattern, replacing `block_size` and `sparsity_m_by_n`.
      **kwargs: arguments of the wrapper, if one layer is given.

    Returns:
      What was given, wrapped: a model (compiled as before), a layer or a list of layers.

    Raises:
      ModelError: not a layer or model, or one that cannot be copied.
      PatternError: an invalid `block_size` or `sparsity_m_by_n`.
    """
    pattern = pattern or device_matrix.tfmot_pattern(block_size, sparsity_m_by_n)
    rule = PruningRule(pattern, pruning_schedule, block_pooling_type)

    def choose(path: str, layer: Layer) -> _Choice:
        del path
        if pruning_policy is not None and not pruning_policy.allow_pruning(layer):
            return "the pruning policy does not allow it"
        return _reason_to_keep(layer, rule.pattern) or rule

    if isinstance(to_prune, list):
        return [_wrap_layer(layer, choose, kwargs) for layer in to_prune]
    if not isinstance(to_prune, keras.layers.Layer):
        raise ModelError(
            "prune_low_magnitude: expected a Keras layer, a list of layers or a model. "
            f"Received: {type(to_prune).__name__}."
        )
    if not is_model(to_prune):
        return _wrap_layer(to_prune, choose, kwargs)
    if hasattr(pruning_policy, "ensure_model_supports_pruning"):
        pruning_policy.ensure_model_supports_pruning(to_prune)
    return _wrap_model(to_prune, choose)


def wrap(model: Model, plan: Plan, schedule: Schedule, *, regrow: bool = False) -> Model:
    """Wraps the layers that a plan prunes, each with its own pattern and final sparsity.

    Args:
      model: a built Keras model; not changed.
      plan: a plan that `plan` made, possibly edited.
      schedule: the schedule of every layer, scaled to end at the layer's sparsity. An `NofM` has
        its sparsity from the first mask on.
      regrow: whether pruned weights are trained while the schedule runs and may regrow; see
        `PruningRule`.

    Returns:
      A new model, compiled as before.

    Raises:
      PlanError: the plan does not fit the model.
      ModelError: the model cannot be copied.
    """
    check_plan(plan, describe_layers(map_layers(model)))
    rows = {row.path: row for row in plan.layers}

    def choose(path: str, layer: Layer) -> _Choice:
        row = rows.get(path)
        if row is None:
            return "the plan does not name it"
        if row.pattern is None or not row.sparsity:
            return row.reason
        if not kernels_of(layer):
            return _no_kernel(layer)
        return PruningRule(row.pattern, schedule.with_final_sparsity(row.sparsity), regrow=regrow)

    return _wrap_model(model, choose)


def kept_layers(wrapped: Any) -> tuple[KeptLayer, ...]:
    """The layers that were not wrapped, each with the reason.

    Args:
      wrapped: what `prune_low_magnitude` or `wrap` returned. A model that was saved and loaded has
        lost this information and gives an empty tuple.
    """
    kept = getattr(wrapped, "kept_unwrapped", None)
    return kept.layers if isinstance(kept, _Kept) else ()


def _no_kernel(layer: Layer) -> str:
    return f"patterns are not defined on the weights of {with_article(type(layer).__name__)}"


def _reason_to_keep(layer: Layer, pattern: Pattern) -> str:
    """Why a layer is not wrapped if there is no plan; empty if it is."""
    kind = type(layer).__name__
    if isinstance(layer, PruneLowMagnitude):
        return "wrapped before"
    own = hasattr(layer, "get_prunable_weights")
    if layer.built and not layer.weights:
        return "no weights"
    if kind.startswith("Depthwise") and not own:
        return "a depthwise kernel holds few weights that each matter; a plan can prune it"
    if not own and (kind not in LAYER_KINDS or (layer.built and not kernels_of(layer))):
        return _no_kernel(layer)
    return _misfit(layer, pattern) if layer.built else ""


def _misfit(layer: Layer, pattern: Pattern) -> str:
    """Why an `NofM` does not fit the input channels of a convolution; empty if it does."""
    for kind, kernel in kernels_of(layer):
        channels = device_matrix.input_channels(kind, tuple(kernel.shape))
        positions = device_matrix.device_shape(kind, tuple(kernel.shape))[1] // channels
        if isinstance(pattern, NofM) and positions > 1 and channels % pattern.m:
            return f"{channels} input channels, not a multiple of {pattern.m} for {pattern}"
    return ""


def _wrap_layer(layer: Layer, choose: _Choose, kwargs: dict[str, Any]) -> Layer:
    choice = choose(layer.name, layer)
    copy = copy_layer(layer)
    if layer.built:
        copy.build_from_config(layer.get_build_config())
        copy.set_weights(layer.get_weights())
    if isinstance(choice, PruningRule):
        return PruneLowMagnitude(copy, (choice,), **kwargs)
    copy.kept_unwrapped = _Kept((KeptLayer(layer.name, choice),))
    return copy


def _wrap_model(model: Model, choose: _Choose) -> Model:
    """Wraps every layer that `choose` gives a rule for, shared layers once."""
    layers = map_layers(model).layers
    choices = {path: choose(path, layer) for path, layer in layers.items()}
    rules = {
        id(layers[path]): choice
        for path, choice in choices.items()
        if isinstance(choice, PruningRule)
    }
    rewrap = _wrapped_graph if can_rebuild(model) else _wrapped_subclass
    wrapped = rewrap(model, rules)
    kept = [KeptLayer(path, choice) for path, choice in choices.items() if isinstance(choice, str)]
    wrapped.kept_unwrapped = _Kept(tuple(kept))
    return wrapped


def _wrapped_graph(model: Model, rules: dict[int, PruningRule]) -> Model:
    pairs: list[tuple[Layer, Layer]] = []

    def replace(layer: Layer) -> Layer:
        copy = copy_layer(layer)
        inside = _rules_inside(layer, rules)
        pairs.append((layer, copy))
        return PruneLowMagnitude(copy, inside) if inside else copy

    wrapped = rebuild(model, replace)
    for layer, copy in pairs:
        if getattr(layer, "weights", None):
            copy.set_weights(layer.get_weights())
    return wrapped


def _rules_inside(layer: Layer, rules: dict[int, PruningRule]) -> tuple[PruningRule, ...]:
    """The rule of a layer, or those of the layers in a subclassed model, with their paths."""
    if not is_model(layer):
        return (rules[id(layer)],) if id(layer) in rules else ()
    return tuple(
        PruningRule(rule.pattern, rule.schedule, rule.pooling, path)
        for path, inner in map_layers(layer).layers.items()
        if (rule := rules.get(id(inner)))
    )


def _wrapped_subclass(model: Model, rules: dict[int, PruningRule]) -> Model:
    inside = _rules_inside(model, rules)
    copy = copy_model(model)
    if not inside:
        return copy
    own = own_training(model)
    if own:
        raise ModelError(
            f"{model.name}: this {type(model).__name__} trains by its own {' and '.join(own)}, "
            "which a wrapper around the whole model would not call. Wrap its layers in its "
            "__init__ instead: self.dense = prune_low_magnitude(keras.layers.Dense(10), ...)."
        )
    wrapped = PrunedModel(PruneLowMagnitude(copy, inside), name=model.name)
    compile_as(wrapped, model)
    return wrapped
