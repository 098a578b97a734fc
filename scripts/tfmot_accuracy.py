"""Prunes a network with TensorFlow Model Optimization while it trains; for scripts/bench_accuracy.

    python tfmot_accuracy.py FOLDER 0.8|0.9|2:4 EPOCHS

Runs in an environment of its own, with tf_keras (Keras 2) and without edgeprune. FOLDER holds what
bench_accuracy wrote: network.json, weights.npz, train.npz, test.npz. Prints the accuracy on the
test images in its last line.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

BATCH_SIZE = 64
LEARNING_RATE = 1e-3
MAX_SHIFT = 4


def build(folder):
    """The network of `network.json` with the weights of `weights.npz`."""
    with np.load(folder / "weights.npz") as arrays:
        weights = [arrays[f"arr_{index}"] for index in range(len(arrays.files))]
    tensors, inputs = {}, []
    for row in json.loads((folder / "network.json").read_text()):
        if row["kind"] == "InputLayer":
            shape = row["config"].get("batch_shape") or row["config"]["batch_input_shape"]
            tensors[row["name"]] = keras.Input(shape[1:], name=row["name"])
            inputs.append(tensors[row["name"]])
            continue
        kind = getattr(keras.layers, row["kind"])
        known = set(kind(**_required(row)).get_config())
        config = {key: value for key, value in row["config"].items() if key in known}
        layer = kind.from_config({**config, "name": row["name"]})
        given = [tensors[name] for name in row["inputs"]]
        tensors[row["name"]] = layer(given if len(given) > 1 else given[0])
        layer.set_weights(weights[: row["weights"]])
        weights = weights[row["weights"] :]
        last = row["name"]
    return keras.Model(inputs, tensors[last])


def _required(row):
    names = ("filters", "kernel_size", "units")
    return {name: row["config"][name] for name in names if name in row["config"]}


def flip_and_shift(images, labels):
    """Mirrors half of the images and moves each by up to 4 pixels, as edgeprune does."""
    shape = tf.shape(images)
    count, height, width = shape[0], shape[1], shape[2]
    mirrored = tf.random.uniform([count, 1, 1, 1]) < 0.5
    images = tf.where(mirrored, tf.reverse(images, [2]), images)
    sides = [MAX_SHIFT, MAX_SHIFT]
    padded = tf.pad(images, [[0, 0], sides, sides, [0, 0]], "SYMMETRIC")
    corners = tf.random.uniform([2, count, 1], 0, 2 * MAX_SHIFT + 1, tf.int32)
    moved = tf.gather(padded, corners[0] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(moved, corners[1] + tf.range(width), axis=2, batch_dims=1), labels


def samples(path):
    """Images in [-1, 1] and labels."""
    with np.load(path) as arrays:
        return arrays["x"].astype(np.float32) / 127.5 - 1, arrays["y"]


def batches(folder):
    """Shuffled and augmented batches of `train.npz`."""
    x, y = samples(folder / "train.npz")
    drawn = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x))
    return drawn.batch(BATCH_SIZE).map(flip_and_shift).prefetch(4)


def fit(model, data, steps, rate, callbacks=()):
    """Trains for a number of steps on a cosine from a learning rate."""
    cosine = keras.optimizers.schedules.CosineDecay(rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(cosine), loss, metrics=["accuracy"])
    model.fit(data.repeat(), steps_per_epoch=steps, verbose=2, callbacks=list(callbacks))


def prune(dense, wanted, data, steps):
    """The network with zeros, stripped: `wanted` is 2:4 or the fraction of them."""
    pruning = tfmot.sparsity.keras
    if wanted == "2:4":
        schedule = pruning.ConstantSparsity(0.5, begin_step=0, frequency=100)
        options = {"pruning_schedule": schedule, "sparsity_m_by_n": (2, 4)}
    else:
        end = round(0.65 * steps)
        often = max(1, min(50, end // 10))  # of a short run too, the last mask has all zeros
        schedule = pruning.PolynomialDecay(
            0.0, float(wanted), 0, end - end % often, frequency=often
        )
        options = {"pruning_schedule": schedule}

    def wrapped(layer):
        wrappable = isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        if not wrappable or depthwise or (wanted == "2:4" and layer.get_weights()[0].shape[-2] % 4):
            return layer
        return pruning.prune_low_magnitude(layer, **options)

    model = keras.models.clone_model(dense, clone_function=wrapped)
    fit(model, data, steps, LEARNING_RATE, [pruning.UpdatePruningStep()])
    return pruning.strip_pruning(model)


def main():
    """Trains and prints the accuracy."""
    folder, wanted, epochs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    keras.utils.set_random_seed(0)
    data = batches(folder)
    stripped = prune(build(folder), wanted, data, epochs * len(data))
    test, labels = samples(folder / "test.npz")
    print(float(np.mean(stripped.predict(test, verbose=0).argmax(-1) == labels)))


if __name__ == "__main__":
    main()
