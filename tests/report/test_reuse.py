"""A second run on the same output folder does what changed, for the devices that it changed for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core import digest
from edgeprune.core.progress import Progress, no_progress
from edgeprune.keras_model.files import load_model, save_model
from edgeprune.report import one_device
from edgeprune.report.compare import compare
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.report import Report
from edgeprune.searching import fingerprint
from edgeprune.targets.measurement import Settings
from tests.support.profiles import changed_profile

pytestmark = pytest.mark.slow
Done = list[tuple[str, str]]
"""What was done, and for which device."""
EVERYTHING = {("made", "edge-tpu"), ("judged", "edge-tpu"), ("made", "own"), ("judged", "own")}


def write_inputs(folder: Path) -> None:
    """A small model, its data, and a device of the user's own."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 4), name="image")
    x = keras.layers.Conv2D(32, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.Conv2D(32, 1, activation="relu", name="pointwise")(x)
    outputs = keras.layers.Dense(2, name="kind")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    save_model(model, folder / "model.keras")
    y = np.arange(60) % 2
    x = np.random.default_rng(0).normal(size=(60, 8, 8, 4)).astype(np.float32)
    np.savez(folder / "data.npz", x=x + y[:, None, None, None], y=y)
    changed_profile(folder / "own.toml", "edge-tpu", ('name = "edge-tpu"', 'name = "own"'))


def run(
    folder: Path, progress: Progress = no_progress, *, own: bool = True, **options: Any
) -> Report:
    """Compares on a shipped device, and on the user's own unless that is left out."""
    return compare(
        folder / "model.keras",
        ["edge-tpu", *([folder / "own.toml"] if own else [])],
        folder / "data.npz",
        folder / "out",
        progress=progress,
        **options,
    )


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "work"
    folder.mkdir()
    write_inputs(folder)
    report = run(folder)
    assert report.ok
    assert [(device.reused, device.history) for device in report.devices] == [((), "")] * 2
    return folder


@pytest.fixture
def folder(first_run: Path, tmp_path: Path) -> Path:
    """The inputs and outputs of a finished run, for a test to change."""
    return Path(shutil.copytree(first_run, tmp_path / "copy"))


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    """What is really done from here on."""
    found: Done = []
    for name, word in (("make_files", "made"), ("judge_files", "judged")):
        plain = getattr(one_device, name)

        def noted(job: Any, profile: Any, *more: Any, plain: Any = plain, word: str = word) -> Any:
            found.append((word, profile.name))
            return plain(job, profile, *more)

        monkeypatch.setattr(one_device, name, noted)
    return found


def test_a_second_run_reuses_everything_and_says_so(folder: Path, done: Done) -> None:
    before = json.loads((folder / "out/report.json").read_text())
    report = run(folder)
    assert done == []
    for device in report.devices:
        assert device.reused == ("files", "measurements")
        assert device.history.startswith("The files of 20")
        assert "so are the checks and measurements of 20" in device.history
        assert device.history in report.to_html()
    after = json.loads((folder / "out/report.json").read_text())
    for entry, old in zip(after["devices"], before["devices"], strict=True):
        assert entry["pruned"][0]["cycles"] == old["pruned"][0]["cycles"] > 0
        assert entry["made_at"] == old["made_at"]
        assert entry["artifact"]["path"] == str(folder / "out" / f"{entry['device']}.tflite")
        assert entry["plan"]["layers"] == old["plan"]["layers"]
        assert entry["verdict"]["checks"] == old["verdict"]["checks"]


def save_model_again(folder: Path) -> None:
    save_model(load_model(folder / "model.keras"), folder / "model.keras")


def pack_data(folder: Path) -> None:
    with np.load(folder / "data.npz") as arrays:
        np.savez_compressed(folder / "data.npz", **dict(arrays))


def edit_reports(folder: Path) -> None:
    (folder / "out/report.json").write_text("{}")
    (folder / "out/report.html").unlink()


def reword_profile(folder: Path) -> None:
    text = (folder / "own.toml").read_text()
    (folder / "own.toml").write_text(f"# A comment is no content.\n{text}")


@pytest.mark.parametrize(
    "change", [save_model_again, pack_data, edit_reports, reword_profile], ids=lambda f: f.__name__
)
def test_what_changes_no_content_costs_nothing(
    folder: Path, done: Done, change: Callable[[Path], None]
) -> None:
    change(folder)
    report = run(folder)
    assert done == []
    written = (folder / "out/report.json").read_text()
    assert json.loads(written) == json.loads(json.dumps(report.to_json()))
    assert report.devices[0].history in (folder / "out/report.html").read_text()


def change_weights(folder: Path) -> None:
    model = load_model(folder / "model.keras")
    model.weights[0].assign(model.weights[0] * 1.01)
    save_model(model, folder / "model.keras")


def change_sample(index: int, folder: Path) -> None:
    with np.load(folder / "data.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    x[index] += 0.5
    np.savez(folder / "data.npz", x=x, y=y)


def change_training_sample(folder: Path) -> None:
    change_sample(1, folder)


def change_test_sample(folder: Path) -> None:
    """Every fifth one is held out."""
    change_sample(5, folder)


def change_profile(folder: Path) -> None:
    text = (folder / "own.toml").read_text()
    assert "default_sparsity = 0.5" in text
    (folder / "own.toml").write_text(
        text.replace("default_sparsity = 0.5", "default_sparsity = 0.3")
    )


def edit_file(folder: Path) -> None:
    path = folder / "out/edge-tpu.tflite"
    path.write_bytes(path.read_bytes() + b"\0")


def remove_model(folder: Path) -> None:
    (folder / "out/edge-tpu.keras").unlink()


def edit_manifest(folder: Path) -> None:
    path = folder / "out/edge-tpu.manifest.json"
    path.write_text(path.read_text().replace("int8", "int4"))


def damage_record(folder: Path) -> None:
    path = folder / "out/.edgeprune/edge-tpu.json"
    path.write_bytes(path.read_bytes()[:200])


def remove_verdict(folder: Path) -> None:
    (folder / "out/.edgeprune/edge-tpu+judged.json").unlink()


TPU = {entry for entry in EVERYTHING if entry[1] == "edge-tpu"}


@pytest.mark.parametrize(
    ("change", "expected", "said"),
    [
        (change_weights, EVERYTHING, "Made again, since the model changed."),
        (change_training_sample, EVERYTHING, "Made again, since the data changed."),
        (change_test_sample, {("judged", "edge-tpu"), ("judged", "own")}, "the test data changed"),
        (change_profile, EVERYTHING - TPU, "Made again, since the profile changed."),
        (edit_file, TPU, "since edge-tpu.tflite was changed or removed."),
        (remove_model, TPU, "since edge-tpu.keras was changed or removed."),
        (edit_manifest, TPU, "since edge-tpu.manifest.json was changed or removed."),
        (damage_record, TPU, "since its record is damaged."),
        (remove_verdict, {("judged", "edge-tpu")}, "The files of"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_changed_is_done_again_for_the_devices_that_it_changed_for(
    folder: Path, done: Done, change: Callable[[Path], None], expected: Any, said: str
) -> None:
    change(folder)
    report = run(folder)
    assert set(done) == expected
    assert len(done) == len(expected)
    assert report.ok
    told = [device.history for device in report.devices if (("judged", device.device)) in expected]
    assert all(said in history for history in told), told
    del done[:]
    run(folder)
    assert done == []


def test_an_edited_dense_file_is_written_again(folder: Path, done: Done) -> None:
    path = folder / "out/dense-int8-per-tensor.tflite"
    before = digest.of_file(path)
    assert before is not None
    path.write_bytes(b"")
    assert run(folder).ok
    assert not [word for word, _ in done if word == "made"]
    assert digest.of_file(path) == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sparsity": 0.3}, EVERYTHING),
        ({"scale": (0.0, 1.0)}, EVERYTHING),
        ({"force": True}, EVERYTHING),
        ({"settings": Settings(threads=2)}, {("judged", "edge-tpu"), ("judged", "own")}),
    ],
    ids=["sparsity", "scale", "force", "threads"],
)
def test_options_count(folder: Path, done: Done, options: Any, expected: Any) -> None:
    run(folder, **options)
    assert set(done) == expected


def test_another_version_of_the_converter_makes_everything_again(
    folder: Path, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "installed_versions", lambda: {"tensorflow": "99"})
    report = run(folder)
    assert set(done) == EVERYTHING
    assert "since the versions changed" in report.devices[0].history


class InterruptedRunError(Exception):
    """Stands for Ctrl-C, a kill or a power cut: whatever is on the disk stays as it is."""


def stop_at(text: str) -> Progress:
    def tell(what: str, done: int, total: int) -> None:
        del done, total
        if text in what:
            raise InterruptedRunError

    return tell


def test_an_interrupted_run_goes_on_with_the_device_that_it_was_at(
    tmp_path: Path, done: Done
) -> None:
    write_inputs(tmp_path)
    with pytest.raises(InterruptedRunError):
        run(tmp_path, stop_at("own: export"))
    assert done == [("made", "edge-tpu"), ("judged", "edge-tpu"), ("made", "own")]
    del done[:]
    assert run(tmp_path).ok
    assert done == [("made", "own"), ("judged", "own")]


def test_interrupted_training_goes_on_at_its_epoch_and_ends_as_without_interruption(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / "whole", tmp_path / "cut"]
    for folder in folders:
        folder.mkdir()
        write_inputs(folder)
    told: list[str] = []
    run(folders[0], own=False, epochs=4)
    with pytest.raises(InterruptedRunError):
        run(folders[1], stop_at("edge-tpu: training, epoch 3 of 4"), own=False, epochs=4)
    report = run(folders[1], lambda what, *_: told.append(what), own=False, epochs=4)
    assert report.ok
    epochs = [what for what in told if what.startswith("edge-tpu: training, epoch")]
    assert not any("epoch 1 of 4" in what for what in epochs)
    assert any("epoch 4 of 4" in what for what in epochs)
    weights = [load_model(folder / "out/edge-tpu.keras").get_weights() for folder in folders]
    for whole, cut in zip(*weights, strict=True):
        np.testing.assert_array_equal(whole, cut)
    left = {path.name for path in (folders[1] / "out/.edgeprune").iterdir()}
    assert not any("training" in name for name in left)


def test_a_damaged_state_of_training_is_not_gone_on_with(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    with pytest.raises(InterruptedRunError):
        run(tmp_path, stop_at("edge-tpu: training, epoch 3 of 4"), own=False, epochs=4)
    (state,) = (tmp_path / "out/.edgeprune").glob("edge-tpu+training-*/checkpoint.npz")
    state.write_bytes(state.read_bytes()[:1000])
    told: list[str] = []
    assert run(tmp_path, lambda what, *_: told.append(what), own=False, epochs=4).ok
    assert any(what.startswith("edge-tpu: training, epoch 1 of 4") for what in told)


def test_an_error_is_not_kept(tmp_path: Path, done: Done) -> None:
    """What failed may be mended outside: another try is worth it."""
    write_inputs(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dense-int8-per-tensor.manifest.json").mkdir()
    report = run(tmp_path)
    assert "dense-int8-per-tensor.manifest.json" in str(report.devices[0].error)
    (tmp_path / "out/dense-int8-per-tensor.manifest.json").rmdir()
    del done[:]
    assert run(tmp_path).ok
    assert done == [("judged", "edge-tpu"), ("judged", "own")]


def test_two_runs_on_one_folder_wait_for_each_other(folder: Path, done: Done) -> None:
    shutil.rmtree(folder / "out")
    command = [sys.executable, "-m", "edgeprune", "compare", "model.keras", "--devices"]
    both = [
        subprocess.Popen(
            [*command, "edge-tpu,own.toml", "--data", "data.npz", "-o", "out", "--json"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(2)
    ]
    documents = [json.loads(process.communicate(timeout=300)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    reused = [[entry["reused"] for entry in document["devices"]] for document in documents]
    assert sorted(reused) == [[[], []], [["files", "measurements"]] * 2]
    run(folder)
    assert done == []


def test_a_run_that_was_killed_goes_on_with_what_it_had_finished(
    tmp_path: Path, done: Done
) -> None:
    write_inputs(tmp_path)
    command = [sys.executable, "-m", "edgeprune", "compare", "model.keras", "--devices"]
    process = subprocess.Popen(
        [*command, "edge-tpu,own.toml", "--data", "data.npz", "-o", "out"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    record = tmp_path / "out/.edgeprune/edge-tpu.json"
    while process.poll() is None and not record.exists():
        time.sleep(0.05)
    process.kill()
    process.wait(60)
    assert run(tmp_path).ok
    assert ("made", "edge-tpu") not in done


def test_an_instrument_that_is_set_up_later_measures_the_files_that_are_there(
    tmp_path: Path, done: Done, installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(tmp_path)

    def phone() -> DeviceReport:
        inputs = tmp_path / "model.keras", ["xnnpack-arm64"], tmp_path / "data.npz"
        (device,) = compare(*inputs, tmp_path / "out").devices
        return device

    without = phone()
    assert without.pruned == ()
    assert "not measured: `edgeprune targets install arm64-emulated`" in without.gain.text
    assert done == [("made", "xnnpack-arm64"), ("judged", "xnnpack-arm64")]
    del done[:]
    monkeypatch.setenv("XDG_CACHE_HOME", installed)
    measured = phone()
    assert done == [("judged", "xnnpack-arm64")]
    assert [found.target for found in measured.pruned] == ["arm64-emulated"]
    assert measured.not_measured == ""
    assert "checked and measured again, since the instruments" in measured.history
    del done[:]
    assert phone().pruned == measured.pruned
    assert done == []
