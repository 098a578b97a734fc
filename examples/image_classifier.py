"""From a folder of images, one sub-folder per class, to a file for an Android phone.

    python examples/image_classifier.py [IMAGES] [OUT.tflite]

Without a folder of your own it draws one. It trains a small classifier, removes half of its weights
as whole channels, which is what pays on a phone in int8, converts it, checks the file against the
model, and prints the Kotlin that loads it. The file has the names of the classes in it.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image

import edgeprune

DEVICE = "android-phone"  # `edgeprune devices pixel 8` finds the name for a product
SIZE = (48, 48)


def main() -> None:
    """Goes the whole way from images to code."""
    images = Path(sys.argv[1]) if len(sys.argv) > 1 else draw_images(Path("images"))
    output = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("classifier.tflite")

    split = {"validation_split": 0.25, "seed": 0, "image_size": SIZE, "batch_size": 32}
    train, test = keras.utils.image_dataset_from_directory(
        images, subset="both", verbose=False, **split
    )
    model = network(len(train.class_names))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, epochs=10, verbose=0, shuffle=False)  # the images come shuffled
    print(f"Dense model: accuracy {accuracy(model, test):.3f}")

    # Which layers lose what, and why. Nothing is changed yet.
    plan = edgeprune.plan(model, DEVICE, sparsity=0.5)
    print(plan)

    # The folder gives the images that the rest is fitted to, and the names of the classes.
    pruned = edgeprune.prune(model, plan, images)
    print(f"Pruned model: accuracy {accuracy(pruned, test):.3f}")

    edgeprune.export(pruned, DEVICE, output, x=images, plan=plan)
    print(f"{output}: {output.stat().st_size} bytes, int8")
    print(edgeprune.validate(output, DEVICE, reference=pruned))

    print(edgeprune.snippet(output, DEVICE, language="kotlin"))


def network(classes: int) -> keras.Model:
    """A small convolutional network that takes pixels as they are."""
    layers = keras.layers
    image = keras.Input((*SIZE, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    for channels in (32, 64, 64):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax")(x))


def accuracy(model: keras.Model, images: object) -> float:
    """The fraction of images whose class a model names."""
    model.compile(metrics=["accuracy"], loss="sparse_categorical_crossentropy")
    return model.evaluate(images, verbose=0, return_dict=True)["accuracy"]


def draw_images(folder: Path) -> Path:
    """Writes 100 small PNG files of each of three shapes; returns the folder."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :48]
    for number in range(300):
        y, x, radius = generator.integers((16, 16, 8), (32, 32, 14))
        shapes = {
            "disc": np.hypot(rows - y, columns - x) < radius,
            "cross": np.minimum(abs(rows - y), abs(columns - x)) < radius / 3,
            "stripes": (rows + y) // 6 % 2 == 0,
        }
        name = list(shapes)[number % 3]
        paper, ink = generator.integers(0, 100, 3), generator.integers(140, 240, 3)
        picture = np.where(shapes[name][..., None], ink, paper) + generator.normal(
            0, 12, (48, 48, 3)
        )
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(
            folder / name / f"{number:03}.png"
        )
    return folder


if __name__ == "__main__":
    main()
