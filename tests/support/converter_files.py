"""Makes sparse .tflite files with TensorFlow's own converter; run as a program: FOLDER."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def convolutions() -> Any:
    """A small network whose convolution weights are pruned at random."""
    import keras

    return keras.Sequential(
        [
            keras.Input((16, 16, 8), batch_size=1),
            keras.layers.Conv2D(32, 1, activation="relu"),
            keras.layers.DepthwiseConv2D(3, padding="same"),
            keras.layers.Conv2D(48, 3, padding="same"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )


def matrices() -> Any:
    """Two wide layers, pruned in blocks of 1x16 along the inputs."""
    import keras

    layers = [keras.layers.Dense(128, activation="relu"), keras.layers.Dense(64)]
    return keras.Sequential([keras.Input((256,), batch_size=1), *layers])


def prune(model: Any, block: int) -> None:
    """Sets 80 % of each kernel to zero, `block` consecutive inputs at a time."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        variables = layer.get_weights()
        kernel = variables[0] if variables else None
        if kernel is not None:
            inputs = kernel.shape[-2]
            mask = rng.random((*kernel.shape[:-2], -(-inputs // block), kernel.shape[-1])) < 0.2
            variables[0] = kernel * mask.repeat(block, axis=-2)[..., :inputs, :]
            layer.set_weights(variables)


def conversions(model: Any) -> Iterator[tuple[str, bytes]]:
    """Converts as float32, float16, dynamic range and int8, each dense and sparse."""
    import tensorflow as tf

    rng = np.random.default_rng(1)
    samples = rng.standard_normal((8, *model.input_shape[1:])).astype(np.float32)
    for kind in ("float32", "float16", "dynamic", "int8"):
        for sparse in (False, True):
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            per_tensor = "_experimental_disable_per_channel_quantization_for_dense_layers"
            setattr(converter, per_tensor, True)
            converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if sparse else []
            if kind != "float32":
                converter.optimizations += [tf.lite.Optimize.DEFAULT]
            if kind == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if kind == "int8":
                converter.representative_dataset = lambda: ([x[None]] for x in samples)
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                converter.inference_input_type = converter.inference_output_type = tf.int8
            yield f"{kind}_{'sparse' if sparse else 'dense'}.tflite", converter.convert()


def main(folder: Path) -> None:
    """Writes all files into `folder`."""
    for name, model, block in (("conv", convolutions(), 1), ("fc", matrices(), 16)):
        prune(model, block)
        for kind, content in conversions(model):
            (folder / f"{name}_{kind}").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
