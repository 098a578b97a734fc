"""Every verb takes every kind of data, and a model as such or as a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import edgeprune
from edgeprune.core.data import Data
from edgeprune.core.sources import read_data
from edgeprune.keras_model.preprocessing import inputs_of
from edgeprune.keras_model.sparsity import reached_sparsity

L = keras.layers
DEVICE = "ethos-u55"
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 8)).astype(np.float32)
EXTRA = RANDOM.normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 3


def network() -> Any:
    """Two inputs in a dict, which Keras takes in alphabetical order."""
    keras.utils.set_random_seed(0)
    one, two = keras.Input((8,), name="wide"), keras.Input((4,), name="extra")
    joined = L.Concatenate()([L.Dense(16, activation="relu", name="first")(one), two])
    return keras.Model({"wide": one, "extra": two}, L.Dense(3, activation="softmax")(joined))


class Sequence(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        part = slice(15 * index, 15 * index + 15)
        return {"wide": X[part], "extra": EXTRA[part]}, Y[part]


def named() -> Any:
    return tf.data.Dataset.from_tensor_slices(({"wide": X, "extra": EXTRA}, Y))


def of_unknown_length(size: int | None) -> Any:
    def elements() -> Iterator[Any]:
        for start in range(0, 60, size or 1):
            rows: Any = slice(start, start + size) if size else start
            yield {"wide": X[rows], "extra": EXTRA[rows]}, Y[rows]

    more = (None,) if size else ()
    signature = {"wide": tf.TensorSpec((*more, 8)), "extra": tf.TensorSpec((*more, 4))}
    return tf.data.Dataset.from_generator(
        elements, output_signature=(signature, tf.TensorSpec(more, tf.int64))
    )


def npz(folder: Path) -> Any:
    np.savez(folder / "d.npz", wide=X, extra=EXTRA, y=Y)
    return folder / "d.npz"


def npy(folder: Path) -> Any:
    (folder / "arrays").mkdir()
    for name, array in {"wide": X, "extra": EXTRA, "y": Y}.items():
        np.save(folder / "arrays" / f"{name}.npy", array)
    return str(folder / "arrays")


def function(folder: Path) -> Any:
    np.savez(folder / "f.npz", wide=X, extra=EXTRA, y=Y)
    (folder / "given.py").write_text(
        "import numpy as np, pathlib\nimport tensorflow as tf\n"
        "def samples():\n"
        "    found = np.load(pathlib.Path(__file__).with_name('f.npz'))\n"
        "    x = {'wide': found['wide'], 'extra': found['extra']}\n"
        "    return tf.data.Dataset.from_tensor_slices((x, found['y'])).batch(8)\n"
    )
    return f"{folder / 'given.py'}:samples"


KINDS: dict[str, Callable[[Path], Any]] = {
    "arrays in a list with labels": lambda _: ([EXTRA, X], Y),
    "dict": lambda _: {"wide": X, "extra": EXTRA, "y": Y},
    "dict with labels beside": lambda _: ({"extra": EXTRA, "wide": X}, Y),
    "Data": lambda _: Data((EXTRA, X), Y),
    "Dataset": lambda _: named().batch(16),
    "Dataset of samples": lambda _: named(),
    "Dataset of unknown length": lambda _: of_unknown_length(16),
    "Dataset of samples of unknown length": lambda _: of_unknown_length(None),
    "PyDataset": lambda _: Sequence(),
    "list of batches": lambda _: [Sequence()[index] for index in range(4)],
    "npz": npz,
    "folder of arrays": npy,
    "function": function,
}
"""All of them become one of three sources, in `core.sources.open`, before a verb sees them."""
OF_EACH_SOURCE = (
    *("dict", "Dataset", "Dataset of samples of unknown length", "PyDataset"),
    "folder of arrays",
)


@pytest.fixture(scope="module")
def model() -> Any:
    return network()


@pytest.fixture(scope="module")
def made(model: Any) -> Any:
    return edgeprune.plan(model, DEVICE, sparsity=0.5)


@pytest.fixture(scope="module")
def files(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as `m.keras` and `m.tflite`."""
    folder = tmp_path_factory.mktemp("files")
    model.save(folder / "m.keras")
    edgeprune.export(model, DEVICE, folder / "m.tflite", x=[EXTRA, X])
    return folder


Verb = Callable[[Any, Any, Any, Path], Any]


def pruned_enough(model: Any, made: Any) -> None:
    assert reached_sparsity(model, made) == pytest.approx(0.5, abs=0.02)


