"""Fine-tuning without labels: the weights left in a pruned model learn from the dense model.

Reconstruction fits one layer after the other. Here all layers are trained together, for a few
epochs on the same samples: masks stay, and batch normalisation keeps its statistics. The model
would soon overfit a few hundred samples if only the outputs were matched, so the inputs of every
layer are matched too (as in FitNets, Romero et al., 2015, arXiv:1412.6550). Where channels were
removed, those that are left are. Images never come twice alike: they are shifted by a few pixels
and mirrored at random, and the dense model answers what the pruned one is shown (Beyer et al.,
2022, arXiv:2106.05237). Few steps have to do, so they are `orthogonal` ones.

Squared error of the outputs over their variance, on images not seen, of the network of the accuracy
goals, calibrated with 1,024 images: without fine-tuning; with Adam, shifts alone and batches of 32,
as it was before; now; and processor time, one thread:

    2:4            0.0179    0.0148 in 17 s    0.0128 in 63 s
    half removed   0.0093    0.0057 in 35 s    0.0050 in 76 s
    80 % removed   0.0765    0.0346 in 27 s    0.0275 in 56 s

Orthogonal steps alone bring 80 % removed from 0.0331 to 0.0304 in 10 epochs of 17 and 21 s.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from edgeprune.conversion.lift.island import Island
from edgeprune.conversion.lift.parts import judged_model
from edgeprune.core.arrays import Array
from edgeprune.core.errors import QualityWarning
from edgeprune.core.progress import Progress, no_progress
from edgeprune.keras_model.interface import infer, predict, softmax_ends
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import LayerMap, Model
from edgeprune.pruning.channels.removal import InputsLeft
from edgeprune.pruning.orthogonal import make_update, matrices_of, orthogonal_cost
from edgeprune.pruning.reconstruct.recording import recorded
from edgeprune.pruning.reconstruct.samples import max_shift
from edgeprune.pruning.training.distill import OutputKind, output_distance
from edgeprune.pruning.training.feed import shift
from edgeprune.pruning.training.learning_rate import learning_rate_schedule

MAX_EPOCHS = 30
MAX_BATCH_SIZE = 16
"""Most samples in a batch. At 80 % removed, 10 epochs of Adam: squared error of the outputs over
their variance 0.0346 with 32, 0.0331 with 16 and with 8."""
BATCH_PIXELS = 800_000
"""Most pixels in a batch, which bounds its memory; large images make smaller batches."""
PEAK_LEARNING_RATE = 4e-3
"""Peak learning rate. The same error after 10 epochs: Adam at 1e-3 0.0383, 2e-3 0.0359, 4e-3
0.0346, 8e-3 0.0347; orthogonal steps, in batches of 16, at 2e-3 0.0310, 4e-3 0.0304."""
DAMAGE_OF_PEAK = 0.08
"""The error of the outputs over their variance from which the rate has that peak. From less it is
lower, or the weights would move further than the pruning moved them."""
LEAST_PEAK = 1e-3
"""Lowest peak. From an error of 0.018 (2:4) 5e-4 and 2e-3 come to the same."""
FEATURE_LOSS_WEIGHT = 10.0
"""Weight of the distance between layer inputs; that of the outputs is 1. The same error: 0.0515
without it, 0.0387 with 1, 0.0358 with 3, 0.0346 with 10; in batches of 16, 0.0331 with 10 and
0.0334 with 40."""
TEMPERATURE = 4.0
"""Temperature that softens class probabilities."""
MIN_SAMPLES = 128
"""With fewer samples there is no fine-tuning."""
MAX_MULTIPLICATIONS = 1e12
"""Most multiplications of all epochs, one to two minutes on two cores; a large network gets fewer
epochs."""
SHORT_EPOCH = 2e11
"""Most multiplications of an epoch that counts as short."""
MAX_OF_SHORT = 3e12
"""The same as `MAX_MULTIPLICATIONS` for a network whose epochs are short, since all the rest of one
shot takes seconds there. The network of the accuracy goals: one to two minutes in all."""
TEACHER_PASSES = 1
STUDENT_PASSES = 3
"""Cost of a step in inferences: the teacher's, the student's, and two for the backward pass."""
MIXED = 0.5
"""Fraction of images that are mixed with another one."""
HARMLESS = 0.2
"""Images are mirrored where that changes the dense model's outputs by no more than this: the mean
squared difference over their variance. 0.07 for the network of the accuracy goals, whose images
were mirrored in training; upside down 0.57."""
VALIDATION_STRIDE = 8
"""Every 8th sample is held out to validate the result."""

ALL_INPUTS: InputsLeft = MappingProxyType({})
"""The inputs left in a model that lost no channels."""
Tensors: TypeAlias = list[Any]
"""One tensor `[n, ...]` per input or output."""
LayerInputs: TypeAlias = dict[tuple[str, int], Any]
"""The inputs of layers, by path and index of the call."""
Distance: TypeAlias = Callable[[Tensors, Tensors], Any]
"""The distance of given outputs from wanted ones, a scalar."""
TrainingStep: TypeAlias = Callable[[Tensors], None]
"""Trains on a batch, one tensor `[n, ...]` per input."""


@dataclass(frozen=True)
class FineTuning:
    """The parts of fine-tuning, of which each may be left out to see what it is worth."""

    orthogonal: bool = True
    """Whether kernels get orthogonal steps; else Adam's."""
    mirrored: bool = True
    """Whether images are mirrored, where the dense model answers their mirror images alike."""
    mixed: bool = True
    """Whether half of the images are mixtures of two."""


