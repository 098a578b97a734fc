"""The contract of the whole pipeline, over every profile and every kind of network."""

from __future__ import annotations

import functools
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.conversion.convert import check_zeros, export
from edgeprune.core.device_matrix import device_shape, to_device
from edgeprune.core.errors import DataError, InputError, OutputError, ProfileError
from edgeprune.core.pattern import Block, Channels, NofM
from edgeprune.core.plan import Plan
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.files import save_model
from edgeprune.keras_model.layers import kernel_variable, map_layers
from edgeprune.keras_model.sparsity import reached_sparsity
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.folder import profile_names
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.report.compare import compare
from edgeprune.targets.checks import numerics
from edgeprune.targets.measurement import Settings
from edgeprune.targets.ssh.connection import CLIENT_VARIABLE
from edgeprune.tflite.format import file as tflite_file
from tests.support.architectures import ARCHITECTURES, build, samples
from tests.support.ssh_server import ssh_server

pytestmark = pytest.mark.slow
DEVICES = [
    name
    for name in profile_names()
    if len({route.numerics for route in load_profile(name).offered}) == 1
]
"""Those of one number format; `tests/inspection/test_every_route.py` is for the others."""


def check_pipeline(model: Any, device: str, folder: Path) -> None:
    """Takes a model from plan to validation and checks what must hold for every one."""
    profile = load_profile(device)
    x = samples(model, 32)
    made = plan(model, profile)
    assert Plan.model_validate_json(json.dumps(made.to_json())) == made
    pruned = prune_one_shot(model, made, x)
    removes = any(isinstance(row.pattern, Channels) for row in made.pruned)
    same = [w.shape for w in pruned.weights] == [w.shape for w in model.weights]
    assert same is not removes
    check_patterns(pruned, made)
    assert reached_sparsity(pruned, made) >= made.expected_sparsity - 0.02
    save_model(pruned, folder / "m.keras")
    exported = export(pruned, profile, folder / "m.tflite", x=x)
    assert exported.warnings == ()
    graph = tflite_file.read(folder / "m.tflite")
    assert numerics(graph) == profile.numerics
    assert check_zeros(pruned, graph) == ()
    verdict = validate(
        folder / "m.tflite", profile, reference=folder / "m.keras", x=_by_name(model, graph, x)
    )
    assert verdict.ok, [check for check in verdict.checks if not check.ok]


def _by_name(model: Any, graph: Any, x: list[Any]) -> list[Any]:
    from edgeprune.core.data import signature_name
    from edgeprune.tflite.format.signature import input_ports

    named = {
        signature_name(tensor.name): array for tensor, array in zip(model.inputs, x, strict=True)
    }
    return [named[port.name] for port in input_ports(graph)]


