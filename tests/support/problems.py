"""Least-squares problems of layers, made of random columns."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured
from edgeprune.pruning.reconstruct.statistics import Problem, Sums

PATTERNS: list[tuple[Pattern, float]] = [
    (Unstructured(), 0.7),
    (Block(2, 1), 0.6),
    (Block(1, 4), 0.5),
    (NofM(2, 4), 0.5),
    (Channels(4), 0.5),
]


def problem_of(inputs: Any, targets: Any, *, with_bias: bool = False, batch: int = 50) -> Problem:
    """Of columns `[positions, groups, n]` and targets `[positions, rows]`."""
    sums = Sums(inputs.shape[1], inputs.shape[2], targets.shape[1])
    for start in range(0, len(inputs), batch):
        part = slice(start, start + batch)
        sums.add(inputs[part].astype(np.float32), targets[part].astype(np.float32))
    return sums.problem(with_bias=with_bias)


def correlated(seed: int, positions: int, groups: int, width: int, rows: int) -> tuple[Any, ...]:
    """Columns with a mean, correlated among themselves, a dense matrix and its outputs."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(groups, width, width)) / np.sqrt(width)
    inputs = generator.normal(size=(positions, groups, width)) + 0.5
    inputs = np.einsum("pgn,gnm->pgm", inputs, mixing)
    dense = generator.normal(size=(rows, width))
    outputs = np.einsum("pgn,grn->pgr", inputs, dense.reshape(groups, -1, width))
    return inputs, dense, outputs.reshape(positions, rows)


def linear_output(layer: Any, inputs: Any) -> Any:
    """The output `[positions, out]` of a layer before its activation function, by Keras itself."""
    before, layer.activation = layer.activation, keras.activations.linear
    try:
        outputs = np.asarray(layer(inputs))
    finally:
        layer.activation = before
    return outputs.reshape(-1, outputs.shape[-1])
