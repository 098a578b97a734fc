"""Removes pruning wrappers from a model, which leaves the plain architecture with its zeros."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import CheckError, ModelError
from edgeprune.keras_model.copies import compile_as, copy_layer, copy_model, rebuild
from edgeprune.keras_model.layers import Layer, Model, can_rebuild, is_model
from edgeprune.pruning.training.quantized.model import QuantizedModel
from edgeprune.pruning.training.wrapper import PrunedModel, PruneLowMagnitude, unwrapped, wrappers

OUTPUT_TOLERANCE = 1e-6
"""Largest difference of outputs, relative to the largest output."""
SAMPLES = 2
"""Number of generated samples on which the outputs are compared."""
UNKNOWN_SIZE = 64
"""Input size where the model leaves it open; a multiple of the total stride of most networks."""


def strip_pruning(model: Any) -> Any:
    """Removes the wrappers of a model (or layer) and puts the zeros of the masks in its kernels.

    Layers have the names they had before wrapping, and the model its class. The outputs of both
    models are compared on generated inputs. A model without wrappers is copied.

    Args:
      model: a trained model that `prune_low_magnitude` or `wrap` returned, or a quantisation-aware
        one of such; not changed.

    Returns:
      A new model, compiled as `model` is, with a fresh optimizer.

    Raises:
      ModelError: not a Keras layer or model, or one that cannot be copied, or one whose own code
        wraps layers.
      CheckError: the outputs of the plain model differ.
    """
    if not isinstance(model, keras.layers.Layer):
        raise ModelError(
            f"strip_pruning: expected a Keras model or layer. Received: {type(model).__name__}."
        )
    if isinstance(model, QuantizedModel):
        stripped = strip_pruning(model.model)
        compile_as(stripped, model)
        return stripped
    _warn_of_unfinished(model)
    if not is_model(model):
        return _without_wrapper(model)
    stripped = _strip_model(model)
    left = wrappers(stripped)
    if left:
        raise ModelError(
            f"{model.name}: '{left[0].layer.name}' is wrapped inside of a subclassed model or "
            "layer, which makes its wrappers itself and cannot be stripped as a whole. Make one "
            "that does not wrap, and give each of its layers the weights of "
            "strip_pruning(wrapper)."
        )
    check_same_outputs(model, stripped)
    return stripped


def _warn_of_unfinished(model: Any) -> None:
    """Warns if a schedule has not reached its final sparsity."""
    unfinished = [
        (entry.path, wrapper.steps_done, entry.rule.schedule.final_step, entry.sparsity)
        for wrapper in wrappers(model)
        for entry in wrapper.masked_kernels
        if not _is_final(wrapper.steps_done, entry.rule.schedule.final_step, entry.sparsity)
    ]
    if unfinished:
        path, step, final_step, sparsity = unfinished[0]
        others = f" (and {len(unfinished) - 1} more)" if len(unfinished) > 1 else ""
        warnings.warn(
            f"{path}{others}: the pruning schedule reaches its final sparsity "
            f"at step {final_step}. Received: a model trained for {step} steps, with a "
            f"sparsity of {sparsity:.3f}. Train on, let the schedule end earlier, and see that "
            "UpdatePruningStep is among the callbacks of fit.",
            stacklevel=3,
        )


def _is_final(step: int, final_step: int, sparsity: float) -> bool:
    return step >= final_step and (step > 0 or sparsity > 0)


def _strip_model(model: Model) -> Model:
    if isinstance(model, PrunedModel):
        stripped = _without_wrapper(model.wrapper)
        compile_as(stripped, model)
        return stripped
    if not can_rebuild(model):
        return copy_model(model)
    pairs: list[tuple[Layer, Layer]] = []

    def replace(layer: Layer) -> Layer:
        copy = copy_layer(unwrapped(layer))
        pairs.append((layer, copy))
        return copy

    stripped = rebuild(model, replace)
    for layer, copy in pairs:
        _carry_weights(layer, copy)
    return stripped


def _without_wrapper(layer: Layer) -> Layer:
    """A new plain layer (or subclassed model)."""
    inner = unwrapped(layer)
    copy = copy_layer(inner)
    if inner.built:
        if not copy.built:
            copy.build_from_config(inner.get_build_config())
        _carry_weights(layer, copy)
    return copy


def _carry_weights(layer: Layer, copy: Layer) -> None:
    """Copies the weights of a layer, with the masks applied."""
    inner = unwrapped(layer)
    if not getattr(inner, "weights", None):
        return
    masked: dict[int, Any] = {}
    if isinstance(layer, PruneLowMagnitude):
        masked = {id(entry.kernel): entry.masked() for entry in layer.masked_kernels}
    copy.set_weights([np.asarray(masked.get(id(weight), weight)) for weight in inner.weights])


def check_same_outputs(model: Model, stripped: Model) -> None:
    """Checks that two models give the same outputs on generated inputs.

    A model whose input shape is not known, since it was never called, is not checked.

    Args:
      model: the wrapped model.
      stripped: the plain model.

    Raises:
      CheckError: an output differs by more than `OUTPUT_TOLERANCE` of its largest value.
    """
    inputs = _generated_inputs(stripped)
    if inputs is None:
        return
    expected = keras.tree.flatten(model(inputs, training=False))
    received = keras.tree.flatten(stripped(inputs, training=False))
    for index, (before, after) in enumerate(zip(expected, received, strict=True)):
        difference = relative_difference(np.asarray(before), np.asarray(after))
        if not difference <= OUTPUT_TOLERANCE:
            raise CheckError(
                f"{model.name}: output {index} of the stripped model must equal that of the "
                f"wrapped one to {OUTPUT_TOLERANCE:g} of its largest value. Received: a "
                f"difference of {difference:.3g}. Does a layer depend on anything besides its "
                "weights and inputs?"
            )


def relative_difference(expected: Array, received: Array) -> float:
    """The largest difference of two arrays of one shape, relative to the largest expected value.

    NaN equals NaN. The difference is absolute if all expected values are 0.
    """
    before, after = expected.astype(np.float64), received.astype(np.float64)
    equal = (before == after) | (np.isnan(before) & np.isnan(after))
    if equal.all():
        return 0.0
    scale = np.abs(before[np.isfinite(before)]).max(initial=0.0)
    worst = np.abs(before - after)[~equal].max()
    return float(worst / scale) if scale else float(worst)


def _generated_inputs(model: Model) -> Any:
    """Random inputs in the structure of a model's inputs; None if their shapes are not known."""
    random = np.random.default_rng(0)
    if can_rebuild(model):
        if not model.built:
            return None
        sequential = isinstance(model, keras.Sequential)
        return keras.tree.map_structure(
            lambda tensor: _generated(random, tensor.shape, tensor.dtype),
            model.inputs[0] if sequential else model.input,
        )
    shape = (model.get_build_config() or {}).get("input_shape")
    return None if shape is None else _generated(random, shape, "float32")


def _generated(random: np.random.Generator, shape: tuple[int | None, ...], dtype: str) -> Any:
    sizes = [SAMPLES, *(UNKNOWN_SIZE if size is None else size for size in shape[1:])]
    if not str(dtype).startswith(("float", "bfloat")):
        # 0 and 1 are valid indices of any embedding or category.
        return keras.ops.convert_to_tensor(random.integers(0, 2, sizes), dtype=dtype)
    return keras.ops.convert_to_tensor(random.standard_normal(sizes), dtype=dtype)
