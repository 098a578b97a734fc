"""A small real model to try everything on: handwritten digits and a MobileNet-style network.

The digits ship with scikit-learn (1797 images of 8x8 pixels by 43 writers, from E. Alpaydin and
C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998). They
are enlarged to 32x32x3, since networks of this style want room to shrink.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

from edgeprune.core import digest
from edgeprune.core.data import Data, Split
from edgeprune.core.files import write_file
from edgeprune.core.progress import Progress, no_progress
from edgeprune.keras_model.files import save_model
from edgeprune.keras_model.layers import Model
from edgeprune.report.kept import Kept, Store
from edgeprune.searching import fingerprint

DEVICES = ("xnnpack-arm64", "arm-neon-int8", "edge-tpu")
SEARCHED = "edge-tpu"
SEARCHED_ROUTES = ("latency",)
"""What the demo ends with: a search on one route of one device."""
SEARCH_SECONDS = 60.0
_STEP = "+digits"
_EPOCHS = 25
PRUNING_EPOCHS = 12
"""Epochs of training with masks; the images are few, so epochs are short."""
_BATCH_SIZE = 32
_BLOCKS = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1))
"""Output channels and stride of each depthwise-separable block."""


def digits(seed: int = 0) -> Split[Data]:
    """The digits as float32 images `[n, 32, 32, 3]` in [-1, 1] with labels `[n]`, shuffled.

    A fifth is the test set.
    """
    found = load_digits()
    images = np.repeat((found.images / 8.0 - 1.0)[..., None], 3, axis=-1).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(images))
    x = np.asarray(keras.ops.image.resize(images[order], (32, 32), interpolation="bilinear"))
    y = found.target[order].astype(np.int64)
    held_out = len(x) // 5
    return Split(
        train=Data((x[held_out:],), y[held_out:]), test=Data((x[:held_out],), y[:held_out])
    )


def build() -> Model:
    """A MobileNetV1-style network for 32x32x3 images and ten classes, about 45,000 weights."""
    layers = keras.layers
    inputs = keras.Input((32, 32, 3), name="image")
    x = layers.ZeroPadding2D(1, name="stem_pad")(inputs)
    x = layers.Conv2D(32, 3, strides=2, use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(momentum=0.9, name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    for index, (channels, stride) in enumerate(_BLOCKS, start=1):
        if stride == 2:
            x = layers.ZeroPadding2D(1, name=f"pad_{index}")(x)
        padding = "valid" if stride == 2 else "same"
        x = layers.DepthwiseConv2D(
            3, strides=stride, padding=padding, use_bias=False, name=f"dw_{index}"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"dw_{index}_bn")(x)
        x = layers.ReLU(6.0, name=f"dw_{index}_relu")(x)
        x = layers.Conv2D(channels, 1, use_bias=False, name=f"pw_{index}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"pw_{index}_bn")(x)
        x = layers.ReLU(6.0, name=f"pw_{index}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(inputs, outputs, name="digits_mobilenet")


def train_digits(
    split: Split[Data], *, epochs: int = _EPOCHS, progress: Progress = no_progress
) -> Model:
    """Trains the network; under a minute on two cores.

    Deterministic for a version of TensorFlow: seeds are set, for the whole process.
    """
    keras.utils.set_random_seed(0)
    model = build()
    steps = epochs * -(-len(split.train) // _BATCH_SIZE)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, _: progress("training the digits", epoch + 1, epochs)
    )
    model.fit(
        split.train.x[0],
        split.train.y,
        batch_size=_BATCH_SIZE,
        epochs=epochs,
        verbose=0,
        callbacks=[told],
    )
    return model


@dataclass(frozen=True)
class Prepared:
    """The model and the data of the demo."""

    model: Path
    data: Path
    """`x`, `y`, `x_test` and `y_test`."""
    history: str
    """A sentence on whether they are reused, or were made again and why; empty on a first run."""


def prepare(folder: Path, *, force: bool = False, progress: Progress = no_progress) -> Prepared:
    """Writes `digits.keras` and `digits.npz` into a folder, unless they are there, as made.

    Args:
      folder: exists.
      force: whether they are made again in any case.
      progress: told what is done.
    """
    store = Store(folder, force)
    made_from = {"versions": digest.of_json([fingerprint.of_versions(), version("scikit-learn")])}
    model, data = folder / "digits.keras", folder / "digits.npz"
    with store.held(lambda: progress(f"waiting for another run in {folder}", 0, 1)):
        found = store.find(_STEP, made_from)
        if isinstance(found, Kept):
            return Prepared(model, data, f"{model}, trained {found.day}, is reused.")
        _make(model, data, progress)
        store.keep(_STEP, made_from, [model, data], None)
    return Prepared(model, data, f"{model} was trained again, since {found}." if found else "")


def _make(model_path: Path, data_path: Path, progress: Progress) -> None:
    split = digits()
    save_model(train_digits(split, progress=progress), model_path)
    arrays = {"x": split.train.x[0], "x_test": split.test.x[0]}
    content = io.BytesIO()
    np.savez(content, **arrays, y=np.asarray(split.train.y), y_test=np.asarray(split.test.y))
    write_file(data_path, content.getvalue())
