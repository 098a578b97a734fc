"""An optimizer for short training: steps that move a kernel equally far in all directions.

A gradient is mostly in the few directions in which the inputs of a layer vary most, and so is a
step of Adam; what has to change elsewhere is learned slowly. Here the momentum of a kernel, read as
a matrix, is replaced by the orthogonal matrix next to it: all its singular values become about 1.
Variables that are no such matrix (biases, normalisation, depthwise kernels) are left to Adam.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon; the length of a step is that of Liu et al., "Muon is
scalable for LLM training", 2025, arXiv:2502.16982, section 2.2, which suits Adam's learning rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from edgeprune.keras_model.layers import LayerMap

MOMENTUM = 0.95
STEP_LENGTH = 0.2
"""The root mean square of a step at a learning rate of 1, which is what Adam's comes to."""
MIN_SIDE = 4
"""Fewest rows and columns of what counts as a matrix."""
MAX_SIDE = 512
"""Most rows or columns, whichever are fewer: the cost of a step grows with their square."""
ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the polynomial that moves singular values towards 1, from the first source."""
_NOT_MATRICES = ("DepthwiseConv1D", "DepthwiseConv2D")
_TINY = 1e-7

Update: TypeAlias = Callable[[Sequence[Any]], None]
"""Changes variables by their gradients, one per variable."""


def matrices_of(mapped: LayerMap) -> dict[int, tuple[int, int]]:
    """The sizes of every kernel that is a matrix worth an orthogonal step, by its `id`.

    Args:
      mapped: a built Keras model.
    """
    return {
        id(kernel): _matrix_shape(kernel.shape)
        for path, kernel in mapped.kernels.items()
        if type(mapped.layers[path]).__name__ not in _NOT_MATRICES
        and getattr(mapped.layers[path], "groups", 1) == 1
        and MIN_SIDE <= min(_matrix_shape(kernel.shape)) <= MAX_SIDE
    }


def orthogonal_cost(size: tuple[int, int]) -> int:
    """Multiplications of one orthogonal step of a matrix of so many rows and columns."""
    shorter, longer = sorted(size)
    return ITERATIONS * (2 * shorter**2 * longer + shorter**3)


def _matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    return math.prod(shape[:-1]), shape[-1]


def make_update(variables: list[Any], matrices: Container[int], schedule: Any) -> Update:
    """An update of variables, for use inside a `tf.function`.

    Args:
      variables: Keras variables.
      matrices: the `id` of those that get orthogonal steps, as `matrices_of` gives them; the others
        get Adam's.
      schedule: a `LearningRateSchedule`, for both.
    """
    chosen = [id(variable) in matrices for variable in variables]
    others = [variable for variable, taken in zip(variables, chosen, strict=True) if not taken]
    adam = keras.optimizers.Adam(schedule)
    adam.build(others)
    momenta = [
        tf.Variable(tf.zeros(variable.shape), trainable=False) if taken else None
        for variable, taken in zip(variables, chosen, strict=True)
    ]
    done = tf.Variable(0, trainable=False)

    def update(gradients: Sequence[Any]) -> None:
        rate = schedule(done)
        rest = []
        for variable, momentum, gradient in zip(variables, momenta, gradients, strict=True):
            if momentum is None:
                rest.append(gradient)
                continue
            momentum.assign(MOMENTUM * momentum + tf.cast(gradient, tf.float32))
            ahead = MOMENTUM * momentum + tf.cast(gradient, tf.float32)
            step = rate * _orthogonal_step(ahead)
            variable.assign_sub(tf.cast(step, variable.dtype))
        if others:
            adam.apply_gradients(zip(rest, others, strict=True))
        done.assign_add(1)

    return update


def _orthogonal_step(momentum: Any) -> Any:
    """The step of a kernel at a learning rate of 1, in the shape of the kernel."""
    rows, columns = _matrix_shape(momentum.shape)
    length = STEP_LENGTH * math.sqrt(max(rows, columns))
    return length * tf.reshape(orthogonal(tf.reshape(momentum, (rows, columns))), momentum.shape)


def orthogonal(matrix: Any) -> Any:
    """The same matrix with singular values near 1 (0.7 to 1.2), by five Newton-Schulz iterations.

    Args:
      matrix: float32 tensor `[rows, columns]`.
    """
    first, third, fifth = _COEFFICIENTS
    turned = matrix.shape[0] > matrix.shape[1]
    found = tf.transpose(matrix) if turned else matrix
    found = found / (tf.norm(found) + _TINY)
    for _ in range(ITERATIONS):
        square = tf.matmul(found, found, transpose_b=True)
        found = first * found + (third * square + fifth * square @ square) @ found
    return tf.transpose(found) if turned else found