ALL_PARTS = FineTuning()


def distill_outputs(
    pruned: LayerMap,
    dense: LayerMap,
    x: list[Array],
    progress: Progress = no_progress,
    inputs: InputsLeft = ALL_INPUTS,
    parts: FineTuning = ALL_PARTS,
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
      parts: what is done.

    Warns:
      QualityWarning: an operation of the model has no gradient.
    """
    learned = np.delete(np.arange(len(x[0])), np.s_[::VALIDATION_STRIDE])
    epochs = affordable_epochs(pruned, dense, [array[: len(learned)] for array in x], parts)
    if len(x[0]) < MIN_SAMPLES or not epochs or tf.distribute.has_strategy():
        return
    if not pruned.model.trainable_variables:
        return
    held_out = [array[::VALIDATION_STRIDE] for array in x]
    teacher, student = judged_model(dense.model), judged_model(pruned.model)
    wanted = predict(teacher, held_out)

    def judge() -> float:
        return float(_mean_output_distance(teacher)(wanted, predict(student, held_out)))

    before, weights = judge(), pruned.model.get_weights()
    peak = peak_rate(wanted, predict(student, held_out))
    mirrored = parts.mirrored and answers_mirrored_alike(teacher, held_out, wanted)
    shown = replace(parts, mirrored=mirrored)
    steps = epochs * (len(learned) // batch_size(x))
    schedule = learning_rate_schedule(peak, steps)
    step = _make_step(pruned, dense, _mean_output_distance(dense.model), schedule, inputs, parts)
    try:
        _train(step, x, learned, epochs, shown, progress)
    except LookupError as error:  # what TensorFlow raises for an operation without a gradient
        warnings.warn(f"Not fine-tuned: {error}.", QualityWarning, stacklevel=3)
        return
    # `not <` rather than `>=`, so that NaN, where training diverged, is undone too.
    if not judge() < before:
        pruned.model.set_weights(weights)


def peak_rate(wanted: list[Array], given: list[Array]) -> float:
    """The peak of the learning rate: lower where pruning changed the outputs less.

    Args:
      wanted: the dense model's outputs on some samples, one array `[n, ...]` per output.
      given: the pruned model's.
    """
    damage = max(_relative_error(*pair) for pair in zip(wanted, given, strict=True))
    return max(LEAST_PEAK, PEAK_LEARNING_RATE * min(1.0, damage / DAMAGE_OF_PEAK))


def _relative_error(wanted: Array, given: Array) -> float:
    """The squared error of an output over its variance."""
    return float(output_distance(wanted, given, "values", TEMPERATURE))


def answers_mirrored_alike(dense: Model, x: list[Array], answers: list[Array]) -> bool:
    """Whether samples are images, and a model answers their mirror images (left to right) alike.

    Args:
      dense: a built Keras model.
      x: samples, one array `[n, ...]` per input.
      answers: its outputs on them, one array `[n, ...]` per output.
    """
    if not max_shift(x):
        return False
    mirrored = predict(dense, [x[0][:, :, ::-1]])
    pairs = zip(answers, mirrored, strict=True)
    return all(_relative_error(*pair) <= HARMLESS for pair in pairs)


def _train(
    step: TrainingStep,
    x: list[Array],
    learned: Array,
    epochs: int,
    parts: FineTuning,
    progress: Progress,
) -> None:
    """Trains on the samples of the rows `learned`."""
    size, generator = batch_size(x), np.random.default_rng(0)
    steps = len(learned) // size
    for epoch in range(epochs):
        order = generator.permutation(learned)
        for rows in order[: steps * size].reshape(steps, size):
            step(_augmented([array[rows] for array in x], generator, parts))
        progress("fine-tuning on the dense model's outputs", epoch + 1, epochs)


def _augmented(batch: list[Array], generator: np.random.Generator, parts: FineTuning) -> Tensors:
    """A batch as tensors; images are moved, mirrored and mixed at random."""
    moved_by, size = max_shift(batch), len(batch[0])
    if not moved_by:
        return [tf.constant(array) for array in batch]
    images, of_each = batch[0], (size, 1, 1, 1)
    if parts.mirrored:
        images = np.where(generator.random(of_each) < 0.5, images[:, :, ::-1], images)
    corners = generator.integers(0, 2 * moved_by + 1, (2, size, 1))
    moved = shift(tf.constant(images), corners, moved_by)
    if not parts.mixed:
        return [moved]
    alone = generator.random(of_each) >= MIXED
    share = np.where(alone, 1.0, generator.random(of_each)).astype(np.float32)
    return [_mixture(moved, tf.gather(moved, generator.permutation(size)), share)]


def _mixture(first: Any, second: Any, share: Any) -> Any:
    """What `share` of the first images and the rest of the second make, in their dtype."""
    parts = share * tf.cast(first, tf.float32), (1 - share) * tf.cast(second, tf.float32)
    mixed = parts[0] + parts[1]
    return tf.cast(tf.round(mixed) if first.dtype.is_integer else mixed, first.dtype)


def affordable_epochs(
    pruned: LayerMap, dense: LayerMap, x: list[Array], parts: FineTuning = ALL_PARTS
) -> int:
    """The number of epochs that can be afforded, and no more than `MAX_EPOCHS`.

    Args:
      pruned: a built Keras model, the student.
      dense: the teacher.
      x: samples, one array `[n, ...]` per input; only their shapes are used. They give the size of
        feature maps where the model leaves it open.
      parts: what is done.
    """
    passes = TEACHER_PASSES * _multiplications(dense, x)
    passes += STUDENT_PASSES * _multiplications(pruned, x)
    sizes = matrices_of(pruned) if parts.orthogonal else {}
    steps = sum(map(orthogonal_cost, sizes.values())) / batch_size(x)
    epoch = (passes + steps) * max(len(x[0]), 1)
    return min(
        MAX_EPOCHS, int((MAX_OF_SHORT if epoch <= SHORT_EPOCH else MAX_MULTIPLICATIONS) / epoch)
    )


def _multiplications(mapped: LayerMap, x: list[Array]) -> int:
    """Multiplications of one inference, roughly; at least 1."""
    cost = sum(
        layer.parameters * (_positions(x) if layer.pixels is None else layer.pixels)
        for layer in describe_layers(mapped)
        if layer.kind != "Embedding"
    )
    return max(cost, 1)


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
    distance: Distance,
    schedule: Any,
    inputs: InputsLeft,
    parts: FineTuning,
) -> TrainingStep:
    """A training step at the rates of a `LearningRateSchedule`; zeros of kernels stay zero."""
    variables = pruned.model.trainable_variables
    masks = [_mask(variable) for variable in variables]
    matrices = matrices_of(pruned) if parts.orthogonal else {}
    update = make_update(variables, matrices, schedule)

    def step(batch: Tensors) -> None:
        wanted, wanted_inputs = _call(dense, batch)
        with tf.GradientTape() as tape:
            given, given_inputs = _call(pruned, batch)
            loss = distance(wanted, given) + FEATURE_LOSS_WEIGHT * _feature_distance(
                wanted_inputs, given_inputs, inputs
            )
        gradients = tape.gradient(
            loss,
            [variable.value for variable in variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        update([_masked(*pair) for pair in zip(gradients, masks, strict=True)])
        for variable, mask in zip(variables, masks, strict=True):
            if mask is not None:
                variable.assign(_masked(variable.value, mask))

    # Without AutoGraph, as Keras trains.
    compiled: TrainingStep = tf.function(step, autograph=False)
    return compiled


def _mask(variable: Any) -> Any:
    """Where a kernel is not zero; None if it is nowhere zero, or the variable is no kernel."""
    kept = np.asarray(variable) != 0
    return None if variable.ndim < 2 or kept.all() else kept


def _masked(tensor: Any, mask: Any) -> Any:
    return tensor if mask is None else tf.where(mask, tensor, tf.zeros((), tensor.dtype))


def _call(mapped: LayerMap, batch: Tensors) -> tuple[Tensors, LayerInputs]:
    """The outputs for inference, and the inputs of layers that can be pruned and of islands."""
    with ExitStack() as stack:
        seen = {
            path: stack.enter_context(recorded(layer))
            for path, layer in mapped.layers.items()
            if path in mapped.kernels or isinstance(layer, Island)
        }
        outputs = infer(mapped.model, batch)
    inputs = {
        (path, call): tensor
        for path, layer in seen.items()
        for call, tensor in enumerate(tf.nest.flatten(layer.inputs))
    }
    return outputs, inputs
