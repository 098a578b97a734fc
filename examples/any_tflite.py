"""Prunes a .tflite file that came from elsewhere, and writes it back.

    python examples/any_tflite.py [MODEL.tflite]

Without a file of your own, TensorFlow's converter makes one. edgeprune rebuilds the network in
Keras to compute with, and puts its new weights into the given file: names, signatures and operators
stay. No labels are needed.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import edgeprune

DEVICE = "xnnpack-arm64"  # phones and boards that compute in float32


def main() -> None:
    """Prunes the file, stores its zeros sparsely, and compares it with the one that was given."""
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else convert_a_model(Path("given.tflite"))
    print(edgeprune.inspect(given))

    plan = edgeprune.plan(given, DEVICE, sparsity=0.8)
    print(plan)
    samples = samples_of(given)
    edgeprune.prune(given, plan, samples).save("pruned.tflite")  # dense, with zeros

    # Where the whole network fits XNNPACK's sparse mode, zeros are stored sparsely and skipped.
    done = edgeprune.export("pruned.tflite", DEVICE, "fast.tflite")
    print(f"\nfast.tflite: {done.artifact.size_bytes} bytes, of {given.stat().st_size}; ", end="")
    print(f"{len(done.sparse)} of {len(done.tensors)} weights stored sparsely")
    print(edgeprune.validate("fast.tflite", DEVICE, reference="pruned.tflite", x=samples))


def samples_of(path: Path) -> np.ndarray:
    """128 generated samples for the one input of a file; put yours in their place."""
    shape = Interpreter(str(path)).get_input_details()[0]["shape"][1:]
    return np.random.default_rng(0).normal(size=(128, *shape)).astype(np.float32)


def convert_a_model(path: Path) -> Path:
    """A small network of depthwise-separable convolutions, made by TensorFlow alone."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = image = keras.Input((32, 32, 3), batch_size=1)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(32, 3, strides=2, activation="relu6")(x)
    for channels in (64, 128, 128):
        x = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
        x = layers.Conv2D(channels, 1, activation="relu6")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(10)(x))
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


if __name__ == "__main__":
    main()
