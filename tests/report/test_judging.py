"""What a report says of accuracy: of how many samples, where, or why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.data import Data
from edgeprune.core.errors import TargetError
from edgeprune.inspection.accuracy import Accuracy, change, interval
from edgeprune.profiles.profile import load_profile
from edgeprune.report import judging
from edgeprune.report.device_report import DeviceReport

FILES = (Path("dense.tflite"), Path("pruned.tflite"))
SAMPLES = Data((np.zeros((3, 4), np.float32),), np.zeros(3, int))


def judged(monkeypatch: pytest.MonkeyPatch, found: Accuracy | TargetError) -> DeviceReport:
    def accuracy(*_: Any, **__: Any) -> Accuracy:
        if isinstance(found, TargetError):
            raise found
        return found

    monkeypatch.setattr(judging, "accuracy", accuracy)
    report = DeviceReport("phone", "a phone", numerics="float32")
    return judging._with_accuracy(report, load_profile("android-phone"), FILES, SAMPLES, list, [])


def test_an_accuracy_of_this_computer_says_of_how_many_samples_in_json_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = judged(monkeypatch, Accuracy(0.75, 1000, "LiteRT 2.3.0"))
    assert report.notes == ()
    assert report.to_json()["accuracy"] == {
        "dense": 0.75,
        "pruned": 0.75,
        "samples": 1000,
        "runtime": "LiteRT 2.3.0",
        "rows": [
            {
                "name": f"float {network}",
                "value": 0.75,
                "ci95": pytest.approx([0.7222, 0.7758], abs=1e-4),
                "samples": 1000,
                "runtime": "LiteRT 2.3.0",
                "change": None,
                "change_ci95": None,
            }
            for network in ("dense", "pruned")
        ],
    }


def test_an_int8_device_has_both_float_networks_beside_both_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = np.eye(4, dtype=np.float32)[[0, 1, 2, 3] * 25]
    samples = Data((x,), np.arange(100) % 4)
    inputs = keras.Input((4,))
    exact = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    shifted = keras.Model(inputs, keras.layers.Lambda(lambda t: t[:, ::-1])(inputs))
    right = np.arange(100) % 4 != 0
    found = Accuracy(0.75, 100, "LiteRT 2.3.0", right=right)
    monkeypatch.setattr(judging, "accuracy", lambda *_, **__: found)
    report = judging._with_accuracy(
        DeviceReport("npu", "an NPU", numerics="int8"),
        load_profile("ethos-u85"),
        FILES,
        samples,
        list,
        [exact, shifted],
    )
    rows = {row.name: row for row in report.accuracies}
    assert list(rows) == ["float dense", "float pruned", "int8 dense", "int8 pruned"]
    assert [row.value for row in rows.values()] == [1.0, 0.0, 0.75, 0.75]
    assert rows["float dense"].change is None
    assert rows["float pruned"].change == -1.0
    assert list(rows["float pruned"].change_ci95 or ()) == pytest.approx([-1.0, -0.9421], abs=1e-4)
    assert rows["int8 pruned"].change == -0.25
    assert list(rows["int8 pruned"].change_ci95 or ()) == pytest.approx(
        [-0.3329, -0.1573], abs=1e-4
    )
    printed = str(report)
    assert "int8 pruned" in printed
    assert "-33.29 to -15.73" in printed


def test_half_precision_is_held_against_the_float_networks_on_the_samples_of_the_emulated_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = np.eye(4, dtype=np.float32)[[0, 1, 2, 3] * 100]
    samples = Data((x,), np.arange(400) % 4)
    inputs = keras.Input((4,))
    exact = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    right = np.ones(256, bool)
    found = Accuracy(1.0, 256, "LiteRT 2.1.6 on emulated cortex-a76", True, right)
    monkeypatch.setattr(judging, "accuracy", lambda *_, **__: found)
    report = judging._with_accuracy(
        DeviceReport("phone", "a phone", numerics="float16-arithmetic"),
        load_profile("android-phone"),
        FILES,
        samples,
        list,
        [exact, exact],
    )
    assert [row.name for row in report.accuracies] == [
        *("float dense", "float pruned"),
        *("float16-arithmetic dense", "float16-arithmetic pruned"),
    ]
    assert {row.samples for row in report.accuracies} == {256}
    assert report.accuracies[-1].change == 0.0


def test_classifiers_that_agree_on_few_samples_may_differ_on_others() -> None:
    right = np.arange(10) < 8
    difference, interval = change(right, right)
    assert difference == 0.0
    assert interval == pytest.approx((-0.2310, 0.2310), abs=1e-4)
    many = np.arange(10_000) < 8_000
    assert change(many, many)[1] == pytest.approx((-0.000277, 0.000277), abs=1e-6)


def test_samples_that_both_name_alike_do_not_widen_the_interval_of_their_difference() -> None:
    against = np.arange(1000) < 900
    of = against.copy()
    of[:20] = False  # 20 lost
    of[900:910] = True  # 10 gained
    difference, interval = change(of, against)
    assert difference == -0.01
    assert interval == pytest.approx((-0.02103, 0.00107), abs=1e-4)


def test_an_interval_is_wilsons() -> None:
    assert list(interval(0.5, 100)) == pytest.approx([0.4038, 0.5962], abs=1e-4)
    assert list(interval(1.0, 10)) == pytest.approx([0.7225, 1.0], abs=1e-4)


def test_one_of_an_emulated_core_is_printed_with_its_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = "LiteRT 2.1.6 on emulated cortex-a76"
    report = judged(monkeypatch, Accuracy(0.75, 256, place, emulated=True))
    assert report.notes == (f"Accuracy of 256 samples, in {place}.",)
    assert report.to_json()["accuracy"]["samples"] == 256


def test_without_the_emulator_there_is_none_and_what_sets_it_up_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = judged(monkeypatch, TargetError("Target 'a' is not ready. Run: install a"))
    assert (report.accuracy, report.error) == (None, None)
    assert report.notes == ("No accuracy: Target 'a' is not ready. Run: install a",)
    assert report.to_json()["accuracy"] is None
