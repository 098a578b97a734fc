"""Fine-tuning without labels: what a pruned model keeps learns from the dense model.

Reconstruction fits one layer after the other. Here all of them move together, for a few epochs on
the same samples: masks stay, batch normalisation keeps its statistics, and images are moved by a
few pixels anew each time. A few hundred samples would soon be known by heart if only the answers
counted, so what enters every layer is to stay near the dense model's too (as in FitNets, Romero et
al., 2015, arXiv:1412.6550).

The network of scripts/bench_accuracy on images of 16x16 (dense 73.7 %), from 1,024 of them: 2:4
72.4 % without fine-tuning, 72.6 % with the answers alone, 72.7 % with both; `Block(2,1)` at 70 %
68.4 %, 69.2 % and 70.4 %.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from edgeprune.core.arrays import Array
from edgeprune.core.errors import QualityWarning
from edgeprune.core.progress import Progress, no_progress
from edgeprune.keras_model.interface import infer, predict, softmax_ends
from edgeprune.keras_model.layer_info import describe
from edgeprune.keras_model.layers import LayerMap, Model
from edgeprune.pruning.reconstruct.recording import recorded
from edgeprune.pruning.reconstruct.samples import reach
from edgeprune.pruning.training.distill import Meaning, output_distance
from edgeprune.pruning.training.feed import shift
from edgeprune.pruning.training.learning_rate import learning_rate_schedule

EPOCHS = 10
BATCH_SIZE = 32
BATCH_PIXELS = 800_000
"""Pixels of a batch, which bound its memory; large images make smaller batches."""
LEARNING_RATE = 1e-3
"""Peak. With the answers alone it was too high: 3e-4 gave more."""
INSIDE = 10.0
"""How much what enters the layers counts beside the answers; 30 and 100 gave the same."""
TEMPERATURE = 4.0
"""Softens class probabilities."""
FEWEST_SAMPLES = 128
"""With fewer, reconstruction has the last word."""
MULTIPLICATIONS = 1e12
"""What all epochs may cost, one to four minutes on two cores; a large network gets fewer epochs."""
PASSES = 4
"""A step in multiplications of one inference: the teacher's, the student's, and two backwards."""
HELD_OUT = 8
"""One sample of so many judges the result and is not learned from."""

Tensors: TypeAlias = list[Any]
Inside: TypeAlias = dict[tuple[str, int], Any]
"""What enters layers, by path and number of the call."""
Distance: TypeAlias = Callable[[Tensors, Tensors], Any]
Step: TypeAlias = Callable[[Tensors], None]
"""Learns from a batch, one tensor `[n, ...]` per input."""


def match_answers(
    pruned: LayerMap, dense: LayerMap, x: list[Array], progress: Progress = no_progress
) -> None:
    """Trains a pruned model on what the dense one makes of the samples, in place.

    Zeros of kernels stay. Nothing changes if the samples are fewer than `FEWEST_SAMPLES`, if one
    epoch would cost more than `MULTIPLICATIONS`, if samples that were held out are not answered
    better, or within the scope of a `tf.distribute` strategy.

    Args:
      pruned: a built Keras model with outputs of the same shapes as `dense`, and layers of the same
        paths; what enters a layer is compared where it has the same shape.
      dense: is asked only.
      x: samples, one array `[n, ...]` per input; no labels are needed.
      progress: told after every epoch.

    Warns:
      QualityWarning: an operation of the model has no gradient.
    """
    learned = np.delete(np.arange(len(x[0])), np.s_[::HELD_OUT])
    epochs = affordable_epochs(pruned, [array[: len(learned)] for array in x])
    if len(x[0]) < FEWEST_SAMPLES or not epochs or tf.distribute.has_strategy():
        return
    held_out = [array[::HELD_OUT] for array in x]
    distance = _distance_of_answers(dense.model)
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
    step = _make_step(pruned, dense, variables, distance, epochs * (len(learned) // size))
    _train(step, x, learned, size, epochs, progress)
    # Also not better where training came apart.
    if not judge() < before:
        pruned.model.set_weights(weights)


def _variables_with_gradient(model: Model, sample: list[Array]) -> list[Any]:
    """The variables that training can move; found without compiling, so that errors are plain."""
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        outputs = infer(model, sample)
    gradients = tape.gradient(outputs, [variable.value for variable in variables])
    return [pair[0] for pair in zip(variables, gradients, strict=True) if pair[1] is not None]


def _train(
    step: Step, x: list[Array], learned: Array, size: int, epochs: int, progress: Progress
) -> None:
    """Goes through the samples of the rows `learned` in batches of `size`."""
    steps, moved_by = len(learned) // size, reach(x)
    generator = np.random.default_rng(0)
    for epoch in range(epochs):
        order = generator.permutation(learned)
        for rows in order[: steps * size].reshape(steps, size):
            batch = [tf.constant(array[rows]) for array in x]
            if moved_by:
                corners = generator.integers(0, 2 * moved_by + 1, (2, size, 1))
                batch = [shift(batch[0], corners, moved_by)]
            step(batch)
        progress("fine-tuning on what the dense model makes of the samples", epoch + 1, epochs)


def affordable_epochs(mapped: LayerMap, x: list[Array]) -> int:
    """How often the samples can be gone through for `MULTIPLICATIONS`, at most `EPOCHS`.

    Args:
      mapped: a built Keras model.
      x: samples, one array `[n, ...]` per input; their shapes count, and say how large maps are
        where the model does not.
    """
    cost = sum(
        layer.parameters * (_positions(x) if layer.pixels is None else layer.pixels)
        for layer in describe(mapped)
        if layer.kind != "Embedding"
    )
    return min(EPOCHS, int(MULTIPLICATIONS / (PASSES * max(cost, 1) * len(x[0]))))


def batch_size(x: list[Array]) -> int:
    """Samples in a batch: `BATCH_SIZE`, or as many as have `BATCH_PIXELS`."""
    return min(BATCH_SIZE, max(1, BATCH_PIXELS // _positions(x)))


def _positions(x: list[Array]) -> int:
    """Pixels of an image, or steps of a sequence; of the largest input."""
    return max(math.prod(array.shape[1:-1]) for array in x)


def _distance_of_answers(dense: Model) -> Distance:
    """The mean distance over the outputs.

    Logits count as values: without labels, what they have in common is not known to be free.
    """
    meanings: list[Meaning] = [
        "probabilities" if softmax else "values" for softmax in softmax_ends(dense)
    ]

    def distance(wanted: Tensors, given: Tensors) -> Any:
        values: list[Meaning] = ["values" for _ in given]
        known = meanings if len(meanings) == len(given) else values
        parts = [
            output_distance(teacher, student, meaning, TEMPERATURE)
            for teacher, student, meaning in zip(wanted, given, known, strict=True)
        ]
        return sum(parts) / len(parts)

    return distance


def _distance_inside(wanted: Inside, given: Inside) -> Any:
    """The mean distance of what enters the layers, where the shapes are the same."""
    parts = [
        output_distance(wanted[call], given[call], "values", TEMPERATURE)
        for call in given
        if call in wanted and wanted[call].shape == given[call].shape
    ]
    return sum(parts) / max(len(parts), 1)


def _make_step(
    pruned: LayerMap, dense: LayerMap, variables: list[Any], distance: Distance, steps: int
) -> Step:
    """A step of so many; of variables that are kernels the zeros stay."""
    kept = [np.asarray(variable) != 0 if variable.ndim > 1 else None for variable in variables]
    optimizer = keras.optimizers.Adam(learning_rate_schedule(LEARNING_RATE, steps))
    optimizer.build(variables)

    def step(batch: Tensors) -> None:
        wanted, wanted_inside = _call(dense, batch)
        with tf.GradientTape() as tape:
            given, given_inside = _call(pruned, batch)
            loss = distance(wanted, given) + INSIDE * _distance_inside(wanted_inside, given_inside)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        for mask, variable in zip(kept, variables, strict=True):
            if mask is not None:
                variable.assign(tf.where(mask, variable.value, tf.zeros((), variable.dtype)))

    compiled: Step = tf.function(step)
    return compiled


def _call(mapped: LayerMap, batch: Tensors) -> tuple[Tensors, Inside]:
    """Outputs for inference, and what enters the layers that can be pruned."""
    with ExitStack() as stack:
        seen = {
            path: stack.enter_context(recorded(layer))
            for path, layer in mapped.layers.items()
            if path in mapped.kernels
        }
        outputs = infer(mapped.model, batch)
    inside = {
        (path, call): tensor
        for path, layer in seen.items()
        for call, tensor in enumerate(layer.inputs)
    }
    return outputs, inside
