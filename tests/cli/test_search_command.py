"""`edgeprune search` as it is typed: what it prints, writes and ends with."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgeprune.cli import cli
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import manifest_path

POINT_KEYS = [
    *("file", "device", "route", "sparsity", "epochs", "accuracy", "drop", "cost", "size_bytes"),
    "command",
]
SEARCH = ("search", "model.keras", "--devices", "edge-tpu", "--data", "data.npz")
ONE = (*SEARCH, "--routes", "latency", "--trials", "1")


def network() -> Any:
    """A small network with random weights; it is right where it answers as ever."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3), name="image")
    for channels in (32, 64, 64):
        x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4)(x))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    model = network()
    model.save(folder / "model.keras")
    x = np.random.default_rng(0).normal(size=(96, 8, 8, 3)).astype(np.float32)
    y = np.argmax(model.predict(x, verbose=0), axis=1)
    np.savez(folder / "data.npz", x=x[:32], x_test=x[32:], y_test=y[32:])
    np.savez(folder / "unlabelled.npz", x=x)
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def constants(path: Path) -> list[tuple[str, bytes]]:
    """The bytes of every constant of a file; its manifest may have another plan's words."""
    [subgraph] = read(path).subgraphs
    return [(each.name, each.data.tobytes()) for each in subgraph.tensors if each.data is not None]


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--max-drop", "0.01", "--min-accuracy", "0.9"), "give one"),
        (("--max-drop", "2"), "such as 0.01 for one point"),
        (("--minimize",), "give --metric"),
        (("--time", "soon"), "such as 90s, 45m or 2h"),
        (("--trials", "0"), "--trials"),
        (("--quantize-aware",), "give --epochs"),
        (("--target", "host", "--target", "vela"), "name one"),
        (("--routes", "nothing"), "Unknown route 'nothing'"),
        (("--storage", "mysql://me:secret@host/x"), "postgresql://USER:PASSWORD@HOST"),
        (("--resume",), "no search to resume"),
        (("--devices", " ,"), "--devices: expected names with commas"),
        (("--epochs", "1", "--validation", "7"), "0 <= validation < 1. Received: 7.0"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_work(
    here: Path, more: tuple[str, ...], message: str
) -> None:
    done = run(*SEARCH, *more, "-o", "refused")
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.split())
    assert "secret" not in done.output
    assert not (here / "refused").exists()


def test_a_budget_of_accuracy_needs_labels(here: Path) -> None:
    words = ("search", "model.keras", "--devices", "edge-tpu", "--data", "unlabelled.npz")
    done = run(*words, "--max-drop", "0.01", "--json", "-o", "refused")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "DataError"
    assert "y_test" in error["message"]
    assert not (here / "refused").exists()


@pytest.mark.slow
def test_a_search_ships_a_file_that_its_command_makes_again(here: Path) -> None:
    done = run(*ONE, "--max-drop", "0.5", "--json", "-o", "found")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document == json.loads((here / "found" / "search.json").read_text())
    [front] = document["fronts"]
    assert document["trials"]["done"] == 1
    assert (front["target"], front["unit"]) == ("edgetpu-model", "cycles")
    assert [list(point) for point in front["points"]] == [POINT_KEYS] * len(front["points"])
    shipped = front["points"][front["ship"]]
    assert shipped["cost"] < front["references"][0]["cost"]
    file = here / "found" / shipped["file"]
    assert manifest_path(file).exists()
    for command in shipped["command"].split(" && "):
        made = run(*shlex.split(command)[1:])
        assert made.exit_code == 0, made.output
    assert constants(here / "OUT.tflite") == constants(file)
    page = (here / "found" / "search.html").read_text()
    assert f'Ship this file: <a href="./{shipped["file"]}">' in page

    again = run(*ONE, "--max-drop", "0.5", "--resume", "-o", "found")
    assert again.exit_code == 0, again.output
    assert again.stdout.splitlines()[-1].startswith(f"Ship {shipped['file']}: ")

    other = run(*ONE, "--max-drop", "0.4", "-o", "found")
    assert other.exit_code == 2
    assert "holds another search" in other.output


@pytest.mark.slow
def test_a_budget_that_nothing_keeps_ends_with_1_and_the_nearest(here: Path) -> None:
    done = run(*ONE, "--max-drop", "0.5", "--max-bytes", "1000", "-o", "small")
    assert done.exit_code == 1, done.output
    [front] = json.loads((here / "small" / "search.json").read_text())["fronts"]
    assert front["ship"] is None
    assert front["nearest"]["device"] == "edge-tpu"
    assert "bytes where 1,000 are allowed" in front["reason"]


@pytest.mark.slow
@pytest.mark.linux
def test_an_interrupted_search_ends_with_130_and_goes_on(here: Path) -> None:
    words = [sys.executable, "-m", "edgeprune", *ONE, "--max-drop", "0.5", "-o", "stopped"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while "references" not in _finished(here / "stopped") and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert "references" in _finished(here / "stopped")
    done = run(*ONE, "--max-drop", "0.5", "--resume", "-o", "stopped")
    assert done.exit_code == 0, done.output


def _finished(folder: Path) -> dict[str, Any]:
    """The front as it is written, once it has a dense file."""
    path = folder / "search.json"
    if not path.exists():
        return {}
    [front] = json.loads(path.read_text())["fronts"]
    return dict(front) if front["references"] else {}
