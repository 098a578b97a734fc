"""The command line, as a program: arguments in, exit code and streams out."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.keras_model.files import save_model
from edgeprune.profiles.folder import profile_folder, profile_names
from edgeprune.tflite.format.draft import load, write
from tests.support.architectures import build, samples
from tests.support.packing import mixed_net, packed
from tests.support.runtimes import RUNTIMES
from tests.support.tiny_tflite import fully_connected

Run = Callable[..., subprocess.CompletedProcess[str]]
WEIGHTS = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Starts edgeprune in an empty folder."""

    def start(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgeprune", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, timeout=300, capture_output=True, text=True, check=False
        )

    return start


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small network and data, which stays as it is."""
    folder = tmp_path_factory.mktemp("kept")
    network = build("mobilenet_v1")
    save_model(network, folder / "model.keras")
    x = samples(network, 40)[0]
    np.savez(folder / "data.npz", x=x, y=np.arange(40) % 10)
    return folder


@pytest.fixture
def model(kept: Path, tmp_path: Path) -> Path:
    """A small network on disk, with data beside it."""
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    return tmp_path / "model.keras"


@pytest.fixture(scope="module")
def unusable(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with files beside them that no command can use; nothing is written there."""
    folder = tmp_path_factory.mktemp("unusable")
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    bad_files(folder, folder / "model.keras")
    return folder


