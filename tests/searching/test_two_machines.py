"""The command on two machines that share a database: one search, and the same files on both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.support.postgresql_server import PASSWORD, postgresql_server

assert sys.platform == "linux"

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def write_model_and_data(folder: Path) -> None:
    """A network of a few thousand weights, and samples labelled by what it answers itself."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    samples = np.random.default_rng(0).uniform(-1, 1, (160, 12, 12, 3)).astype(np.float32)
    answers = np.asarray(model(samples))
    model.layers[-1].bias.assign(-answers.mean(axis=0))
    labels = (answers - answers.mean(axis=0)).argmax(axis=1)
    model.save(folder / "model.keras")
    np.savez(folder / "data.npz", x=samples, x_test=samples, y_test=labels)


def start(folder: Path, output: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgeprune", "search", "model.keras", "--data", "data.npz"]
    command += ["--devices", "android-phone", "--routes", "int8-channels", "--max-drop", "0.9"]
    command += ["--trials", "3", "-o", output, "--json", *options]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(worker: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    out, err = worker.communicate(timeout=600)
    assert worker.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found, out + err


def points(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What is on the front, but for the names of folders and storages in commands."""
    (front,) = found["fronts"]
    keys = ("file", "device", "route", "cost", "accuracy", "size_bytes")
    return [tuple(repr(point[key]) for key in keys) for point in front["points"]]


def test_two_machines_end_with_the_front_of_one_and_with_all_its_files(tmp_path: Path) -> None:
    write_model_and_data(tmp_path)
    alone, _ = result(start(tmp_path, "alone"))
    with postgresql_server() as url:
        workers = [start(tmp_path, name, "--storage", url) for name in ("one", "two")]
        (first, said), (second, also) = map(result, workers)
    assert points(first) == points(second) == points(alone) != []
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "front").glob("*.tflite")}
        for name in ("alone", "one", "two")
    ]
    assert files[0].keys() == files[1].keys() == files[2].keys()
    assert files[1] == files[2]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (PASSWORD, "s3cret"):
        assert secret not in said + also
        assert not [content for content in written if secret.encode() in content]
