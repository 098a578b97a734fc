"""--data, --validation-data, --preprocess and --custom-objects on the command line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgeprune.cli import cli
from edgeprune.cli.option_values import read_losses

L = keras.layers
Run = Callable[..., Result]
DEVICE = ("--device", "arm-neon-int8")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(cli, [*map(str, words)], catch_exceptions=False)


def net(size: int = 8, outputs: int = 3, **more: Any) -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((size, size, 3), name="image")
    x = L.GlobalAveragePooling2D()(L.Conv2D(16, 3, activation="relu", name="conv")(inputs))
    return keras.Model(inputs, L.Dense(outputs, activation="softmax", name="out", **more)(x))


def images(folder: Path, count: int = 20, names: str = "abc") -> Path:
    random = np.random.default_rng(0)
    for level, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(60 * level, 60 * level + 80, (10, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def refused(done: Result, *said: str) -> None:
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    told = " ".join(done.stderr.split())
    for text in said:
        assert text in told


@pytest.mark.slow
def test_a_folder_of_images_calibrates_and_names_the_classes(run: Run, tmp_path: Path) -> None:
    net().save("m.keras")
    images(tmp_path / "images")
    done = run("export", "m.keras", *DEVICE, "--data", "images", "-o", "m.tflite")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("uint8 values of 'x' become (x - 127.5) / 127.5") == 1
    with zipfile.ZipFile("m.tflite") as archive:
        assert archive.read("labels.txt").decode().split() == ["a", "b", "c"]
    done = run("validate", "m.tflite", *DEVICE, "--data", "images", "--reference", "m.keras")
    assert done.exit_code == 0, done.output


def test_too_many_broken_images_and_classes_that_do_not_fit_end_with_2(
    run: Run, tmp_path: Path
) -> None:
    net().save("m.keras")
    images(tmp_path / "images")
    (tmp_path / "images" / "b" / "3.png").write_bytes(b"no picture")
    done = run("export", "m.keras", *DEVICE, "--data", "images", "-o", "m.tflite")
    refused(done, "images: expected at most 1% of 60 images", "3.png")
    assert not (tmp_path / "m.tflite").exists()
    (tmp_path / "images" / "d").mkdir()
    done = run("plan", "m.keras", *DEVICE, "--data", "images")
    refused(done, "has 3 outputs. Received: 4 (a, b, c, d)")


@pytest.mark.slow
def test_one_broken_image_of_many_is_named_and_left_out(run: Run, tmp_path: Path) -> None:
    net().save("m.keras")
    images(tmp_path / "images", 40)
    (tmp_path / "images" / "b" / "3.png").write_bytes(b"no picture")
    done = run("export", "m.keras", *DEVICE, "--data", "images", "-o", "m.tflite")
    assert done.exit_code == 0, done.output
    assert "left out 1 of 120 images" in " ".join(done.stderr.split())
    assert "3.png" in done.stderr


def test_a_function_gives_samples_and_what_it_prints_is_no_result(run: Run, tmp_path: Path) -> None:
    net().save("m.keras")
    (tmp_path / "given_here.py").write_text(
        "import numpy as np\nprint('loading')\n"
        "def samples():\n    print('called')\n"
        "    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype('uint8')\n"
        "    return x, np.arange(40) % 3\n"
        "def wrong():\n    return samples()[0][:, :4]\n"
        "def broken():\n    return {}['gone']\n"
    )
    done = run("plan", "m.keras", *DEVICE, "--data", "given_here.py:samples", "--json")
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)
    assert "become (x - 127.5) / 127.5" in done.stderr
    done = run("plan", "m.keras", *DEVICE, "--data", "given_here:wrong")
    refused(done, "given_here:wrong: array 'x': the model takes [n, 8, 8, 3]")
    done = run("plan", "m.keras", *DEVICE, "--data", "given_here.py:broken")
    refused(done, "raised KeyError", "given_here.py, line 10")


@pytest.mark.slow
def test_preprocessing_by_name_is_said_once_kept_and_used_again(run: Run, tmp_path: Path) -> None:
    net().save("m.keras")
    images(tmp_path / "images")
    name = "keras.applications.resnet50"
    done = run(
        "export", "m.keras", *DEVICE, "--data", "images", "--preprocess", name, "-o", "m.tflite"
    )
    assert done.exit_code == 0, done.output
    told = " ".join(done.stderr.split())
    assert told.count("[103.939, 116.779, 123.68]) / [1, 1, 1] in the order BGR") == 1
    manifest = json.loads(Path("m.manifest.json").read_text())
    assert manifest["preprocess"] == name
    assert manifest["scale"] == {"image": [[103.939, 116.779, 123.68], [1.0, 1.0, 1.0], "bgr"]}
    done = run("validate", "m.tflite", *DEVICE, "--data", "images", "--reference", "m.keras")
    assert done.exit_code == 0, done.output
    assert "in the order BGR" in done.stderr


def test_unknown_and_ambiguous_preprocessing_ends_with_2(run: Run) -> None:
    net().save("m.keras")
    np.savez("d.npz", x=np.zeros((4, 8, 8, 3), np.uint8))
    command = ("plan", "m.keras", *DEVICE, "--data", "d.npz", "--preprocess")
    refused(run(*command, "keras.applications.resnet5"), "Did you mean 'resnet50'?")
    refused(run(*command, "resnet50", "--scale", "auto"), "--scale and --preprocess both say")


def test_preprocessing_wants_images(run: Run) -> None:
    keras.Sequential([keras.Input((5,)), L.Dense(3)]).save("m.keras")
    np.savez("d.npz", x=np.zeros((4, 5), np.uint8))
    done = run("plan", "m.keras", *DEVICE, "--data", "d.npz", "--preprocess", "vgg16")
    refused(done, "an input of RGB images", "keras.applications.vgg16")


CUSTOM = """
import keras

