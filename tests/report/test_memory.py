from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.profiles.profile import load_profile
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.entry import Entry
from edgeprune.report.memory import Memory
from tests.support.profiles import profile

DEVICE = Entry(profile())


def never() -> DeviceReport:
    raise AssertionError("it was made again")


def test_a_finished_device_is_not_made_again(tmp_path: Path) -> None:
    report = DeviceReport("imagined", "it skips zeros", asked=0.5, notes=("a note",))
    assert Memory(tmp_path).report(0, DEVICE, lambda: report) == report
    assert Memory(tmp_path).report(0, DEVICE, never) == report


def test_a_device_that_crashed_is_reported_with_the_message(tmp_path: Path) -> None:
    (tmp_path / "crash-1").write_text("it crashed in native code")
    report = Memory(tmp_path).report(1, Entry(load_profile("edge-tpu"), "memory"), never)
    assert (report.title, report.error) == ("edge-tpu-memory", "it crashed in native code")
    assert not report.ok


def test_the_device_under_way_is_named_until_it_is_finished(tmp_path: Path) -> None:
    def make() -> DeviceReport:
        assert (tmp_path / "under-way").read_text() == "2"
        return DeviceReport("imagined", "it skips zeros")

    Memory(tmp_path).report(2, DEVICE, make)
    assert not (tmp_path / "under-way").exists()


def test_a_device_that_ends_in_a_crash_stays_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Memory(tmp_path).report(3, DEVICE, never)
    assert (tmp_path / "under-way").read_text() == "3"