def check_refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """Exit code 2, a message and no traceback; nothing on standard output."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for text in said:
        assert text in done.stderr.replace("\n", " ")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_help_shows_every_command_and_where_to_start(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    commands = (
        "devices",
        "plan",
        "prune",
        "export",
        "encode",
        "densify",
        "inspect",
        "validate",
        "measure",
        "compare",
        "targets",
        "demo",
    )
    for command in commands:
        assert command in done.stdout
        assert run(command, "--help").returncode == 0
    assert "Start here" in done.stdout


@pytest.mark.parametrize("width", [40, 80, 110])
def test_help_lists_commands_by_the_words_of_their_own_help(width: int) -> None:
    listed, loaded = (click.HelpFormatter(width=width) for _ in range(2))
    context = click.Context(cli)
    cli.format_commands(context, listed)
    click.Group.format_commands(cli, context, loaded)
    assert listed.getvalue() == loaded.getvalue()


def test_devices_lists_the_profiles(run: Run) -> None:
    table = run("devices").stdout
    content = json.loads(run("devices", "--json").stdout)
    assert [entry["name"] for entry in content] == list(profile_names())
    assert all(name in table for name in profile_names())
    assert content[0]["routes"][0]["patterns"] == ["Channels(16)"]


def test_targets_say_what_is_ready(run: Run) -> None:
    content = json.loads(run("targets", "--json").stdout)
    assert content[0]["target"] == "host"
    assert content[0]["ready"] is True
    done = run("targets", "install", "host", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["target"] == "host"
    check_refused(run("targets", "install", "hots"), "Did you mean 'host'?")


def test_costs_are_measured_where_the_emulator_is_only(run: Run, tmp_path: Path) -> None:
    done = run("targets", "calibrate", "arm64-emulated", "-o", "costs.toml")
    check_refused(done, "edgeprune targets install arm64-emulated")
    assert files(tmp_path) == set()
    check_refused(run("targets", "calibrate", "host", "-o", "costs.toml"), "arm64-emulated")


def test_a_mistyped_command_or_option_is_usage(run: Run) -> None:
    check_refused(run("pln"), "Did you mean 'plan'?")
    check_refused(run("plan"), "MODEL.keras")
    check_refused(run("devices", "--jsn"), "No such option")


@pytest.mark.slow
def test_a_plan_is_printed_as_table_and_as_json_and_written(call: Run, model: Path) -> None:
    done = call("plan", "model.keras", "--device", "xnnpack-arm64", "--json", "-o", "plan.json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["device"] == "xnnpack-arm64"
    assert content["model"] == "model.keras"
    rows = {row["path"]: row for row in content["layers"]}
    assert rows["block_1_pw"]["pattern"] == "Block(2,1)"
    assert rows["block_1_pw"]["sparsity"] == 0.8
    assert rows["stem"]["pattern"] is None
    assert json.loads((model.parent / "plan.json").read_text()) == content
    table = call("plan", "model.keras", "--device", "xnnpack-arm64").stdout
    assert "Block(2,1)" in table
    assert "block_1_pw" in table


@pytest.mark.slow
def test_step_by_step_from_model_to_measured_file(run: Run, model: Path) -> None:
    folder = model.parent
    device = ("--device", "edge-tpu")
    assert run("plan", "model.keras", *device, "-o", "plan.json").returncode == 0
    content = json.loads((folder / "plan.json").read_text())
    for row in content["layers"]:
        if row["path"] == "stem":
            row.update(pattern=None, sparsity=0.0, reason="by hand")
    (folder / "plan.json").write_text(json.dumps(content))
    done = run(
        *("prune", "model.keras", *device, "--plan", "plan.json", "--data", "data.npz"),
        *("-o", "pruned.keras", "--json"),
    )
    assert done.returncode == 0, done.stderr
    layers = {row["path"]: row for row in json.loads(done.stdout)["layers"]}
    assert layers["stem"]["sparsity"] == 0
    assert layers["block_1_pw"]["sparsity"] == 0.5
    check_refused(
        run("export", "pruned.keras", *device, "-o", "out.tflite"), "int8 needs calibration"
    )
    assert "out.tflite" not in files(folder)
    done = run(
        "export", "pruned.keras", *device, "--data", "data.npz", "-o", "out.tflite", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["size_bytes"] == (folder / "out.tflite").stat().st_size
    done = run(
        *("validate", "out.tflite", *device, "--reference", "pruned.keras"),
        *("--data", "data.npz", "--json"),
    )
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["ok"] is True
    done = run("measure", "out.tflite", "out.tflite", *device, "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert (first["target"], first["device"]) == ("edgetpu-model", "edge-tpu")
    assert first["simulated"] is True
    assert first["memory"] == second["memory"]
    assert 0 < first["memory"]["cached_bytes"] < (folder / "out.tflite").stat().st_size
    assert second["speedup"]["median"] == 1
    done = run("measure", "out.tflite", *device, "--target", "host", "--json")
    assert done.returncode == 0, done.stderr
    (timed,) = json.loads(done.stdout)
    assert timed["latency_ms"]["runs"] == sum(map(len, timed["rounds_ms"]))
    assert len(timed["rounds_ms"]) == 4
    assert "is a proxy for the device" in done.stderr


@pytest.mark.slow
def test_pruning_without_data_warns(run: Run, model: Path) -> None:
    done = run("prune", model, "--device", "ethos-u55", "-o", "out.keras")
    assert done.returncode == 0
    assert "without data" in done.stderr
    assert "0.800 of the prunable weights are zero" in done.stdout


@pytest.mark.slow
def test_pruning_while_training_reaches_the_sparsity(call: Run, model: Path) -> None:
    done = call(
        *("prune", model, "--device", "ethos-u55", "--sparsity", "0.7", "--data", "data.npz"),
        *("--epochs", "12", "--augment", "flip-shift", "-o", "out.keras", "--json"),
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["sparsity"]["reached"] == pytest.approx(0.7, abs=0.01)
    (warning,) = content["warnings"]
    assert "chance level" in warning, "the weights are random"
    assert not list(model.parent.glob("*.checkpoint"))
    check_refused(
        call("prune", model, "--device", "ethos-u55", "--epochs", "1", "-o", "o.keras"), "--data"
    )


@pytest.mark.slow
def test_quantisation_aware_training_leaves_ranges_that_export_takes(
    call: Run, tmp_path: Path
) -> None:
    network = keras.Sequential(
        [keras.Input((8, 8, 4)), keras.layers.Conv2D(8, 3), keras.layers.Flatten()]
        + [keras.layers.Dense(4)]
    )
    save_model(network, tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(40, 8, 8, 4)).astype("float32")
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(40) % 4)
    trains = ("prune", "m.keras", "--data", "d.npz", "--epochs", 1)
    done = call(*trains, "--device", "ethos-u85", "-o", "o.keras")
    assert done.returncode == 0, done.stderr
    assert {"o.keras", "o.plan.json", "o.ranges.json"} <= files(tmp_path)
    done = call("export", "o.keras", "--device", "ethos-u85", "-o", "o.tflite")
    assert done.returncode == 0, done.stderr
    assert "of quantisation-aware training" in done.stdout
    manifest = json.loads((tmp_path / "o.manifest.json").read_text(encoding="utf-8"))
    content = (tmp_path / "o.ranges.json").read_bytes()
    assert manifest["ranges_sha256"] == hashlib.sha256(content).hexdigest()
    save_model(network, tmp_path / "o.keras")
    check_refused(
        call("export", "o.keras", "--device", "ethos-u85", "-o", "p.tflite"),
        "o.ranges.json: the ranges of quantisation-aware training belong to other weights",
        "--data",
    )
    check_refused(
        call(*trains, "--device", "xnnpack-x86", "--quantize-aware", "-o", "q.keras"),
        "expected a route whose number format is int8",
    )
    plain = call(*trains, "--device", "ethos-u85", "--no-quantize-aware", "-o", "q.keras")
    assert plain.returncode == 0, plain.stderr
    assert "q.ranges.json" not in files(tmp_path)
    dense = call(*trains, "--device", "android-phone", "--route", "int8", "-o", "r.keras")
    assert dense.returncode == 0, dense.stderr
    assert "r.ranges.json" in files(tmp_path)


@pytest.mark.slow
def test_a_sparse_file_goes_there_and_back(run: Run, tmp_path: Path) -> None:
    """A wide Dense whose blocks of 1x4 are 95 % empty: its sparse kernel pays on x86."""
    generator = np.random.default_rng(0)
    blocks = generator.random((256, 64)) < 0.05
    weights = generator.normal(size=(256, 256)) * np.repeat(blocks, 4, axis=1)
    fully_connected(tmp_path / "m.tflite", weights)
    done = run("encode", "m.tflite", "--device", "xnnpack-x86", "-o", "s.tflite", "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["tensors"][0]["stored"] == "direct"
    assert content["bytes_after"] < content["bytes_before"] / 5
    inspection = json.loads(run("inspect", "s.tflite", "--json").stdout)
    assert inspection["ops"][0]["kernel"] == "direct sparse"
    assert inspection["sparse_inference"] == "all"
    device = ("--device", "xnnpack-x86")
    assert run("validate", "s.tflite", *device, "--reference", "m.tflite").returncode == 0
    done = run("densify", "s.tflite", "-o", "back.tflite", "--json")
    assert json.loads(done.stdout)["tensors"] == ["weights"]
    assert run("validate", "back.tflite", *device, "--reference", "m.tflite").returncode == 0


def test_encoding_for_a_device_without_sparse_tensors_is_an_equal_file(
    run: Run, tmp_path: Path
) -> None:
    path = fully_connected(tmp_path / "m.tflite", np.zeros((64, 64)))
    done = run("encode", "m.tflite", "--device", "cortex-m-tflm", "-o", "same.tflite")
    assert done.returncode == 0
    assert (tmp_path / "same.tflite").read_bytes() == path.read_bytes()
    assert "no kernel or reader for sparse tensors" in " ".join(
        done.stdout.replace("│", " ").split()
    )


def test_inspect_shows_operators_and_findings_as_tables(run: Run, tmp_path: Path) -> None:
    fully_connected(tmp_path / "m.tflite", np.eye(64), version=12)
    done = run("inspect", "m.tflite", "--device", "xnnpack-arm64")
    assert done.returncode == 0
    for text in ("FULLY_CONNECTED", "operator-version", "dense-zeros"):
        assert text in done.stdout


@pytest.mark.slow
def test_a_model_with_nothing_to_prune_is_a_warning(call: Run, tmp_path: Path) -> None:
    save_model(build("mlp"), tmp_path / "mlp.keras")
    done = call("prune", "mlp.keras", "--device", "xnnpack-arm64", "-o", "out.keras")
    assert done.returncode == 0
    assert "Nothing to prune for xnnpack-arm64" in done.stderr
    assert (tmp_path / "out.keras").exists()


@pytest.mark.slow
def test_compare_reports_on_every_device(run: Run, model: Path) -> None:
    done = run(
        *("compare", "model.keras", "--devices", "xnnpack-x86, edge-tpu", "--data", "data.npz"),
        *("-o", "out", "--json"),
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content == json.loads((model.parent / "out" / "report.json").read_text())
    assert [entry["device"] for entry in content["devices"]] == ["xnnpack-x86", "edge-tpu"]
    assert "report.html" in done.stderr


PLAN = ("plan", "model.keras", "--device")
PRUNE = ("prune", "model.keras", "--device", "edge-tpu", "-o", "out.keras")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*PLAN, "edgetpu"), "Closest: edge-tpu"),
        ((*PLAN, "none.toml"), "none.toml"),
        ((*PLAN, "edge-tpu", "--sparsity", "1.5"), "0 <= sparsity < 1"),
        ((*PLAN, "edge-tpu", "--sparsity", "nan"), "0 <= sparsity < 1"),
        ((*PLAN, "edge-tpu", "--sparsity", "-0.1"), "0 <= sparsity < 1"),
        ((*PLAN, "edge-tpu", "--sparsity", "half"), "half"),
        ((*PLAN, "ethos-u85", "--sparsity", "0.8"), "0.5 by definition"),
        ((*PLAN, "edge-tpu", "--cost", "0.6", "--sparsity", "0.5"), "--sparsity and --cost both"),
        ((*PLAN, "edge-tpu", "--cost", "1"), "above 0 and below 1"),
        ((*PLAN, "edge-tpu", "--cost", "nan"), "above 0 and below 1"),
        ((*PLAN, "edge-tpu", "--cost", "0.6", "--goal", "flash"), "that of one inference"),
        ((*PLAN, "ethos-u85", "--cost", "0.6"), "has one sparsity by definition"),
        ((*PLAN, "raspberry-pi-5", "--cost", "0.6", "--route", "int8"), "leaves the model dense"),
        ((*PRUNE, "--plan", "plan.json", "--cost", "0.5"), "cannot be combined with --plan"),
        ((*PLAN, "edge-tpu", "--goal", "speed"), "speed"),
        ((*PLAN, "edge-tpu", "--only", "("), "regular expression"),
        ((*PLAN, "edge-tpu", "--only", "nowhere"), "found in no layer's path"),
        ((*PLAN, "edge-tpu", "-o", "no/plan.json"), "does not exist"),
        ((*PLAN, "edge-tpu", "--data", "nan.npz"), "NaN"),
        ((*PRUNE, "--plan", "plan.json", "--sparsity", "0.5"), "cannot be combined with --plan"),
        ((*PRUNE, "--plan", "gone.json"), "gone.json"),
        ((*PRUNE, "--plan", "data.npz"), "data.npz"),
        ((*PRUNE, "--data", "shape.npz"), "[n, 32, 32, 3]"),
        ((*PRUNE, "--data", "missing.npz"), "array 'x' is missing"),
        ((*PRUNE, "--data", "lengths.npz"), "x has 4, y has 3"),
        ((*PRUNE, "--data", "data.npz", "--scale", "1"), "MEAN,STD"),
        ((*PRUNE, "--data", "data.npz", "--scale", "0,0"), "STD > 0"),
        (("prune", "model.keras", "--device", "edge-tpu", "-o", "out.h5"), "ending in .keras"),
        (("prune", "model.keras", "--device", "edge-tpu", "-o", "no/out.keras"), "does not exist"),
        (("export", "cut.keras", "--device", "xnnpack-x86", "-o", "o.tflite"), "cut.keras"),
        (("export", "random.keras", "--device", "xnnpack-x86", "-o", "o.tflite"), "random.keras"),
        (("export", "empty.keras", "--device", "xnnpack-x86", "-o", "o.tflite"), "empty.keras"),
        (("export", "hollow.keras", "--device", "xnnpack-x86", "-o", "o.tflite"), "hollow.keras"),
        (("export", "gone.keras", "--device", "xnnpack-x86", "-o", "o.tflite"), "no such file"),
        (("export", "data.npz", "--device", "xnnpack-x86", "-o", "o.tflite"), "ends in .keras"),
        (("validate", "random.tflite", "--device", "edge-tpu"), "random.tflite"),
        (("inspect", "random.tflite"), "random.tflite"),
        (("inspect", "gone.tflite"), "gone.tflite"),
        (("inspect", "m.tflite", "--device", "gpu"), "Unknown device"),
        (("densify", "random.tflite", "-o", "o.tflite"), "random.tflite"),
        (("densify", "m.tflite", "-o", "no/o.tflite"), "does not exist"),
        (("encode", "random.tflite", "--device", "edge-tpu", "-o", "o.tflite"), "random.tflite"),
        (("encode", "m.tflite", "--device", "edge-tpu", "-o", "no/o.tflite"), "does not exist"),
        (
            (*PRUNE, "--data", "missing_y.npz", "--epochs", "1", "--distill", "0"),
            "array 'y' is missing",
        ),
        ((*PRUNE, "--data", "data.npz", "--epochs", "1", "--validation", "1"), "`validation`"),
        (
            (*PRUNE, "--data", "data.npz", "--epochs", "1", "--learning-rate", "0"),
            "`learning_rate`",
        ),
        ((*PRUNE, "--data", "data.npz", "--epochs", "1", "--distill", "2"), "--distill"),
        ((*PRUNE, "--data", "data.npz", "--epochs", "1", "--monitor", "loss:up"), "`monitor`"),
        ((*PRUNE, "--data", "data.npz", "--resume"), "give the --epochs"),
        ((*PRUNE, "--data", "data.npz", "--quantize-aware"), "give --epochs"),
        ((*PRUNE, "--data", "labels.npz", "--epochs", "1"), "whole number from 0 to 9"),
        ((*PRUNE, "--data", "words.npz", "--epochs", "1"), "labels that are numbers"),
        ((*PRUNE, "--data", "data.npz", "--epochs", "1", "--loss", "my_loss"), "a Keras loss"),
        (
            ("compare", "model.keras", "--devices", "edge-tpu", "--data", "labels.npz")
            + ("--epochs", "1", "-o", "o"),
            "whole number from 0 to 9",
        ),
        ((*PRUNE, "--epochs", "-1"), "--epochs"),
        (
            (*PRUNE, "--data", "data.npz", "--epochs", "1", "--checkpoint", "m.tflite"),
            "m.tflite: expected a folder. Received: a file",
        ),
        (
            ("export", "model.keras", "--device", "xnnpack-x86", "-o", "x" * 242 + ".tflite"),
            ".manifest.json: cannot be written (File name too long)",
        ),
        (("validate", "gone.tflite", "--device", "edge-tpu"), "gone.tflite"),
        (("measure", "random.tflite", "--device", "edge-tpu"), "random.tflite"),
        (("measure", "gone.tflite", "--device", "edge-tpu"), "gone.tflite"),
        (("measure", "m.tflite", "--device", "edge-tpu", "--target", "gpu"), "Known: host"),
        (
            ("compare", "model.keras", "--devices", "edge-tpu,x", "--data", "data.npz", "-o", "o"),
            "'x'",
        ),
        (
            ("compare", "model.keras", "--devices", "edge-tpu", "--data", "data.npz", "-o", "a/b"),
            "a/b",
        ),
        (("demo", "-o", "no/where/demo"), "does not exist"),
    ],
)
def test_bad_input_is_refused_with_a_message_and_nothing_written(
    unusable: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    """In this process, where TensorFlow is loaded already; `run` starts a new one each time."""
    monkeypatch.chdir(unusable)
    before = files(unusable)
    done = CliRunner().invoke(cli, list(arguments))
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert said in done.stderr.replace("\n", " ")
    assert files(unusable) == before


@pytest.mark.slow
def test_the_program_refuses_as_the_function_does(run: Run, model: Path) -> None:
    bad_files(model.parent, model)
    before = files(model.parent)
    done = run("export", "random.keras", "--device", "xnnpack-x86", "-o", "o.tflite")
    check_refused(done, "random.keras", "zip archive")
    check_refused(run(*PLAN, "edge-tpu", "--sparsity", "1.5"), "0 <= sparsity < 1")
    assert files(model.parent) == before


@pytest.mark.parametrize(
    ("layers", "scale", "said"),
    [
        ([], "auto", "become (x - 127.5) / 127.5"),
        ([keras.layers.Rescaling(1 / 255)], "auto", "stay as they are"),
        ([keras.layers.Rescaling(1 / 255)], "10,5", "become (x - 10) / 5"),
    ],
)
def test_how_uint8_was_scaled_is_said_beside_the_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: Any, scale: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(
        keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(4)]), Path("m.keras")
    )
    np.savez("d.npz", x=np.full((4, 8), 255, np.uint8))
    arguments = ["plan", "m.keras", "--device", "xnnpack-x86", "--data", "d.npz"]
    done = CliRunner().invoke(cli, [*arguments, "--scale", scale, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["device"] == "xnnpack-x86"
    assert f"Scale: uint8 values of 'x' {said}." in done.stderr


def bad_files(folder: Path, model: Path) -> None:
    """Every way in which a file was found, or thought, to be unusable."""
    noise = np.random.default_rng(0).bytes(4000)
    for name in ("random.keras", "random.tflite"):
        (folder / name).write_bytes(noise)
    (folder / "empty.keras").write_bytes(b"")
    (folder / "cut.keras").write_bytes(model.read_bytes()[:20000])
    (folder / "hollow.keras").write_bytes(b"PK\x05\x06" + bytes(18))  # an empty zip archive
    x = np.zeros((4, 32, 32, 3), np.float32)
    np.savez(folder / "nan.npz", x=np.full_like(x, np.nan))
    np.savez(folder / "shape.npz", x=x[:, :8])
    np.savez(folder / "missing.npz", images=x)
    np.savez(folder / "missing_y.npz", x=x)
    np.savez(folder / "lengths.npz", x=x, y=np.arange(3))
    np.savez(folder / "labels.npz", x=x, y=np.full(4, 10))
    np.savez(folder / "words.npz", x=x, y=np.array(["cat"] * 4))
    fully_connected(folder / "m.tflite", WEIGHTS)


@pytest.mark.slow
def test_a_lambda_layer_is_refused_with_a_way_out(call: Run, tmp_path: Path) -> None:
    layer: Any = keras.layers.Lambda(lambda x: x + 1)
    keras.Sequential([keras.Input((4,)), layer]).save(tmp_path / "m.keras")
    check_refused(call("plan", "m.keras", "--device", "edge-tpu"), "Lambda layers are not loaded")


def test_validate_tells_a_wrong_file_by_its_exit_code(run: Run, tmp_path: Path) -> None:
    right = fully_connected(tmp_path / "right.tflite", WEIGHTS)
    fully_connected(tmp_path / "wrong.tflite", -WEIGHTS)
    fully_connected(tmp_path / "new.tflite", WEIGHTS, version=40)
    device = ("--device", "xnnpack-arm64")
    assert run("validate", right, *device).returncode == 0
    done = run("validate", "wrong.tflite", *device, "--reference", "right.tflite", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False
    done = run("validate", "new.tflite", *device)
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "FULLY_CONNECTED" in done.stdout


def test_measuring_a_file_that_does_not_run_is_a_failed_check(run: Run, tmp_path: Path) -> None:
    fully_connected(tmp_path / "new.tflite", WEIGHTS, version=40)
    done = run("measure", "new.tflite", "--device", "xnnpack-x86")
    assert done.returncode == 1
    assert f"new.tflite: {RUNTIMES[0]} does not run it" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_targets_processors_and_threads_are_chosen_by_options(run: Run, tmp_path: Path) -> None:
    fully_connected(tmp_path / "m.tflite", WEIGHTS)
    command = ("measure", "m.tflite", "--device", "xnnpack-x86", "--target")
    done = run(*command, "host", "--threads", "2", "--affinity", "0", "--json")
    (found,) = json.loads(done.stdout)
    assert (found["target"], found["stand_in"]) == ("host", False)
    assert found["machine"]["affinity"] == [0]
    assert len(found["rounds_ms"]) == 4
    check_refused(run(*command, "host,host"), "every target once")
    check_refused(run(*command, "host", "--target", "hots"), "Did you mean 'host'?")
    check_refused(run(*command, "host", "--affinity", "3-1"), "as in 0,2-3")
    check_refused(run(*command, "host", "--affinity", "4000"), "Received: [4000]")
    failed = run(*command, "host,ssh:127.0.0.1:1", "--json")
    assert failed.returncode == 2
    assert [m["target"] for m in json.loads(failed.stdout)] == ["host"]
    assert "127.0.0.1:1: the board cannot be reached" in failed.stderr


@pytest.mark.slow
def test_an_own_profile_is_taken_by_path(run: Run, tmp_path: Path) -> None:
    text = (profile_folder() / "xnnpack-arm64.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace('name = "xnnpack-arm64"', 'name = "mine"'))
    fully_connected(tmp_path / "m.tflite", WEIGHTS)
    done = run("validate", "m.tflite", "--device", "mine.toml", "--json")
    assert json.loads(done.stdout)["device"] == "mine"
    (tmp_path / "typo.toml").write_text(text.replace("numerics =", "numeriks ="))
    check_refused(run("validate", "m.tflite", "--device", "typo.toml"), "Did you mean 'numerics'?")


def test_a_packed_file_that_would_be_misread_is_bad_input_to_inspect_and_validate(
    run: Run, tmp_path: Path
) -> None:
    draft = load(packed(mixed_net(tmp_path / "m.tflite"), tmp_path / "p.tflite"))
    mask = draft.graph.tensors[draft.graph.operators[0].inputs[0]]
    draft.model.buffers[mask.buffer].data = np.full(mask.data.size, 255, np.uint8)
    write(draft, tmp_path / "bad.tflite")
    for words in (("inspect", "bad.tflite"), ("validate", "bad.tflite")):
        done = run(*words, "--device", "cortex-m-tflm")
        assert done.returncode == 2
        message = " ".join(done.stderr.split())
        assert "operator 0 (TFLM_DECODE), output 0 ('w0'): expected 2304 bytes" in message
        assert "Traceback" not in done.stderr


def test_densify_unpacks(run: Run, tmp_path: Path) -> None:
    plain = tmp_path / "m.tflite"
    write(load(mixed_net(plain)), plain)
    packed(plain, tmp_path / "p.tflite")
    done = run("densify", "p.tflite", "-o", "back.tflite", "--json")
    assert json.loads(done.stdout)["tensors"] == ["w0", "w2"]
    assert (tmp_path / "back.tflite").read_bytes() == plain.read_bytes()
