"""The folder that commands of the documentation are run in: a small network and its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

EPOCHS = 6


def make_folder(folder: Path) -> None:
    """Puts in a folder what pages work with: model.keras, and data.npz with 256 images.

    The network is a small MobileNet that tells ten patterns in noise apart.
    """
    model = _network()
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 256, (10, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    labels = np.arange(256) % 10
    noise = generator.normal(0, 64, (256, 32, 32, 3))
    images = np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images / 127.5 - 1, labels, batch_size=32, epochs=EPOCHS, verbose=0)
    model.save(folder / "model.keras")
    np.savez(folder / "data.npz", x=images, y=labels)


def _network() -> Any:
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = image = keras.Input((32, 32, 3), name="image")
    x = _active(layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="stem")(x))
    for number, (channels, stride) in enumerate(((64, 1), (128, 2), (128, 1)), 1):
        name = f"block_{number}"
        depthwise = layers.DepthwiseConv2D(
            3, stride, padding="same", use_bias=False, name=f"{name}_dw"
        )
        x = _active(depthwise(x))
        x = _active(layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_pw")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="scores")(x), name="small")


def _active(x: Any) -> Any:
    return keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(momentum=0.8)(x))
