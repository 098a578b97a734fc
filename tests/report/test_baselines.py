"""Baselines: the dense files that a device runs, and several routes of one device side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.data import Data
from edgeprune.core.errors import TargetError
from edgeprune.core.pattern import Channels
from edgeprune.inspection.accuracy import accuracy
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.profiles.write_profile import to_toml
from edgeprune.report import baseline_files
from edgeprune.report.baseline import Baseline, baseline_grid
from edgeprune.report.compare import compare
from edgeprune.report.device_report import DeviceReport, baseline_grids
from edgeprune.report.report import Report
from edgeprune.targets.find import runs_numerics
from tests.profiles.test_routes import phone, route
from tests.report.test_compare import saved_classifier
from tests.report.test_report import DENSE
from tests.support.profiles import rule


@pytest.mark.parametrize(
    ("profile", "formats"),
    [
        (load_profile("xnnpack-arm64"), ["float32", "float16-arithmetic", "int8"]),
        (
            load_profile("xnnpack-arm64").model_copy(update={"core": "cortex-a72"}),
            ["float32", "int8"],
        ),
        (load_profile("xnnpack-x86"), ["float32", "int8"]),
        (load_profile("ethos-u55"), ["int8"]),
        (load_profile("edge-tpu"), ["int8"]),
        (load_profile("cortex-m-tflm"), ["int8"]),
        (phone(route("a"), route("b", "float32"), targets=("vela",)), ["float32", "int8"]),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_device_runs_the_formats_of_its_routes_and_of_its_processor(
    profile: DeviceProfile, formats: list[str]
) -> None:
    known: Any = ("float32", "float16-arithmetic", "int8")
    assert [numerics for numerics in known if runs_numerics(profile, numerics)] == formats


def test_baselines_are_printed_once_for_a_device_of_several_routes() -> None:
    found = (
        Baseline("float32", None, (DENSE,), 0.5, 359),
        Baseline("int8", reason="not exported: too new"),
    )
    rows = [DeviceReport("phone", "s", name=name, baselines=found) for name in ("", "phone-b")]
    report = Report("m.keras", tuple(rows))
    (grid,) = baseline_grids(report.devices)
    assert len(grid.rows) == 2
    text = grid.to_text(200)
    assert "200.0 M instructions" in text
    assert "not exported: too new" in text
    assert "too new" in " ".join(str(report).split())
    assert "not exported: too new" in report.to_html()
    assert [entry["device"] for entry in report.to_json()["devices"]] == ["phone", "phone"]
    entry = report.to_json()["devices"][1]["baselines"]
    assert (entry[0]["accuracy"], entry[0]["reason"]) == (0.5, None)
    assert (entry[1]["artifact"], entry[1]["measurements"], entry[1]["accuracy"]) == (
        None,
        [],
        None,
    )
    assert baseline_grids([DeviceReport("phone", "s")]) == ()


def test_a_proxys_cost_is_no_cost_of_the_device() -> None:
    found = Baseline("float32", None, (replace(DENSE, stand_in=True),))
    assert "M instructions" not in baseline_grid([("phone", found)]).to_text()


def board() -> DeviceProfile:
    """An Edge TPU of two routes and a dense one, measured by a model that is there at once."""
    base = load_profile("edge-tpu").model_dump(by_alias=True)
    half = route("half", rules=(rule(Channels(16)),))
    less = route("less", rules=(rule(Channels(16)),), default_sparsity=0.25)
    dense = route("plain", goals=(), rules=(), default_sparsity=0.0)
    made = {"schema": 2, "name": "board", "strategies": (), "routes": (half, less, dense)}
    return DeviceProfile.model_validate({**base, **made})


@pytest.mark.slow
def test_several_routes_of_a_device_stand_side_by_side_and_are_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = saved_classifier(tmp_path)
    (tmp_path / "board.toml").write_text(to_toml(board()))
    command = [
        "compare",
        str(model),
        "--devices",
        str(tmp_path / "board.toml"),
        "--data",
        str(data),
    ]
    monkeypatch.chdir(tmp_path)
    for routes, said in [("halv", "Did you mean 'half'"), ("all,half", "expected all, or names")]:
        done = CliRunner().invoke(cli, [*command, "--routes", routes, "-o", "out"])
        assert (done.exit_code, said in done.output.replace("\n", " ")) == (2, True), done.output
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(cli, [*command, "--routes", "half,less", "-o", "out", "--json"])
    assert done.exit_code == 0, done.output
    first = json.loads(done.stdout)
    files = {path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".tflite"}
    assert files == {"board.tflite", "board-less.tflite", "dense-int8-per-tensor.tflite"}
    names = [
        f"{stem}{end}" for stem in ("board", "board-less") for end in (".keras", ".manifest.json")
    ]
    assert all((tmp_path / "out" / name).exists() for name in names)
    half, less = first["devices"]
    assert [(entry["device"], entry["route"]) for entry in (half, less)] == [
        *(("board", "half"), ("board", "less"))
    ]
    assert half["sparsity"]["asked"] > less["sparsity"]["asked"]
    assert half["pruned"][0]["route"] == "half"
    assert half["baselines"] == less["baselines"]
    (int8,) = half["baselines"]
    assert (int8["numerics"], int8["reason"]) == ("int8", None)
    assert int8["measurements"] == half["dense"]
    assert int8["accuracy"] == half["accuracy"]["dense"]
    again = compare(model, [board()], data, tmp_path / "out", routes="all")
    assert [entry.reused for entry in again.devices] == [("files", "measurements")] * 2 + [()]
    assert [entry.route for entry in again.devices] == ["half", "less", "plain"]
    dense = again.devices[2]
    assert (dense.reached, dense.ok, dense.removed) == (0.0, True, "nothing")
    assert not any("Nothing to prune" in note for note in dense.notes)
    text = str(again)
    assert "board-less" in text
    assert "Dense files that would be taken" in text


def saved_samples(path: Path) -> Data:
    """Labelled samples from a file."""
    with np.load(path) as arrays:
        return Data((arrays["x"],), arrays["y"])


@pytest.mark.slow
def test_the_report_has_every_dense_file_that_a_processor_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the emulator nothing is measured, and no accuracy is claimed in half precision."""
    model, data = saved_classifier(tmp_path)
    (report,) = compare(model, ["arm-neon-int8"], data, tmp_path / "out").devices
    found = {baseline.numerics: baseline for baseline in report.baselines}
    assert list(found) == ["float32", "float16-arithmetic", "int8"]
    assert all(each.artifact and each.artifact.path.exists() for each in found.values())
    assert [each.measurements for each in found.values()] == [(), (), ()]
    command = "not measured: `edgeprune targets install arm64-emulated`"
    assert all(command in each.reason for each in found.values())
    assert found["float32"].accuracy is not None
    assert found["float32"].accuracy > 0.95
    halves = found["float16-arithmetic"]
    assert halves.accuracy is None
    assert "no accuracy: Target 'arm64-emulated' is not ready" in halves.reason
    assert halves.artifact is not None
    with pytest.raises(TargetError, match="Run: edgeprune targets install arm64-emulated"):
        accuracy(halves.artifact.path, load_profile("arm-neon-int8"), saved_samples(data))
    monkeypatch.setattr(baseline_files, "accuracy", None)
    (again,) = compare(model, ["arm-neon-int8"], data, tmp_path / "out").devices
    assert again.baselines == report.baselines
