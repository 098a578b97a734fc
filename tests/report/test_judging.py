"""What a report says of accuracy: of how many samples, where, or why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.core.data import Data
from edgeprune.core.errors import TargetError
from edgeprune.inspection.accuracy import Accuracy
from edgeprune.profiles.profile import load_profile
from edgeprune.report import judging
from edgeprune.report.report import DeviceReport

FILES = (Path("dense.tflite"), Path("pruned.tflite"))
SAMPLES = Data((np.zeros((3, 4), np.float32),), np.zeros(3, int))


def judged(monkeypatch: pytest.MonkeyPatch, found: Accuracy | TargetError) -> DeviceReport:
    def accuracy(*_: Any, **__: Any) -> Accuracy:
        if isinstance(found, TargetError):
            raise found
        return found

    monkeypatch.setattr(judging, "accuracy", accuracy)
    report = DeviceReport("phone", "a phone")
    return judging._with_accuracy(report, load_profile("android-phone"), FILES, SAMPLES, list)


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
    }


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
