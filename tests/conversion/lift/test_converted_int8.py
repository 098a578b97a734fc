"""Files as TensorFlow's converter quantizes them, lifted: near the interpreter, planned alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.planning.plan_model import plan

L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")


def network() -> Any:
    """Inverted residuals with a squeeze, concatenation, and a softmax."""
    keras.utils.set_random_seed(3)
    image = keras.Input((24, 24, 3), batch_size=1)
    x = L.Conv2D(16, 3, 2, padding="same", activation="relu6", name="stem")(image)
    y = L.Conv2D(32, 1, activation="relu6", name="wide")(x)
    y = L.DepthwiseConv2D(3, padding="same", activation="relu6", name="depth")(y)
    squeezed = L.GlobalAveragePooling2D(keepdims=True)(y)
    y = L.Multiply()([y, L.Conv2D(32, 1, activation="sigmoid", name="gate")(squeezed)])
    x = L.Add()([x, L.Conv2D(16, 1, name="narrow")(y)])
    x = L.Concatenate()([L.MaxPooling2D()(x), L.AveragePooling2D(2)(x)])
    x = L.Conv2D(32, 3, activation="hard_silu", name="last")(x)
    x = L.Dense(7, activation="softmax", name="scores")(L.GlobalAveragePooling2D()(x))
    return keras.Model(image, x)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network in four forms: float32; int8 inside, with real ends, int8 and uint8 ones."""
    folder, model = tmp_path_factory.mktemp("converted"), network()
    samples = np.random.default_rng(0).uniform(-1, 1, (8, 1, 24, 24, 3)).astype(np.float32)
    paths = {}
    for name in ("float32", "real", "int8", "uint8"):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if name != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([x] for x in samples)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if name in ("int8", "uint8"):
            kind = getattr(tf, name)
            converter.inference_input_type = converter.inference_output_type = kind
        paths[name] = folder / f"{name}.tflite"
        paths[name].write_bytes(converter.convert())
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("name", ["real", "int8", "uint8"])
def test_a_converted_file_differs_by_few_steps_and_is_planned_as_its_float_twin(
    files: dict[str, Path], name: str
) -> None:
    lifted, twin = lift(files[name]), lift(files["float32"])
    proof = prove(lifted)
    assert proof.steps is not None
    assert proof.steps <= 3
    found, expected = (plan(each.model, "xnnpack-x86") for each in (lifted, twin))
    rows = [
        [(row.kind, row.pattern, row.sparsity) for row in each.pruned] for each in (found, expected)
    ]
    assert rows[0] == rows[1]
    assert rows[0]
