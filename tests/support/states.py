"""What becomes of a state between the samples that an instrument runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Graph
from tests.support.islands import remembering
from tests.support.lift_cases import Array, values
from tests.support.streams import CHANNELS, LENGTH, NEW, STEP, stream

Run = Callable[[Graph, list[Array]], Array]
"""Runs samples of a file with one output; returns it, `[n, ...]`."""


def run_alone_and_in_a_row(run: Run, folder: Path) -> tuple[Array, Array]:
    """Three samples of a file that remembers the one before: each by itself, and one by one."""
    graph = read(remembering(folder / "memory.tflite"))
    x = values(3, 2, 2, 4)
    alone = [run(graph, [x[row : row + 1]]) for row in range(3)]
    return np.concatenate(alone), run(graph, [x])


def run_stream(run: Run, folder: Path) -> tuple[Array, Array]:
    """Samples of a file that keeps those before: what is computed, and what is right."""
    graph = read(stream(folder / "stream.tflite"))
    step, zero = STEP["scales"][0], STEP["zero_point"]
    places = np.random.default_rng(0).integers(-50, 50, (5 * NEW, CHANNELS))
    x = ((places - zero) * step).astype(np.float32).reshape(5, NEW, CHANNELS)
    start = np.arange(LENGTH * CHANNELS).reshape(LENGTH, CHANNELS)
    row = np.concatenate([start, places])
    matrix = next(tensor for tensor in graph.tensors if tensor.name == "w").values()
    assert matrix is not None
    seen = [row[at * NEW : at * NEW + LENGTH + NEW].reshape(-1) for at in range(5)]
    right = (np.array(seen) - zero) @ matrix.T.astype(np.int64) * step * 0.02
    return run(graph, [x]), right
