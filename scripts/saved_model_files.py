"""Writes small SavedModel folders as Keras 2 wrote them; for tests/data.

    python saved_model_files.py FOLDER

Runs in an environment of its own, with tf_keras (Keras 2) and without edgeprune. Writes
FOLDER/NAME, as `model.save` of 2019 did, and FOLDER/NAME.npz (`x`, and `y`, what Keras 2 computes
of it) for every model. Weights are random, and so are the statistics of batch normalisation, so
that folding them shows.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras import layers


def conv(x, filters, name, stride=1, kernel=3):
    """A convolution with batch normalisation and ReLU6."""
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(
        x
    )
    return layers.ReLU(6.0, name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))


def separable(x, filters, name, stride=1):
    """MobileNet's block: depthwise, then pointwise."""
    x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_deep")(x)
    x = layers.ReLU(6.0, name=f"{name}_deep_relu")(
        layers.BatchNormalization(name=f"{name}_deep_bn")(x)
    )
    return conv(x, filters, name, kernel=1)


def mobile():
    """A small MobileNet of 16x16 pixels and 4 classes."""
    image = tf_keras.Input((16, 16, 3), name="image")
    x = conv(image, 16, "stem", 2)
    x = separable(x, 24, "block", 2)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(4, activation="softmax", name="classes")(x)
    return tf_keras.Model(image, x, name="mobile")


MODELS = {"mobile_keras2": mobile}


def write(name, model, folder):
    """Saves one model, with what it computes."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            size = layer.gamma.shape
            scale, variance = random.uniform(0.5, 1.5, size), random.uniform(0.2, 0.8, size)
            layer.set_weights([scale, *random.normal(0, 0.3, (2, *size)), variance])
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    served = tf.function(model).get_concrete_function(
        tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name=model.input_names[0])
    )
    # Without the traces of each layer, which only Keras reads, it has a third of the size.
    options = {"include_optimizer": False, "save_traces": False}
    model.save(target, save_format="tf", signatures={"serving_default": served}, **options)
    # What only Keras 2 reads, and a record of this machine's build.
    for part in ("keras_metadata.pb", "fingerprint.pb"):
        (target / part).unlink(missing_ok=True)
    (target / "assets").rmdir()
    x = random.uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
    np.savez_compressed(folder / f"{name}.npz", x=x, y=model.predict(x, verbose=0))


def main(folder):
    """Writes all."""
    tf_keras.utils.set_random_seed(0)
    for name, build in MODELS.items():
        write(name, build(), folder)
    print(f"TensorFlow {tf.__version__}, tf_keras {tf_keras.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
