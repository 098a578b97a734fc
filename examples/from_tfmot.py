"""A script written for TensorFlow Model Optimization, after one changed import.

    python examples/from_tfmot.py

Everything between the import and `strip_pruning` is what TFMOT's guide shows. What follows asks
which pattern a device could skip, since hardly any skips single zeros.
"""

import tempfile
import zipfile
from pathlib import Path

import keras
from sklearn.datasets import load_digits

import edgeprune
from edgeprune import tfmot  # was: import tensorflow_model_optimization as tfmot


def main() -> None:
    """Trains a network, prunes it as TFMOT does, and asks what would pay on a device."""
    digits = load_digits()
    x, y = digits.images[..., None].astype("float32") / 16, digits.target
    x_test, y_test, x, y = x[:400], y[:400], x[400:], y[400:]

    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(x, y, epochs=5, verbose=0)
    print(f"Dense model: accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.3f}")

    prune_low_magnitude = tfmot.sparsity.keras.prune_low_magnitude
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.50, final_sparsity=0.80, begin_step=0, end_step=100
    )
    model_for_pruning = prune_low_magnitude(model, pruning_schedule=schedule)
    model_for_pruning.compile("adam", loss, metrics=["accuracy"])
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    model_for_pruning.fit(x, y, epochs=5, verbose=0, callbacks=callbacks)
    model_for_export = tfmot.sparsity.keras.strip_pruning(model_for_pruning)

    model_for_export.compile(loss=loss, metrics=["accuracy"])
    print(f"80 % zeros: accuracy {model_for_export.evaluate(x_test, y_test, verbose=0)[1]:.3f}")
    print(f"Zipped: {zipped(model)} bytes, with zeros {zipped(model_for_export)}")

    # Two more lines: what this computer's kernels can use, and a model pruned to it.
    plan = edgeprune.plan(model, "xnnpack-x86", sparsity=0.5)
    print(plan)
    smaller = edgeprune.prune(model, plan, (x, y))

    smaller.compile(loss=loss, metrics=["accuracy"])
    print(
        f"Half the weights removed: accuracy {smaller.evaluate(x_test, y_test, verbose=0)[1]:.3f}"
    )
    print(f"Weights: {model.count_params()}, then {smaller.count_params()}")


def zipped(model: keras.Model) -> int:
    """Bytes of the weights of a model in a zip file, as TFMOT's guide counts them."""
    with tempfile.TemporaryDirectory() as folder:
        weights, archive = Path(folder, "model.weights.h5"), Path(folder, "weights.zip")
        model.save_weights(weights)
        with zipfile.ZipFile(archive, "w", compression=zipfile.ZIP_DEFLATED) as file:
            file.write(weights)
        return archive.stat().st_size


if __name__ == "__main__":
    main()