def check_patterns(pruned: Any, made: Plan) -> None:
    """The zeros in the model have the shape of their pattern, and channels are gone."""
    layers = map_layers(pruned).layers
    for row in made.pruned:
        kernel = np.asarray(kernel_variable(layers[row.path]))
        zero = to_device(row.kind, kernel) == 0
        match row.pattern:
            case Block(out, in_):
                if len(zero) < out:
                    continue
                whole = zero[: len(zero) // out * out, : zero.shape[1] // in_ * in_]
                tiles = whole.reshape(len(whole) // out, out, -1, in_).sum(axis=(1, 3))
                assert set(np.unique(tiles)) <= {0, out * in_}
            case NofM(n, m):
                groups = zero[:, : zero.shape[1] // m * m].reshape(len(zero), -1, m)
                assert (groups.sum(-1) >= m - n).all()
            case Channels(multiple):
                assert len(zero) % multiple == 0
                assert len(zero) < device_shape(row.kind, row.shape)[0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_goes_through_for_every_device(
    name: str, device: str, tmp_path: Path
) -> None:
    check_pipeline(build(name), device, tmp_path)


def test_float16_weights_go_through_as_well(tmp_path: Path) -> None:
    model = build("mobilenet_v1")
    pruned = prune_one_shot(model, plan(model, "xnnpack-arm64"))
    save_model(pruned, tmp_path / "m.keras")
    export(pruned, "xnnpack-arm64", tmp_path / "m.tflite", numerics="float16")
    assert validate(tmp_path / "m.tflite", "xnnpack-arm64", reference=tmp_path / "m.keras").ok


@functools.cache
def classifier() -> tuple[Any, Any, Any]:
    """A small classifier that was trained to tell two kinds of noise apart, and its data.

    What is left to prune with, once every fifth sample is held out, is too little to fine-tune on.
    """
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 150)
    x = generator.normal(size=(150, 12, 12, 4)).astype(np.float32) + y[:, None, None, None] - 0.5
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12, 12, 4), name="image"),
            keras.layers.Conv2D(32, 3, activation="relu", name="conv"),
            keras.layers.Conv2D(32, 1, activation="relu", name="pointwise"),
            keras.layers.GlobalAveragePooling2D(name="pool"),
            keras.layers.Dense(2, name="kind"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=12, verbose=0)
    return model, x, y


def saved_classifier(folder: Path) -> tuple[Path, Path]:
    """The paths of the classifier and of its data."""
    model, x, y = classifier()
    save_model(model, folder / "model.keras")
    np.savez(folder / "data.npz", x=x, y=y)
    return folder / "model.keras", folder / "data.npz"


def test_compare_finishes_every_device_and_writes_the_report(tmp_path: Path) -> None:
    model, data = saved_classifier(tmp_path)
    told: list[tuple[str, int, int]] = []
    report = compare(
        model,
        ["xnnpack-arm64", "ethos-u85"],
        data,
        tmp_path / "out",
        sparsity=0.75,
        progress=lambda *step: told.append(step),
    )
    assert report.ok, report
    phone, npu = report.devices
    # No cluster of XNNPACK's can form in this network: the zeros that were asked for gain no speed.
    assert phone.asked == 0.75
    assert phone.reached == pytest.approx(0.75, abs=0.03)
    assert any("Zeros gain no speed" in note for note in phone.notes)
    assert any("smaller, not faster" in note for note in phone.notes)
    assert npu.asked == 0.5
    assert npu.reached == pytest.approx(0.5, abs=0.01)
    assert any("fixes the sparsity: 0.5 instead of 0.75" in note for note in npu.notes)
    for device in report.devices:
        assert device.accuracy is not None
        assert device.accuracy[0] > 0.95
    assert (phone.dense, phone.pruned) == ((), ())
    assert phone.gain.factor is None
    assert phone.gain.text == "not measured: `edgeprune targets install arm64-emulated`"
    assert phone.ship is not None
    assert phone.ship.artifact is None
    assert (npu.not_measured, npu.gain.factor) == ("", npu.pruned[0].speedup.median)  # type: ignore[union-attr]
    assert [m.target for m in (*npu.dense, *npu.pruned)] == ["vela", "vela"]
    assert any("compiler finds them by itself" in note for note in npu.notes)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {
        *("report.json", "report.html", "dense-float32.tflite", "dense-int8.tflite", ".edgeprune"),
        *("xnnpack-arm64.keras", "xnnpack-arm64.tflite", "ethos-u85.keras", "ethos-u85.tflite"),
        *("dense-float32.manifest.json", "dense-int8.manifest.json"),
        *(f"dense-float16-arithmetic{ending}" for ending in (".tflite", ".manifest.json")),
        *("xnnpack-arm64.manifest.json", "ethos-u85.manifest.json"),
        *(f"{name}_ethos-u85-256_vela.tflite" for name in ("dense-int8", "ethos-u85")),
    }
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content == json.loads(json.dumps(report.to_json()))
    entry = content["devices"][0]
    assert entry["sparsity"].keys() == {"asked", "reached"}
    assert entry.keys() >= {"device", "plan", "artifact", "verdict", "dense", "pruned", "accuracy"}
    assert (entry["dense"], entry["pruned"], entry["expected"]) == ([], [], None)
    assert "install arm64-emulated" in entry["not_measured"]
    assert entry["baselines"][0]["artifact"]["path"].endswith("dense-float32.tflite")
    assert told[-1][1] == told[-1][2] == 14


@pytest.mark.linux
def test_compare_takes_several_targets_for_every_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This computer, and a board that it is itself, by a real SSH server.

    This computer is no phone: what it says is none of the phone's numbers, also where it was asked.
    """
    model, data = saved_classifier(tmp_path)
    (tmp_path / "ssh").mkdir()
    with ssh_server(tmp_path / "ssh") as board:
        monkeypatch.setenv(CLIENT_VARIABLE, board.client())
        monkeypatch.setattr("edgeprune.targets.timing.PROCESSES", 2)
        report = compare(
            model,
            ["xnnpack-x86", "xnnpack-arm64"],
            data,
            tmp_path / "out",
            targets=["ssh:board", "host", "ssh:board:1"],
            settings=Settings(python=sys.executable, threads=2),
        )
        assert board.left_behind() == []
    own, phone = report.devices
    assert [m.target for m in own.pruned] == ["host"]
    assert [(m.target, m.stand_in) for m in phone.pruned] == [("ssh:board", False)]
    assert [m.target for m in phone.dense] == ["ssh:board"]
    assert own.ok
    assert "board:1: the board cannot be reached" in str(phone.error)
    assert phone.accuracy is not None
    assert [(r.title, len(r.entries)) for r in report.rankings] == [
        ("Latency, ms (measured)", 1),
        ("Latency, ms of float32 (measured)", 1),
    ]
    timed = own.pruned[0]
    assert timed.latency_ms is not None
    rounds = [ms for process in timed.rounds_ms for ms in process]
    assert timed.latency_ms.median == statistics.median(rounds) > 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h3>Latency, ms (measured)</h3>" in page
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(content["devices"][1]["pruned"][0]["rounds_ms"]) == 2


def test_a_device_that_no_target_measures_is_not_measured(tmp_path: Path) -> None:
    model, data = saved_classifier(tmp_path)
    report = compare(model, ["edge-tpu"], data, tmp_path / "out", targets=["ssh:board"])
    assert report.ok
    assert report.devices[0].pruned == ()
    assert any("none of ssh:board measures it" in note for note in report.devices[0].notes)


def test_compare_trains_when_asked_to(tmp_path: Path) -> None:
    """Nine in ten weights of a network that magnitude alone would ruin."""
    model, data = saved_classifier(tmp_path)
    told: list[str] = []
    report = compare(
        model,
        ["ethos-u55"],
        data,
        tmp_path / "out",
        sparsity=0.9,
        epochs=4,
        progress=lambda what, *_: told.append(what),
    )
    assert report.ok
    device = report.devices[0]
    assert device.reached == pytest.approx(0.9, abs=0.01)
    assert device.accuracy is not None
    assert device.accuracy[1] > 0.9
    assert any("training, epoch 4 of 4" in what for what in told)


def test_the_page_needs_no_network_and_shows_every_plot(tmp_path: Path) -> None:
    model, data = saved_classifier(tmp_path)
    compare(model, ["edge-tpu"], data, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    for title in (
        "Accuracy",
        "Size",
        "Cycles of edge-tpu (simulated)",
        "Accuracy, float and quantized: edge-tpu",
        "Signal to noise per layer in int8: edge-tpu",
        "Sparsity per layer: edge-tpu",
    ):
        assert f"<h3>{title}</h3>" in page
    assert page.count("<svg") == 6 + 1  # those, and accuracy against cost
    assert "<h3>How to load it</h3>" in page
    assert "load_delegate(&#34;libedgetpu.so.1&#34;)" in page
    links = set(re.findall(r"""(?:src|href)\s*=\s*["'](?!#)([^"']+)""", page))
    assert links == {"./edge-tpu.tflite", "./dense-int8-per-tensor.tflite"}
    assert all((tmp_path / "out" / link).is_file() for link in links)
    assert "Channels were taken out of 2 layers" in page


def test_a_device_that_fails_does_not_stop_the_next(tmp_path: Path) -> None:
    """TFLite has no int8 kernel for a Conv3D; the float device is finished all the same."""
    model = keras.Sequential(
        [
            keras.Input((6, 4, 4, 2), name="signal"),
            keras.layers.Conv3D(8, 2, name="cube"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="out"),
        ]
    )
    save_model(model, tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(40, 6, 4, 4, 2))
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(40) % 3)
    report = compare(
        tmp_path / "model.keras",
        ["edge-tpu", "xnnpack-x86"],
        tmp_path / "data.npz",
        tmp_path / "out",
    )
    assert not report.ok
    assert "cube: expected layers that TFLite computes in int8" in str(report.devices[0].error)
    assert report.devices[1].ok, report.devices[1]
    assert "cube: expected layers" in (tmp_path / "out" / "report.html").read_text()


def test_without_labels_there_is_a_reason_instead_of_an_accuracy(tmp_path: Path) -> None:
    model, data = saved_classifier(tmp_path)
    with np.load(data) as arrays:
        np.savez(tmp_path / "unlabelled.npz", x=arrays["x"])
    report = compare(model, ["xnnpack-x86"], tmp_path / "unlabelled.npz", tmp_path / "out")
    assert report.devices[0].accuracy is None
    assert any(note.startswith("No accuracy: ") for note in report.devices[0].notes)
    assert report.ok


def test_bad_input_is_refused_before_any_work(tmp_path: Path) -> None:
    model, data = saved_classifier(tmp_path)
    out = tmp_path / "out"
    cases: list[tuple[type[InputError], Any]] = [
        (ProfileError, (model, ["edge-tpu", "gpu"], data, out)),
        (OutputError, (model, ["edge-tpu"], data, tmp_path / "no" / "out")),
        (OutputError, (model, ["edge-tpu", "edge-tpu"], data, out)),
        (OutputError, (model, [], data, out)),
        (OutputError, (model, ["edge-tpu"], data, data)),
        (DataError, (model, ["edge-tpu"], tmp_path / "gone.npz", out)),
    ]
    for error, arguments in cases:
        with pytest.raises(error):
            compare(*arguments)
    assert not out.exists()


def test_a_small_packed_file_is_no_gain_since_code_and_arena_eat_it(tmp_path: Path) -> None:
    model, data = saved_classifier(tmp_path)
    out = tmp_path / "out"
    report = compare(model, ["cortex-m-tflm"], data, out, routes=["decode"])
    (device,) = report.devices
    assert device.error is None
    assert device.verdict is not None
    assert device.verdict.ok
    assert device.gain.proven == "loss"
    assert "14000 bytes of code" in device.gain.text
    assert device.ship is not None
    assert device.ship.artifact != out / "cortex-m-tflm-decode.tflite"
    assert (out / "cortex-m-tflm-decode.plain.tflite").exists()
    assert device.accuracy is not None
    plain = validate(out / "cortex-m-tflm-decode.plain.tflite", "cortex-m-tflm")
    assert plain.ok
    assert any("packed" in note for note in device.notes)