def run_plan(model: Any, _: Any, data: Any, __: Path) -> None:
    made = edgeprune.plan(model, DEVICE, sparsity=0.5, x=data, allocation="reconstruction")
    assert all(row.expected_error is not None for row in made.pruned)


def run_prune(model: Any, made: Any, data: Any, _: Path) -> None:
    pruned_enough(edgeprune.prune(model, made, data), made)


def run_one_shot(model: Any, made: Any, data: Any, _: Path) -> None:
    pruned_enough(edgeprune.prune_one_shot(model, made, data, finetune=False), made)


def run_train(model: Any, made: Any, data: Any, _: Path) -> None:
    trained = edgeprune.train_pruned(
        model, made, data, epochs=1, batch_size=16, validation=data, start="gradual"
    )
    pruned_enough(trained, made)


def run_export(model: Any, _: Any, data: Any, folder: Path) -> None:
    exported = edgeprune.export(model, DEVICE, folder / "out.tflite", x=data)
    assert exported.numerics == "int8"


VERBS: dict[str, Verb] = {
    "plan": run_plan,
    "prune": run_prune,
    "prune_one_shot": run_one_shot,
    "train_pruned": run_train,
    "export": run_export,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "kind"),
    [(verb, kind) for verb in VERBS for kind in (KINDS if verb == "prune" else OF_EACH_SOURCE)],
)
def test_every_verb_takes_every_kind_of_data(
    model: Any, made: Any, tmp_path: Path, verb: str, kind: str
) -> None:
    VERBS[verb](model, made, KINDS[kind](tmp_path), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_EACH_SOURCE)
def test_validate_takes_every_kind_of_data(files: Path, tmp_path: Path, kind: str) -> None:
    verdict = edgeprune.validate(
        files / "m.tflite", "arm-neon-int8", x=KINDS[kind](tmp_path), reference=files / "m.keras"
    )
    assert verdict.ran


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["dict", "Dataset of samples of unknown length", "folder of arrays"]
)
def test_compare_takes_every_kind_of_data(model: Any, tmp_path: Path, kind: str) -> None:
    report = edgeprune.compare(model, ["arm-neon-int8"], KINDS[kind](tmp_path), tmp_path / "out")
    (device,) = report.devices
    assert device.error is None
    assert device.accuracy is not None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Dataset of samples of unknown length", "PyDataset"])
def test_compare_trains_on_other_samples_than_it_tests_on(
    model: Any, tmp_path: Path, kind: str
) -> None:
    report = edgeprune.compare(
        model, ["arm-neon-int8"], KINDS[kind](tmp_path), tmp_path / "out", epochs=1
    )
    (device,) = report.devices
    assert device.error is None


@pytest.mark.slow
def test_a_model_is_taken_wherever_a_path_is_and_the_other_way_round(
    model: Any, made: Any, files: Path, tmp_path: Path
) -> None:
    path = files / "m.keras"
    assert edgeprune.plan(str(path), DEVICE, sparsity=0.5).layers == made.layers
    one = edgeprune.prune_one_shot(str(path), made)
    for first, second in zip(
        one.get_weights(), edgeprune.prune_one_shot(model, made).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    edgeprune.export(path, DEVICE, tmp_path / "p.tflite", x=[EXTRA, X])
    assert (tmp_path / "p.tflite").read_bytes() == (files / "m.tflite").read_bytes()
    for reference in (model, path, str(path)):
        found = edgeprune.validate(files / "m.tflite", "arm-neon-int8", reference=reference)
        assert found.ran


@pytest.mark.slow
def test_a_folder_of_images_goes_through_the_whole_pipeline(tmp_path: Path) -> None:
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(40):
            noise = RANDOM.integers(0, 40, (12, 12, 3)) + level
            Image.fromarray(noise.astype(np.uint8)).save(
                tmp_path / "images" / name / f"{index}.png"
            )
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(16, 3, activation="relu", name="conv")(inputs))
    model = keras.Model(inputs, L.Dense(1, activation="sigmoid", name="light")(x))
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    data = read_data(tmp_path / "images", inputs_of(model))
    model.fit(data.x[0], data.y, epochs=20, verbose=0)
    report = edgeprune.compare(
        model,
        ["arm-neon-int8"],
        tmp_path / "images",
        tmp_path / "out",
        epochs=2,
        sparsity=0.3,
        validation_data=tmp_path / "images",
    )
    (device,) = report.devices
    assert device.error is None
    assert device.accuracy is not None
    assert device.accuracy[1] > 0.9
    assert "become (x - 127.5) / 127.5" in report.scaling
