"""Accuracy is that of the numbers which the device computes, or none is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.conversion.convert import export
from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, TargetError
from edgeprune.inspection.accuracy import Accuracy, accuracy
from edgeprune.inspection.validate_file import validate
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.targets.child import Reply
from edgeprune.targets.host import HOST
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.file import Graph
from tests.support.gate_networks import ask_for_halves
from tests.support.tiny_tflite import fully_connected

PHONE = load_profile("android-phone")
COMMAND = "edgeprune targets install arm64-emulated"


def labelled(count: int) -> Data:
    """One-hot samples of 4 classes, each labelled by its own number but the last class."""
    y = np.arange(count) % 4
    x = np.eye(4, dtype=np.float32)[y]
    return Data((x,), np.where(y == 3, 0, y))


def halves(path: Path) -> Path:
    """A classifier that names the place of the one, with the flag of half precision."""
    whole = fully_connected(path.with_suffix(".whole"), np.eye(4, dtype=np.float32))
    return ask_for_halves(whole, path)


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the samples of each run on this computer, which give the highest number's place."""
    runs: list[int] = []

    def run(_: Any, __: Graph, inputs: list[Any], ___: str, **____: Any) -> Reply:
        runs.append(len(inputs[0]))
        return Reply({"runtime": "a runtime"}, (inputs[0],))

    monkeypatch.setattr(type(HOST), "run", run)
    return runs


def test_float_files_are_run_here_on_all_samples(tmp_path: Path, on_host: list[int]) -> None:
    path = fully_connected(tmp_path / "m.tflite", np.eye(4, dtype=np.float32))
    found = accuracy(path, PHONE, labelled(5000), samples=8)
    assert found == Accuracy(0.75, 5000, "a runtime")
    assert on_host == [4096, 904]
    with pytest.raises(DataError, match="needs labels"):
        accuracy(path, PHONE, Data((np.eye(4, dtype=np.float32),)))


def test_half_precision_without_an_emulated_core_has_no_accuracy(
    tmp_path: Path, on_host: list[int]
) -> None:
    with pytest.raises(TargetError, match=f"Run: {COMMAND}$"):
        accuracy(halves(tmp_path / "m.tflite"), PHONE, labelled(8))
    with pytest.raises(TargetError, match="expected one of the targets arm64-emulated in the prof"):
        accuracy(tmp_path / "m.tflite", load_profile("xnnpack-x86"), labelled(8))
    assert on_host == []


def test_half_precision_is_run_on_the_core_in_small_chunks_of_some_samples(
    tmp_path: Path, on_host: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []

    def run(_: Any, __: Graph, inputs: list[Any], profile: Any) -> Reply:
        runs.append((len(inputs[0]), profile.core))
        return Reply({"runtime": "LiteRT on a core"}, (inputs[0],))

    monkeypatch.setattr(type(ARM64_EMULATED), "run_on_core", run)
    path = halves(tmp_path / "m.tflite")
    found = accuracy(path, PHONE, labelled(5000))
    assert (found.samples, found.runtime, found.emulated) == (256, "LiteRT on a core", True)
    assert str(found).endswith(" of 256 samples, LiteRT on a core")
    assert runs == [(64, "cortex-a76")] * 4
    assert accuracy(path, PHONE, labelled(5000), samples=70).samples == 70
    assert on_host == []


def near_4096(folder: Path) -> tuple[Path, Data]:
    """A trained network in half precision that float32 and half precision answer differently.

    Class 1 is ahead by 0.5 at 4096, where the steps of half precision are 4.
    """
    layer = keras.layers.Dense(2, name="classes")
    model = keras.Sequential([keras.Input((64,), name="x"), layer])
    kernel = np.zeros((64, 2), np.float32)
    kernel[:, 1] = 0.5 / 64
    layer.set_weights([kernel, np.full(2, 4096, np.float32)])
    export(model, PHONE, folder / "m.tflite", route="float16-arithmetic")
    x = np.ones((40, 64), np.float32)
    np.savez(folder / "data.npz", x=x, y=np.ones(40, int))
    return folder / "m.tflite", Data((x,), np.ones(40, int))


@pytest.mark.slow
def test_without_the_emulator_validate_says_so_and_gives_no_number(tmp_path: Path) -> None:
    path, data = near_4096(tmp_path)
    named = ["--device", "android-phone", "--data", str(tmp_path / "data.npz"), "--json"]
    done = CliRunner().invoke(cli, ["validate", str(path), *named])
    assert done.exit_code == 0, done.output
    checks = {check["kind"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["accuracy"]["value"] is None
    assert checks["accuracy"]["message"].startswith("not given: ")
    assert checks["accuracy"]["message"].endswith(f"Run: {COMMAND}")
    assert checks["outputs"]["name"] == "outputs (ARM64)"
    assert "arithmetic in half precision happens there only" in checks["outputs"]["message"]
    reply = HOST.run(tflite_file.read(path), list(data.x), "LiteRT")
    assert (np.argmax(reply.outputs[0], axis=1) == 1).all(), "here every class is right"


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.usefixtures("emulator")
def test_on_the_core_the_accuracy_is_that_of_half_precision(tmp_path: Path) -> None:
    path, data = near_4096(tmp_path)
    verdict = validate(path, "android-phone", x=data, samples=24)
    (check,) = (check for check in verdict.checks if check.kind == "accuracy")
    assert check.name == "accuracy (LiteRT 2.1.6 on emulated cortex-a76)"
    assert check.value == 0.0
    assert check.message.startswith("of 24 samples; ")
    runs = [check.message for check in verdict.checks if "emulated" in check.name]
    assert "32 inferences ended well" in runs
