"""What a file loses against the dense float model, and what a limit of that makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.errors import DataError, InputError
from edgeprune.core.files import Artifact
from edgeprune.inspection.accuracy import Accuracy
from edgeprune.report.accuracies import AccuracyRow, accuracy_rows
from edgeprune.report.compare import compare
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.drop import Drop, drop_of
from edgeprune.report.one_device import with_drop
from edgeprune.report.report import Report
from edgeprune.targets.checks import Check, Verdict

GOOD = Verdict("d.tflite", "d", (Check("runs", True, "ran", None, "it runs", kind="runs"),))


def rows(lost: int, gained: int = 0, samples: int = 1000) -> tuple[AccuracyRow, ...]:
    """A dense float model that is right in half of the samples, and a file that differs in some."""
    dense = np.arange(samples) < samples // 2
    pruned = dense.copy()
    pruned[:lost] = False
    pruned[samples // 2 : samples // 2 + gained] = True
    pairs = (("float dense", dense), ("int8 pruned", pruned))
    return accuracy_rows(
        (name, Accuracy(float(right.mean()), samples, "LiteRT", right=right))
        for name, right in pairs
    )


@pytest.mark.parametrize(
    ("lost", "gained", "limit", "ok", "finding"),
    [
        (0, 0, 0.01, True, "within"),
        (0, 50, 0.0, True, "within"),
        (5, 0, 0.01, True, "not sure"),
        (15, 0, 0.01, False, "not sure"),
        (10, 0, 0.01, True, "not sure"),
        (50, 0, 0.01, False, "loses more"),
        (50, 0, 0.1, True, "within"),
        (1, 0, 0.0, False, "not sure"),
    ],
)
def test_what_was_measured_decides_and_the_interval_says_how_surely(
    lost: int, gained: int, limit: float, ok: bool, finding: str
) -> None:
    drop = drop_of(rows(lost, gained), limit, "")
    assert drop.lost == pytest.approx((lost - gained) / 1000)
    assert (drop.ok, drop.finding) == (ok, finding)
    assert drop.check().ok is ok
    low, high = drop.ci95 or (9.0, 9.0)
    assert low <= (lost - gained) / 1000 <= high


def test_nothing_lost_is_no_negative_zero() -> None:
    assert str(drop_of(rows(0), 0.01, "").lost) == "0.0"


def test_few_samples_that_agree_prove_nothing() -> None:
    assert drop_of(rows(0, samples=100), 0.01, "").finding == "not sure"


def test_a_file_whose_accuracy_is_not_known_is_not_within_a_limit() -> None:
    drop = drop_of((), 0.01, "the target is not ready")
    assert (drop.ok, drop.finding, drop.lost) == (False, "not known", None)
    assert "the target is not ready" in drop.check().message


def test_the_message_says_what_is_lost_and_allowed_and_the_interval() -> None:
    assert drop_of(rows(50), 0.01, "").check().message == (
        "loses 5.00 points, where 1.00 points may be lost against the dense float model "
        "(95 % interval +3.61 to +6.37, 1000 samples)"
    )
    assert (
        drop_of(rows(5), 0.01, "")
        .check()
        .message.endswith("1000 samples, which straddles the limit: more samples would tell)")
    )


def device(found: tuple[AccuracyRow, ...], limit: float | None, **facts: Any) -> DeviceReport:
    artifact = Artifact(Path("out/d.tflite"), "d" * 64, 50 << 10, 1)
    report = DeviceReport(
        *("d", "a device"),
        verdict=GOOD,
        accuracies=found,
        accuracy=(found[0].value, found[-1].value) if found else None,
        artifact=artifact,
        dense_artifact=replace(artifact, path=Path("out/dense.tflite"), size_bytes=200 << 10),
        **facts,
    )
    return with_drop(report, limit)


def test_a_file_that_loses_more_fails_its_device_and_is_not_shipped() -> None:
    lost = device(rows(50), 0.01)
    report = Report("m.keras", (lost, device(rows(0), 0.01)))
    assert not report.ok
    assert lost.ship is None
    assert "accuracy lost: loses 5.00 points" in lost.problems[0]
    failed, kept = report.to_json()["devices"]
    assert failed["drop"] == {
        "limit": 0.01,
        "lost": 0.05,
        "ci95": pytest.approx([0.0361, 0.0637], abs=1e-4),
        "samples": 1000,
        "finding": "loses more",
        "ok": False,
        "reason": None,
    }
    assert kept["drop"]["finding"] == "within"
    assert [check["name"] for check in failed["verdict"]["checks"]] == ["runs", "accuracy lost"]
    assert (failed["verdict"]["ok"], kept["verdict"]["ok"]) == (False, True)
    for form in (str(report), report.to_html()):
        text = " ".join(form.split())
        assert "Accuracy lost against the dense float model" in text
        assert "loses more" in text
        assert "within" in text


def test_without_a_limit_nothing_is_judged() -> None:
    report = device(rows(50), None)
    assert report.ok
    assert report.drop is None
    assert report.to_json()["drop"] is None
    assert "loses more" not in report.grids()[0].to_text()


def test_a_limit_of_ones_own_takes_the_place_of_the_usual_one_for_what_to_ship() -> None:
    told = {limit: str(device(rows(30), limit).ship) for limit in (None, 0.05)}
    assert "the pruned file loses accuracy" in told[None]
    assert "nothing proves a gain on the device yet" in told[0.05]


def test_a_device_that_was_not_finished_keeps_its_error_alone() -> None:
    broken = with_drop(DeviceReport("d", "a device", error="does not convert"), 0.01)
    assert broken.drop is None
    assert broken.problems == ("does not convert",)


def test_a_drop_of_a_report_reads_back_after_a_crash() -> None:
    from edgeprune.report.results import from_content, to_content

    lost = device(rows(50), 0.01)
    again = from_content(to_content(lost), Path("out"), "m.keras")
    assert again is not None
    assert isinstance(again.drop, Drop)
    assert again.drop == lost.drop


@pytest.fixture(scope="module")
def model() -> Any:
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(3)(inputs))


X = np.zeros((20, 4), np.float32)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"x": X}, "Received: no labels. Add them, or leave out --max-drop"),
        ({"x": X, "y": np.arange(20) % 7}, "Expected labels from 0 to 2"),
        ({"x": X, "y": np.full(20, 0.5)}, "class numbers"),
    ],
)
def test_a_limit_needs_labels_that_name_classes(
    model: Any, data: Any, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        compare(model, ["edge-tpu"], data, tmp_path / "out", max_drop=0.01)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("limit", [-0.01, 1.0, 5.0, float("nan")])
def test_a_limit_is_a_fraction(limit: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="such as 0.01 for one point"):
        compare("no.keras", ["edge-tpu"], "no.npz", tmp_path / "out", max_drop=limit)


@pytest.mark.slow
def test_the_command_exits_by_the_limit_and_the_second_one_measures_nothing_again(
    tmp_path: Path,
) -> None:
    from tests.support.docs_folder import make_folder

    make_folder(tmp_path)
    paths = [str(tmp_path / name) for name in ("model.keras", "data.npz")]
    command = ["compare", paths[0], "--data", paths[1], "--devices", "edge-tpu"]
    command += ["--sparsity", "0.9", "-o", str(tmp_path / "out"), "--json", "--max-drop"]
    run = CliRunner()
    strict, free = run.invoke(cli, [*command, "0"]), run.invoke(cli, [*command, "0.99"])
    assert (strict.exit_code, free.exit_code) == (1, 0), strict.output
    assert '"finding": "within"' in free.stdout
    assert '"files",' in free.stdout.split('"reused"')[1]