@keras.saving.register_keras_serializable("mine")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x

def weird_loss(y, predicted):
    return keras.ops.mean(keras.ops.square(predicted), -1)
"""


@pytest.fixture
def unregistered() -> Iterator[Callable[[], None]]:
    """What forgets all that was registered since; it is forgotten in the end too."""
    known = keras.saving.get_custom_objects()
    before = {**known}

    def forget() -> None:
        known.clear()
        known.update(before)

    yield forget
    forget()


@pytest.mark.slow
def test_custom_layers_losses_and_metrics_come_from_a_file(
    run: Run, tmp_path: Path, unregistered: Callable[[], None]
) -> None:
    (tmp_path / "own_objects.py").write_text(CUSTOM)
    scope: dict[str, Any] = {}
    exec(CUSTOM, scope)  # noqa: S102  the model is made by the very code that is given below
    inputs = keras.Input((8, 8, 3), name="image")
    x = scope["Doubled"](name="double")(L.Conv2D(16, 3, name="conv")(inputs))
    model = keras.Model(inputs, L.Dense(3, name="out")(L.GlobalAveragePooling2D()(x)))
    model.compile("adam", scope["weird_loss"])
    model.save("m.keras")
    unregistered()
    np.savez("d.npz", x=np.random.default_rng(0).random((40, 8, 8, 3)), y=np.arange(40) % 3)
    refused(run("plan", "m.keras", *DEVICE), "Doubled", "--custom-objects")
    own = ("--custom-objects", "own_objects.py")
    data = ("--data", "d.npz")
    assert run("plan", "m.keras", *DEVICE, *own).exit_code == 0
    trained = run("prune", "m.keras", *DEVICE, *own, *data, "--epochs", 1, "-o", "p.keras")
    assert trained.exit_code == 0, trained.output
    exported = run("export", "p.keras", *DEVICE, *own, *data, "-o", "p.tflite")
    assert exported.exit_code == 0, exported.output
    checked = run("validate", "p.tflite", *DEVICE, *own, *data, "--reference", "p.keras")
    assert checked.exit_code == 0, checked.output


def test_code_that_fails_is_named_with_its_line(run: Run, tmp_path: Path) -> None:
    net().save("m.keras")
    (tmp_path / "bad_objects.py").write_text("import keras\nkeras.no_such_thing\n")
    done = run("plan", "m.keras", *DEVICE, "--custom-objects", "bad_objects.py")
    refused(done, "bad_objects.py: its code raised AttributeError", "bad_objects.py, line 2")
    done = run("plan", "m.keras", *DEVICE, "--custom-objects", "none.py")
    refused(done, "none.py: expected a file with Python code. Received: no such file")
    done = run("plan", "m.keras", *DEVICE, "--custom-objects", "m.keras")
    refused(done, "m.keras: expected a .py file")


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ((), None),
        (("mse",), "mse"),
        (("kind=mse",), {"kind": "mse"}),
        (("a=b:0=mse", "size=huber"), {"a=b:0": "mse", "size": "huber"}),
    ],
)
def test_a_loss_is_named_for_all_outputs_or_for_each(words: tuple[str, ...], read: Any) -> None:
    assert read_losses(cast("Any", None), cast("Any", None), words) == read


@pytest.mark.parametrize("words", [("mse", "huber"), ("a=mse", "huber"), ("a=mse", "a=huber")])
def test_two_losses_of_one_output_are_refused(run: Run, words: tuple[str, str]) -> None:
    losses = [word for name in words for word in ("--loss", name)]
    done = run("prune", "m.keras", *DEVICE, "--epochs", 1, *losses, "-o", "o.keras")
    refused(done, f"one for each (OUTPUT=NAME). Received: {', '.join(words)}.")


def test_a_damaged_saved_model_and_a_signature_of_no_folder_are_refused(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    for command in ("plan", "prune", "export"):
        more = () if command == "plan" else ("-o", "o.tflite")
        refused(run(command, "saved", *DEVICE, *more), "expected a SavedModel", "a damaged file")
    refused(run("prune", "saved", *DEVICE, "-o", "o.keras"), "ending in .tflite", "a SavedModel")
    refused(run("plan", "m.keras", *DEVICE, "--signature", "a"), "m.keras is none")
    assert not (tmp_path / "o.tflite").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--validation-data", "d.npz"), "--validation-data finds the best epoch: give --epochs"),
        (
            (
                "--data",
                "d.npz",
                "--validation-data",
                "d.npz",
                "--epochs",
                "1",
                "--validation",
                "0.1",
            ),
            "cannot be combined",
        ),
    ],
)
def test_validation_data_that_cannot_be_used_is_refused(
    run: Run, words: tuple[str, ...], said: str
) -> None:
    refused(run("prune", "m.keras", *DEVICE, *words, "-o", "o.keras"), said)


@pytest.mark.slow
def test_validation_data_finds_the_best_epoch_and_measures_accuracy(
    run: Run, tmp_path: Path
) -> None:
    net().save("m.keras")
    images(tmp_path / "images")
    images(tmp_path / "others", 10)
    words = ("--data", "images", "--validation-data", "others", "--epochs", "1")
    done = run("prune", "m.keras", *DEVICE, *words, "-o", "p.keras")
    assert done.exit_code == 0, done.output
    done = run("compare", "m.keras", "--devices", "arm-neon-int8", *words, "-o", "out")
    assert done.exit_code == 0, done.output
    report = json.loads(Path("out/report.json").read_text())
    assert report["devices"][0]["accuracy"] is not None


def test_the_help_says_that_code_is_run(run: Run) -> None:
    for command in ("plan", "prune", "export", "validate", "compare"):
        told = " ".join(run(command, "--help").output.split())
        assert "which runs that code" in told
        assert "Runs the code of this file" in told
        assert "--preprocess" in told
