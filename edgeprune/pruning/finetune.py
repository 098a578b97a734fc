"""Fine-tuning without labels: the weights left in a pruned model learn from the dense model.

Reconstruction fits one layer after the other. Here all layers are trained together, for a few
epochs on the same samples: masks stay, batch normalisation keeps its statistics, and images are
shifted by a few pixels at random. The model would soon overfit a few hundred samples if only the
outputs were matched, so the inputs of every layer are matched too (as in FitNets, Romero et al.,
2015, arXiv:1412.6550). Where channels were removed, those that are left are.

Accuracy of the network of scripts/bench_accuracy on 16x16 images (dense 73.7 %), calibrated with
1,024 of them, without fine-tuning, with the outputs alone, and with both: 2:4 72.4 %, 72.6 % and
72.7 %; `Block(2,1)` at 70 % zeros 68.4 %, 69.2 % and 70.4 %.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from edgeprune.core.arrays import Array
from edgeprune.core.errors import QualityWarning
from edgeprune.core.progress import Progress, no_progress
from edgeprune.keras_model.interface import infer, predict, softmax_ends
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import LayerMap, Model
from edgeprune.pruning.channels.removal import InputsLeft
from edgeprune.pruning.reconstruct.recording import recorded
from edgeprune.pruning.reconstruct.samples import max_shift
from edgeprune.pruning.training.distill import OutputKind, output_distance
from edgeprune.pruning.training.feed import shift
from edgeprune.pruning.training.learning_rate import learning_rate_schedule

MAX_EPOCHS = 10
MAX_EPOCHS_SMALLER = 20
"""The same where channels were removed, which takes longer to make up for. The network of the
accuracy goals (81.2 %) at 0.64 of its cost: squared error of the outputs over their variance 0.026
without fine-tuning, 0.0157 after 10 epochs, 0.0148 after 20."""
MAX_BATCH_SIZE = 32
BATCH_PIXELS = 800_000
"""Most pixels in a batch, which bounds its memory; large images make smaller batches."""
PEAK_LEARNING_RATE = 1e-3
"""Peak learning rate. With the outputs alone it was too high: 3e-4 was more accurate."""
FEATURE_LOSS_WEIGHT = 10.0
"""Weight of the distance between layer inputs; that of the outputs is 1. 30 and 100 gave the same
accuracy."""
TEMPERATURE = 4.0
"""Temperature that softens class probabilities."""
MIN_SAMPLES = 128
"""With fewer samples there is no fine-tuning."""
MAX_MULTIPLICATIONS = 1e12
"""Most multiplications of all epochs, one to four minutes on two cores; a large network gets fewer
epochs."""
PASSES_PER_STEP = 4
"""Cost of a step in inferences: the teacher's, the student's, and two for the backward pass."""
VALIDATION_STRIDE = 8
"""Every 8th sample is held out to validate the result."""

ALL_INPUTS: InputsLeft = MappingProxyType({})
"""Of a model that lost no channels."""
Tensors: TypeAlias = list[Any]
"""One tensor `[n, ...]` per input or output."""
LayerInputs: TypeAlias = dict[tuple[str, int], Any]
"""The inputs of layers, by path and index of the call."""
Distance: TypeAlias = Callable[[Tensors, Tensors], Any]
"""The distance of given outputs from wanted ones, a scalar."""
TrainingStep: TypeAlias = Callable[[Tensors], None]
"""Trains on a batch, one tensor `[n, ...]` per input."""


def distill_outputs(
    pruned: LayerMap,
    dense: LayerMap,
    x: list[Array],
    progress: Progress = no_progress,
    inputs: InputsLeft = ALL_INPUTS,
) -> None:
    """Distils the outputs and layer inputs of the dense model into a pruned one, in place.

    Zeros of kernels stay. Nothing changes if there are fewer than `MIN_SAMPLES` samples, if one
    epoch would cost more than `MAX_MULTIPLICATIONS`, if the outputs on held-out samples do not get
    closer to the dense model's, or within the scope of a `tf.distribute` strategy.

    Args:
      pruned: a built Keras model with outputs of the same shapes as `dense`, and layers of the same
        paths; the inputs of a layer are compared where they have the same shape, or that which
        `inputs` leaves.
      dense: the teacher; not changed.
      x: samples, one array `[n, ...]` per input; no labels are needed.
      progress: called after every epoch.
      inputs: where channels were removed, those that layers still read.

    Warns:
      QualityWarning: an operation of the model has no gradient.
    """
    learned = np.delete(np.arange(len(x[0])), np.s_[::VALIDATION_STRIDE])
    most = MAX_EPOCHS_SMALLER if inputs else MAX_EPOCHS
    epochs = affordable_epochs(pruned, [array[: len(learned)] for array in x], most)
    if len(x[0]) < MIN_SAMPLES or not epochs or tf.distribute.has_strategy():
        return
    held_out = [array[::VALIDATION_STRIDE] for array in x]
    distance = _mean_output_distance(dense.model)
    wanted = predict(dense.model, held_out)

    def judge() -> float:
        return float(distance(wanted, predict(pruned.model, held_out)))

    before, weights = judge(), pruned.model.get_weights()
    try:
        variables = _variables_with_gradient(pruned.model, [array[:1] for array in x])
    except LookupError as error:  # what TensorFlow raises for an operation without one
        warnings.warn(f"Not fine-tuned: {error}.", QualityWarning, stacklevel=3)
        return
    if not variables:
        return
    size = batch_size(x)
    steps = epochs * (len(learned) // size)
    step = _make_step(pruned, dense, variables, distance, steps, inputs)
    _train(step, x, learned, size, epochs, progress)
    # `not <` rather than `>=`, so that NaN, where training diverged, is undone too.
    if not judge() < before:
        pruned.model.set_weights(weights)


def _variables_with_gradient(model: Model, sample: list[Array]) -> list[Any]:
    """The variables with a gradient; found in eager mode, where error messages are readable."""
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        outputs = infer(model, sample)
    gradients = tape.gradient(outputs, [variable.value for variable in variables])
    return [pair[0] for pair in zip(variables, gradients, strict=True) if pair[1] is not None]


def _train(
    step: TrainingStep, x: list[Array], learned: Array, size: int, epochs: int, progress: Progress
) -> None:
    """Trains on the samples of the rows `learned` in batches of `size`."""
    steps, moved_by = len(learned) // size, max_shift(x)
    generator = np.random.default_rng(0)
    for epoch in range(epochs):
        order = generator.permutation(learned)
        for rows in order[: steps * size].reshape(steps, size):
            batch = [tf.constant(array[rows]) for array in x]
            if moved_by:
                corners = generator.integers(0, 2 * moved_by + 1, (2, size, 1))
                batch = [shift(batch[0], corners, moved_by)]
            step(batch)
        progress("fine-tuning on the dense model's outputs", epoch + 1, epochs)


def affordable_epochs(mapped: LayerMap, x: list[Array], most: int = MAX_EPOCHS) -> int:
    """The number of epochs that `MAX_MULTIPLICATIONS` allows, and no more than `most`.

    Args:
      mapped: a built Keras model.
      x: samples, one array `[n, ...]` per input; only their shapes are used. They give the size of
        feature maps where the model leaves it open.
    """
    cost = sum(
        layer.parameters * (_positions(x) if layer.pixels is None else layer.pixels)
        for layer in describe_layers(mapped)
        if layer.kind != "Embedding"
    )
    return min(most, int(MAX_MULTIPLICATIONS / (PASSES_PER_STEP * max(cost, 1) * len(x[0]))))


def batch_size(x: list[Array]) -> int:
    """The number of samples in a batch: `MAX_BATCH_SIZE`, or fewer with `BATCH_PIXELS` in all.

    Args:
      x: samples, one array `[n, ...]` per input; only their shapes are used.
    """
    return min(MAX_BATCH_SIZE, max(1, BATCH_PIXELS // _positions(x)))


def _positions(x: list[Array]) -> int:
    """Pixels of an image, or steps of a sequence, in the largest input."""
    return max(math.prod(array.shape[1:-1]) for array in x)


def _mean_output_distance(dense: Model) -> Distance:
    """The mean distance over all outputs, as a function of the wanted and the given ones.

    Logits are compared as values: without labels it is not known whether their common offset is
    irrelevant.
    """
    kinds: list[OutputKind] = [
        "probabilities" if softmax else "values" for softmax in softmax_ends(dense)
    ]

    def distance(wanted: Tensors, given: Tensors) -> Any:
        values: list[OutputKind] = ["values" for _ in given]
        known = kinds if len(kinds) == len(given) else values
        parts = [
            output_distance(teacher, student, kind, TEMPERATURE)
            for teacher, student, kind in zip(wanted, given, known, strict=True)
        ]
        return sum(parts) / len(parts)

    return distance


def _feature_distance(wanted: LayerInputs, given: LayerInputs, inputs: InputsLeft) -> Any:
    """The mean distance of the layer inputs, where they have the same channels left."""
    pairs = [
        (_left_of(wanted[call], inputs.get(call)), given[call]) for call in given if call in wanted
    ]
    parts = [
        output_distance(teacher, student, "values", TEMPERATURE)
        for teacher, student in pairs
        if teacher.shape == student.shape
    ]
    return sum(parts) / max(len(parts), 1)


def _left_of(tensor: Any, left: tuple[int, Array] | None) -> Any:
    """What is left of a layer's input `[n, ...]` of the dense model."""
    if left is None or len(left[1]) == tensor.shape[left[0]]:
        return tensor
    return tf.gather(tensor, left[1], axis=left[0])


