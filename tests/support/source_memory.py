"""Runs a verb on a source that is far larger than the memory it may take; prints what it took.

    python -m tests.support.source_memory VERB KIND FOLDER

The model takes `[64, 64, 4]` floats, 64 KiB a sample. A source of `SAMPLES` of them would take
`SAMPLES / 16384` GiB.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import edgeprune

assert sys.platform == "linux"
SAMPLES = 48 * 1024
SHAPE = (64, 64, 4)
BATCH = 64


def network() -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE, name="image")
    x = keras.layers.Conv2D(4, 8, strides=8, activation="relu", name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="out")(x))


def batches() -> Iterator[Any]:
    for index in range(SAMPLES // BATCH):
        x = np.full((BATCH, *SHAPE), index % 7, np.float32)
        yield x, np.arange(BATCH) % 2


def dataset() -> Any:
    return tf.data.Dataset.from_generator(
        batches,
        output_signature=(
            tf.TensorSpec((None, *SHAPE)),
            tf.TensorSpec((None,), tf.int64),
        ),
    )


def arrays(folder: Path) -> Any:
    """A folder of arrays whose file has a hole in place of values, and takes no room."""
    np.save(folder / "y.npy", np.arange(SAMPLES) % 2)
    np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        folder / "x.npy", "w+", np.float32, (SAMPLES, *SHAPE)
    ).flush()
    return folder


KINDS = {"generator": lambda _: batches(), "dataset": lambda _: dataset(), "arrays": arrays}


def run(verb: str, data: Any, folder: Path) -> None:
    model = network()
    made = edgeprune.plan(model, "ethos-u55", sparsity=0.5)
    match verb:
        case "plan":
            edgeprune.plan(model, "ethos-u55", x=data, allocation="reconstruction")
        case "prune":
            edgeprune.prune(model, made, data, finetune=False)
        case "export":
            edgeprune.export(model, "arm-neon-int8", folder / "m.tflite", x=data)
        case "validate":
            edgeprune.export(model, "xnnpack-x86", folder / "m.tflite")
            edgeprune.validate(folder / "m.tflite", "xnnpack-x86", x=data)
        case "train":
            steps = 8 if hasattr(data, "send") else None
            training = edgeprune.Training(epochs=1, batch_size=BATCH, steps_per_epoch=steps)
            edgeprune.prune(model, made, data, training)
        case _:
            raise SystemExit(f"no such verb: {verb}")


def main() -> None:
    """Prints the peak of resident memory beyond what importing and a first batch take, in MiB."""
    verb, kind, name = sys.argv[1:]
    folder = Path(name)
    data = KINDS[kind](folder)
    network().predict(np.zeros((BATCH, *SHAPE), np.float32), verbose=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(verb, data, folder)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    sys.stdout.write(f"{grown}\n")


if __name__ == "__main__":
    main()
