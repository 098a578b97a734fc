"""Data, weights and environments that the benchmarks of accuracy share.

CIFAR-10 as arrays, a way to train dense networks on it, and TensorFlow Model Optimization in an
environment of its own, where a network goes as `network.json` and `weights.npz`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeprune.keras_model.copies import copy_layer
from edgeprune.keras_model.layers import map_layers
from edgeprune.pruning.training.feed import flip_and_shift

TEST_IMAGES = 5000
CALIBRATION_IMAGES = 1024
DENSE_EPOCHS = 12
TFMOT = ("tensorflow==2.20.0", "tf_keras==2.20.1", "tensorflow-model-optimization==0.8.0")


def read_images(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, h, w, 3]` uint8 and labels `[n]` of a folder with one folder per class."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    images, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted([*name.glob("*.jpg"), *name.glob("*.png")]):
            images.append(tf.io.decode_image(path.read_bytes(), 3).numpy())
            labels.append(label)
    order = np.random.default_rng(0).permutation(len(images))
    return np.stack(images)[order], np.array(labels)[order]


def prepare(paths: list[Path], work: Path, images: int | None, shrink: int) -> None:
    """Writes `train.npz`, `calibration.npz` and `test.npz` into the work folder."""
    if not (work / "test.npz").exists():
        parts = [(shrunk(x, shrink), y) for x, y in _read(paths)]
        for name, (x, y), count in zip(
            ("train", "test"), parts, (images, TEST_IMAGES), strict=True
        ):
            np.savez(work / f"{name}.npz", x=x[:count], y=y[:count])
        np.savez(work / "calibration.npz", x=parts[0][0][:CALIBRATION_IMAGES])


def shrunk(x: np.ndarray, times: int) -> np.ndarray:
    """Images `[n, h, w, 3]` uint8 of which each pixel is the mean of a square of `times` pixels."""
    count, height, width, channels = x.shape
    squares = x.reshape(count, height // times, times, width // times, times, channels)
    return np.round(squares.mean((2, 4))).astype(np.uint8) if times > 1 else x


def _read(paths: list[Path]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if len(paths) == 2:
        for path in paths:
            with np.load(path) as arrays:
                yield arrays["x"], arrays["y"]
        return
    with tempfile.TemporaryDirectory() as name:
        root = paths[0]
        if root.is_file():
            shutil.unpack_archive(
                root, name, **({} if root.suffix == ".zip" else {"filter": "data"})
            )
            root = Path(name)
        train = next(path for path in sorted(root.rglob("train")) if path.is_dir())
        yield read_images(train)
        yield read_images(train.parent / "test")


def samples(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images in [-1, 1] and labels."""
    with np.load(path) as arrays:
        return scaled(arrays["x"]), arrays["y"]


def scaled(x: np.ndarray) -> np.ndarray:
    """Images as edgeprune feeds uint8 ones, in [-1, 1]."""
    return x.astype(np.float32) / 127.5 - 1


def train_dense(work: Path, path: Path, build: Callable[[int], Any]) -> None:
    """Trains a network, which `build` makes for images of a size, with flips and shifts."""
    keras.utils.set_random_seed(0)
    x, y = samples(work / "train.npz")
    model = build(x.shape[1])
    seeds = tf.data.Dataset.random(seed=0, rerandomize_each_iteration=True).batch(2)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=0).batch(128, True)
    augmented = tf.data.Dataset.zip((batches, seeds)).map(
        lambda batch, seed: (flip_and_shift(batch[0], seed), batch[1])
    )
    steps = DENSE_EPOCHS * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, steps - steps // 15, alpha=0.01, warmup_target=3e-3, warmup_steps=steps // 15
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.fit(augmented.prefetch(4), epochs=DENSE_EPOCHS, verbose=2)
    model.save(path)


def accuracy(model: Any, work: Path) -> float:
    """Fraction of the test images that a model names rightly."""
    x, y = samples(work / "test.npz")
    return float(np.mean(model.predict(x, batch_size=250, verbose=0).argmax(-1) == y))


def describe(model: Any, work: Path) -> None:
    """Writes the network so that another Keras can build it: `network.json`, `weights.npz`."""
    rows, weights = [], []
    layers = {id(layer): path for path, layer in map_layers(model).layers.items()}
    for layer in map_layers(model).layers.values():
        (node,) = layer._inbound_nodes
        inputs = [layers[id(tensor._keras_history.operation)] for tensor in node.input_tensors]
        config = {
            key: value
            for key, value in copy_layer(layer).get_config().items()
            if isinstance(value, int | float | str | list | tuple) and key not in ("dtype", "name")
        }
        rows.append(
            {
                "name": layer.name,
                "kind": type(layer).__name__,
                "config": config,
                "inputs": inputs,
                "weights": len(layer.weights),
            }
        )
        weights += layer.get_weights()
    (work / "network.json").write_text(json.dumps(rows))
    np.savez(work / "weights.npz", *weights)


def tfmot_python(work: Path) -> Path:
    """The interpreter of an environment with TensorFlow Model Optimization; made if need be."""
    folder = work / "tfmot"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *TFMOT], check=True)
        (folder / "ready").touch()
    return python


def run_tfmot(dense: Path, work: Path, script: str, *arguments: object) -> list[str]:
    """Hands a network to a script in TFMOT's environment; returns the lines that it printed.

    Args:
      dense: the network's `.keras` file.
      work: the folder with the data, which the script gets first.
      script: beside this module.
      arguments: of the script, behind the folder.
    """
    describe(keras.models.load_model(dense, compile=False), work)
    path = Path(__file__).with_name(script)
    command = [tfmot_python(work), path, work, *arguments]
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()