def _make_step(
    pruned: LayerMap,
    dense: LayerMap,
    variables: list[Any],
    distance: Distance,
    steps: int,
    inputs: InputsLeft,
) -> TrainingStep:
    """One of `steps` training steps; zeros of kernels stay zero."""
    kept = [np.asarray(variable) != 0 if variable.ndim > 1 else None for variable in variables]
    optimizer = keras.optimizers.Adam(learning_rate_schedule(PEAK_LEARNING_RATE, steps))
    optimizer.build(variables)

    def step(batch: Tensors) -> None:
        wanted, wanted_inputs = _call(dense, batch)
        with tf.GradientTape() as tape:
            given, given_inputs = _call(pruned, batch)
            loss = distance(wanted, given) + FEATURE_LOSS_WEIGHT * _feature_distance(
                wanted_inputs, given_inputs, inputs
            )
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        for mask, variable in zip(kept, variables, strict=True):
            if mask is not None:
                variable.assign(tf.where(mask, variable.value, tf.zeros((), variable.dtype)))

    compiled: TrainingStep = tf.function(step)
    return compiled


def _call(mapped: LayerMap, batch: Tensors) -> tuple[Tensors, LayerInputs]:
    """The outputs for inference, and the inputs of the layers that can be pruned."""
    with ExitStack() as stack:
        seen = {
            path: stack.enter_context(recorded(layer))
            for path, layer in mapped.layers.items()
            if path in mapped.kernels
        }
        outputs = infer(mapped.model, batch)
    inputs = {
        (path, call): tensor
        for path, layer in seen.items()
        for call, tensor in enumerate(layer.inputs)
    }
    return outputs, inputs
