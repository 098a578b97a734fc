"""A .tflite file as MODEL of the commands that take a Keras model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import read_embedded
from tests.support.lift_networks import residual
from tests.support.quantized_networks import quantized_net
from tests.support.remainders import decoded

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small file, with data beside it."""
    residual(tmp_path / "m.tflite")
    x = np.random.default_rng(0).uniform(-1, 1, (60, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(60) % 5)
    return tmp_path


@pytest.mark.slow
def test_a_file_is_planned_for_pruned_and_exported(call: Call, folder: Path) -> None:
    device = ("--device", "xnnpack-x86")
    planned = call("plan", "m.tflite", *device, "--only", "fc1|narrow", "--json")
    assert planned.returncode == 0, planned
    plan = json.loads(planned.stdout)
    assert plan["model"] == "m.tflite"
    assert plan["islands"] == []
    assert {row["part"] for row in plan["layers"]} == {None}

    asked = ("--only", "fc1|narrow", "--data", "data.npz", "-o", "pruned.tflite", "--json")
    pruned = call("prune", "m.tflite", *device, *asked)
    assert pruned.returncode == 0, pruned
    assert json.loads(pruned.stdout)["sparsity"]["reached"] > 0.4
    assert (folder / "pruned.plan.json").is_file()
    written = read(folder / "pruned.tflite")
    assert written.signatures[0].inputs == {"x0": 0}
    assert written.metadata == read(folder / "m.tflite").metadata

    exported = call("export", "pruned.tflite", *device, "-o", "out.tflite")
    assert exported.returncode == 0, exported
    manifest = read_embedded(read(folder / "out.tflite").metadata)
    assert manifest is not None
    assert set(manifest["plan"]["layers"]) == {"fc1", "narrow"}


@pytest.mark.slow
def test_the_devices_of_a_comparison_report_accuracy_before_and_after(
    call: Call, folder: Path
) -> None:
    asked = ("--devices", "xnnpack-x86", "--data", "data.npz", "-o", "out", "--json")
    done = call("compare", "m.tflite", *asked)
    assert done.returncode == 0, done
    report = json.loads(done.stdout)
    assert report["model"] == "m.tflite"
    (device,) = report["devices"]
    assert device["verdict"]["ok"]
    assert 0 <= device["accuracy"]["dense"] <= 1
    assert 0 <= device["accuracy"]["pruned"] <= 1
    assert read(folder / "out" / "xnnpack-x86.tflite").signatures[0].outputs.keys() == {"y0"}


@pytest.mark.slow
def test_bad_files_and_endings_are_refused_and_nothing_is_written(call: Call, folder: Path) -> None:
    (folder / "cut.tflite").write_bytes((folder / "m.tflite").read_bytes()[:900])
    before = {path.name for path in folder.iterdir()}
    device = ("--device", "xnnpack-x86")
    refused = {
        "cut short": ("prune", "cut.tflite", *device, "-o", "out.tflite"),
        "ending in .tflite": ("prune", "m.tflite", *device, "-o", "out.keras"),
        "no such file": ("plan", "none.tflite", *device),
        "--padding symmetric": (*("prune", "m.tflite", *device), "--padding", "symmetric")
        + ("-o", "out.tflite"),
    }
    for said, arguments in refused.items():
        done = call(*arguments)
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
        assert said in done.stderr.replace("\n", " ")
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.slow
def test_a_quantized_file_goes_all_the_way_in_its_own_number_format(
    call: Call, tmp_path: Path
) -> None:
    quantized_net(tmp_path / "m.tflite", "uint8")
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(60) % 5)
    device = ("--device", "cortex-m-tflm")
    asked = (*("--data", "data.npz"), "--sparsity", "0.3", "--json")
    pruned = call("prune", "m.tflite", *device, *asked, "-o", "pruned.tflite")
    assert pruned.returncode == 0, pruned
    said = json.loads(pruned.stdout)
    assert said["sparsity"]["reached"] > 0.2
    assert isinstance(said["new_scales"], int)
    exported = call("export", "pruned.tflite", *device, "-o", "out.tflite")
    assert exported.returncode == 0, exported
    written = read(tmp_path / "out.tflite")
    assert {tensor.dtype for tensor in written.tensors} == {"uint8", "int32"}
    manifest = read_embedded(written.metadata)
    assert manifest is not None
    assert (manifest["numerics"], manifest["route"]) == ("int8", "latency")


@pytest.mark.slow
def test_a_device_without_a_route_in_the_format_of_a_file_is_refused(
    call: Call, tmp_path: Path
) -> None:
    quantized_net(tmp_path / "m.tflite")
    x = np.random.default_rng(0).uniform(-1, 1, (40, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(40) % 5)
    device = ("--device", "xnnpack-x86")
    refused = {
        "prune": ("m.tflite", *device, "-o", "out.tflite"),
        "routes": ("m.tflite", *device),
        "compare": ("m.tflite", "--devices", "xnnpack-x86", "--data", "data.npz", "-o", "out"),
    }
    for command, arguments in refused.items():
        done = call(command, *arguments)
        assert done.returncode == 2, done
        assert "expected a device with a route in int8" in done.stderr.replace("\n", " ")
    assert {path.name for path in tmp_path.iterdir()} == {"m.tflite", "data.npz"}


@pytest.mark.slow
def test_a_file_with_a_remainder_goes_through_all_commands(call: Call, tmp_path: Path) -> None:
    decoded(tmp_path / "m.tflite")
    x = np.random.default_rng(0).uniform(-1, 1, (64, 4, 4, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    route = ("--device", "xnnpack-x86")
    planned = json.loads(call("plan", "m.tflite", *route, "--sparsity", "0.5", "--json").stdout)
    (remainder,) = planned["islands"]
    assert remainder["ops"] == [4, 5, 6]
    assert "Mystery: no runtime here has it" in remainder["reason"]

    asked = (*route, "--sparsity", "0.5", "--data", "data.npz", "-o", "p.tflite")
    pruned = call("prune", "m.tflite", *asked)
    assert pruned.returncode == 0, pruned
    assert "m.tflite is pruned, run and measured in front of" in pruned.stderr
    assert call("export", "p.tflite", *route, "-o", "out.tflite").returncode == 0

    same = ("--reference", "p.tflite", "--json")
    judged = call("validate", "out.tflite", *route, *same)
    assert judged.returncode == 0, judged
    checks = {check["kind"]: check for check in json.loads(judged.stdout)["checks"]}
    assert checks["remainder"]["value"] == 3
    assert checks["outputs"]["ok"]

    measured = call("measure", "m.tflite", "out.tflite", *route, "--target", "host", "--json")
    assert measured.returncode == 0, measured
    rows = json.loads(measured.stdout)
    assert [row["size_bytes"] for row in rows] == [
        (tmp_path / name).stat().st_size for name in ("m.tflite", "out.tflite")
    ]
    assert all("without Mystery and what comes after" in row["conditions"] for row in rows)


@pytest.mark.slow
def test_routes_keep_the_format_of_a_file_with_a_remainder(call: Call, tmp_path: Path) -> None:
    decoded(tmp_path / "m.tflite")
    compared = call("routes", "m.tflite", "--device", "android-phone", "-o", "out", "--json")
    assert compared.returncode == 0, compared
    rows = {row["route"]: row["reason"] for row in json.loads(compared.stdout)["routes"]}
    why = "is in int8; m.tflite stays in float32, which Mystery cannot be converted from"
    assert rows["int8-channels"] == why
    assert why not in rows["float32-channels"]
