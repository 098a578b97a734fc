"""Recurrent layers as TensorFlow's converter writes them: loops with subgraphs of their own."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeprune.conversion.lift.island import Island
from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.keras_model.sparsity import reached_sparsity
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune

pytestmark = pytest.mark.slow


def recurrent(path: Path, *, quantized: bool) -> Path:
    """A convolution, two recurrent layers, a dense layer; quantized: with weights of int8."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12, 8), batch_size=1),
            keras.layers.Conv1D(32, 3, activation="relu"),
            keras.layers.Conv1D(16, 3),
            keras.layers.LSTM(12, return_sequences=True),
            keras.layers.LSTM(8),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(4),
        ]
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())
    return path


@pytest.mark.parametrize("quantized", [False, True])
def test_loops_are_run_and_what_lies_around_them_is_pruned(quantized: bool, tmp_path: Path) -> None:
    path = recurrent(tmp_path / "m.tflite", quantized=quantized)
    lifted = lift(path)
    (part,) = lifted.islands
    assert [each.name for each in part.obstacles] == ["WHILE", "WHILE"]
    assert prove(lifted).difference < 1e-4

    x = np.random.default_rng(0).standard_normal((64, 12, 8)).astype(np.float32)
    made = plan(path, "xnnpack-x86", sparsity=0.4, x=x, look_around=False)
    assert {row.part for row in made.pruned} == {0, 1}
    pruned = prune(path, made, x)
    pruned.save(tmp_path / "out.tflite")
    assert reached_sparsity(pruned.model, made) > 0.3
    written = lift(tmp_path / "out.tflite")
    contents = [
        layer.content
        for each in (lifted, written)
        for layer in each.model.layers
        if isinstance(layer, Island)
    ]
    assert contents[0] == contents[1]
