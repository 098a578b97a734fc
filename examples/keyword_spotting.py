"""From keyword spotting in Keras to a C array and the firmware around it, for a microcontroller.

    python examples/keyword_spotting.py

Trains a small DS-CNN, the network of "Hello Edge" (Zhang et al., 2017), on made-up spectrograms:
put your own features and labels in the place of `spectrograms`. The steps behind it are typed as on
the command line. They leave beside the file, keywords.tflite:

    keywords.cc   the file as an aligned array
    keywords.h    its declaration, the arena that it needs, and the operators that it has
"""

import shlex
import subprocess
import sys

import keras
import numpy as np

WORDS = ("silence", "yes", "no", "stop", "go")
FRAMES, BANDS = 49, 10


def main() -> None:
    """Trains, prunes, exports, measures, and prints the firmware."""
    x, y = spectrograms(400, seed=1)
    np.savez("keywords.npz", x=x[:200])  # pruning and int8 ask for a few samples, and no labels
    model = ds_cnn()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=6, verbose=0)
    accuracy = model.evaluate(*spectrograms(100, seed=2), verbose=0, return_dict=True)["accuracy"]
    print(f"Dense model: accuracy {accuracy:.3f} on other samples")
    model.save("keywords.keras")

    # Zeros buy nothing in TensorFlow Lite Micro; a third fewer channels do.
    run(
        "edgeprune prune keywords.keras --device cortex-m-tflm --sparsity 0.35 --data keywords.npz"
        " -o pruned.keras"
    )
    run(
        "edgeprune export pruned.keras --device cortex-m-tflm --data keywords.npz --strip-names"
        " --c-array -o keywords.tflite"
    )
    run("edgeprune measure keywords.tflite --device cortex-m-tflm")
    run("edgeprune snippet keywords.tflite --device cortex-m-tflm --language c")


def ds_cnn() -> keras.Model:
    """A convolution and three depthwise-separable ones over 49 frames of 10 coefficients."""
    layers = keras.layers
    x = features = keras.Input((FRAMES, BANDS, 1), name="features")
    x = layers.Conv2D(32, (10, 4), strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    for _ in range(3):
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
        x = layers.Conv2D(32, 1, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(features, layers.Dense(len(WORDS), activation="softmax", name="words")(x))


def spectrograms(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features `[count, 49, 10, 1]` and the numbers of their words: a tone that moves, in noise."""
    generator = np.random.default_rng(seed)
    word = np.arange(count) % len(WORDS)
    time = np.linspace(0, 1, FRAMES) + generator.uniform(-0.1, 0.1, (count, 1))
    tone = 4.5 + 3 * np.sin(2 * np.pi * word[:, None] * time / 2)
    distance = np.arange(BANDS) - tone[..., None]
    loud = np.where(word > 0, 2.0, 0.0)[:, None, None]
    x = loud * np.exp(-(distance**2)) + generator.normal(0, 0.5, (count, FRAMES, BANDS))
    return x[..., None].astype(np.float32), word


def run(command: str) -> None:
    """Shows a command and runs it."""
    print(f"\n$ {command}", flush=True)
    subprocess.run([sys.executable, "-m", *shlex.split(command)], check=True)


if __name__ == "__main__":
    main()
