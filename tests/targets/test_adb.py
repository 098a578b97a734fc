"""Android devices: what `benchmark_model` prints, and how it is run, by a stand-in for `adb`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import TargetError, TfliteError
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.adb.device import Device
from edgeprune.targets.adb.output import parse_output
from edgeprune.targets.child import WorkerError
from edgeprune.targets.find import find_target
from edgeprune.targets.measuring import default_target, measure
from tests.support.tiny_tflite import fully_connected

assert sys.platform != "win32"

OUTPUTS = Path(__file__).parent / "benchmark_model"
STAND_IN = Path(__file__).parents[1] / "support" / "stand_in_adb.py"


@pytest.mark.parametrize(
    ("name", "runs", "mean", "median", "init", "xnnpack"),
    [
        ("tensorflow-1.txt", 15, 66767.6, None, 9933, False),
        ("tensorflow-1-profiling.txt", 50, 79732, None, 38467, False),
        ("tensorflow-2.txt", 50, 33209.4, None, 855, False),
        ("source-of-2024.txt", 74, 13520.2, None, 12750, True),
        ("percentiles.txt", 50, 1240270, 1239807, 5579, False),
    ],
)
def test_every_version_of_the_output_is_read(
    name: str, runs: int, mean: float, median: float | None, init: float, xnnpack: bool
) -> None:
    found = parse_output((OUTPUTS / name).read_text())
    assert (found.runs, found.mean, found.median) == (runs, mean, median)
    assert (found.init, found.xnnpack) == (init, xnnpack)


def test_windows_line_ends_and_a_single_run_are_read() -> None:
    text = "count=1 curr=752\r\n\r\nInference timings in us: Init: 7, Inference (avg): 752\r\n"
    found = parse_output(text)
    assert (found.runs, found.mean, found.median, found.init) == (1, 752, None, 7)


def test_a_refusal_is_its_own_message() -> None:
    with pytest.raises(WorkerError, match="no timings: ERROR: Node number 248 .* failed"):
        parse_output((OUTPUTS / "refused.txt").read_text())
    with pytest.raises(WorkerError, match="printed nothing"):
        parse_output("")


@pytest.mark.parametrize(
    "phase",
    [
        *("count=1 curr=0", "count=1 curr=-5", "count=1", "count=5 avg=1.2.3 curr=x", "count=1e"),
        *("count=1 avg=nan", f"count=1 avg={'9' * 6000}", f"count={'9' * 6000}", "count=1.e5"),
        *("count=5 avg=1 median=0", "count=5 avg=inf median=2"),
    ],
)
def test_numbers_that_no_clock_gives_are_refused(phase: str) -> None:
    text = f"{phase}\nInference timings in us: Init: 7e999, Inference (avg): 752\n"
    with pytest.raises(WorkerError, match="benchmark_model gave (no )?timings") as caught:
        parse_output(text)
    assert len(str(caught.value)) < 600


def test_a_phone_that_never_stops_talking_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adb = tmp_path / "adb"
    adb.write_text(f"#!{sys.executable}\nwhile True: print('x' * 65536)\n")
    adb.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(TargetError, match="serial: adb get-state did not end within .* bytes"):
        Device("serial").adb("get-state")


def test_facts_of_a_phone_that_are_no_numbers_are_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adb = tmp_path / "adb"
    lines = ["board=" + "x" * 10_000, "cores=" + "9" * 6000, "zone=cpu:" + "9" * 4000]
    adb.write_text(f"#!{sys.executable}\nprint('\\n'.join({lines!r}))\n")
    adb.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    facts = Device("serial").facts()
    assert (facts["cores"], facts["temperature_c"]) == (None, None)
    assert len(facts["board"]) < 1000


@given(st.text(max_size=200))
def test_any_other_text_is_an_error_and_no_crash(text: str) -> None:
    with pytest.raises(WorkerError):
        parse_output(text)


class Phone:
    """The stand-in: where its files are, and what was asked of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.log = folder / "log"
        self.place = folder / "device/data/local/tmp"
        self.place.mkdir(parents=True)
        programs = folder / "bin"
        programs.mkdir()
        (programs / "adb").write_text(f'#!/bin/sh\nexec {sys.executable} -S {STAND_IN} "$@"\n')
        (programs / "adb").chmod(0o755)
        self.binary = folder / "benchmark_model"
        self.binary.write_bytes(b"a program for the phone")
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        monkeypatch.setenv("ADB_DEVICE", str(folder / "device"))
        monkeypatch.setenv("ADB_LOG", str(self.log))
        self.answer("percentiles.txt")

    def answer(self, name: str) -> None:
        self.monkeypatch.setenv("ADB_OUTPUT", str(OUTPUTS / name))

    def zone(self, number: int, kind: str, temperature: int) -> None:
        zone = self.folder / f"device/sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(kind)
        (zone / "temp").write_text(str(temperature))

    def left_behind(self) -> list[str]:
        return [path.name for path in self.place.iterdir()]

    def benchmarks(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if "--graph=" in line]


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    return Phone(tmp_path, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return fully_connected(tmp_path / "m.tflite", np.ones((4, 4), np.float32))


def test_files_are_timed_in_turn_with_the_flags_that_xnnpack_wants(
    phone: Phone, model: Path
) -> None:
    phone.zone(0, "battery", 51000)
    phone.zone(1, "cpu-big", 44500)
    first, second = measure(
        [model, model],
        "xnnpack-arm64",
        target="adb:serial",
        benchmark_binary=phone.binary,
        threads=4,
        affinity=[4, 5, 6, 7],
    )
    assert phone.left_behind() == []
    lines = phone.benchmarks()
    assert len(lines) == 10
    assert all(line.startswith("-s serial shell taskset f0 /data/local/tmp/") for line in lines)
    assert all("--num_threads=4 --use_xnnpack=true" in line for line in lines)
    order = ["model0" in line for line in lines]
    assert sum(order) == 5
    assert order != [True, False] * 5
    assert (first.target, first.simulated, first.stand_in) == ("adb:serial", False, False)
    assert first.machine["board"] == "Pixel 6"
    assert first.machine["temperature_c"] == {"before": 44.5, "after": 44.5}
    assert first.latency_ms is not None
    assert first.latency_ms.median == 1239.807
    assert (first.latency_ms.runs, first.latency_ms.p90) == (250, None)
    assert second.speedup is not None
    assert not second.speedup.significant


def test_what_an_older_version_does_not_say_is_null(phone: Phone, model: Path) -> None:
    phone.answer("tensorflow-2.txt")
    (found,) = measure([model], "xnnpack-arm64", target="adb", benchmark_binary=phone.binary)
    content = found.to_json()["latency_ms"]
    assert content["mean"] == pytest.approx(33.2094)
    assert [content[key] for key in ("median", "p90", "ci95")] == [None, None, None]
    assert found.machine["temperature_c"] == {"before": None, "after": None}
    assert "a round is one process's average" in found.conditions
    assert "does not say that XNNPACK" in found.warnings[0]
    assert not any("taskset" in line for line in phone.benchmarks())


def test_a_file_that_the_phone_refuses_is_named_and_nothing_stays(
    phone: Phone, model: Path
) -> None:
    phone.answer("refused.txt")
    with pytest.raises(WorkerError, match=r"m\.tflite: .*failed to prepare"):
        measure([model], "xnnpack-arm64", target="adb", benchmark_binary=phone.binary)
    assert phone.left_behind() == []


def test_a_phone_that_is_gone_is_an_error_that_says_what_adb_said(
    phone: Phone, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TargetError, match="other: adb get-state failed: .*'other' not found"):
        measure([model], "xnnpack-arm64", target="adb:other", benchmark_binary=phone.binary)
    monkeypatch.setenv("ADB_LOSES", "1")
    with pytest.raises(TargetError, match="'serial' not found"):
        measure([model], "xnnpack-arm64", target="adb", benchmark_binary=phone.binary)
    assert phone.left_behind() == []


def test_what_is_missing_here_is_an_error_before_the_phone_is_touched(
    phone: Phone, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TargetError, match=r"--benchmark-binary PATH.*Received: none"):
        measure([model], "xnnpack-arm64", target="adb")
    with pytest.raises(TfliteError, match="gone"):
        measure(
            [tmp_path / "gone.tflite"],
            "xnnpack-arm64",
            target="adb",
            benchmark_binary=phone.binary,
        )
    assert "shell" not in phone.log.read_text()


def test_a_phone_is_used_only_when_it_is_named(phone: Phone) -> None:
    assert find_target("adb").readiness().detail.startswith("Android Debug Bridge")
    assert default_target(load_profile("xnnpack-arm64")) is None
    assert phone.left_behind() == []


def test_without_adb_it_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TargetError, match="not ready: no 'adb'. apt-get install adb"):
        measure(["m.tflite"], "xnnpack-arm64", target="adb")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_is_stopped_removes_what_it_sent(
    phone: Phone, model: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("ADB_TAKES", "120")
    monkeypatch.setenv("EDGEPRUNE_BENCHMARK_BINARY", str(phone.binary))
    # What a shell starts in the background is told to ignore SIGINT, and so are its children.
    heeding = ["env", "--default-signal=INT", sys.executable]
    command = [*heeding, "-m", "edgeprune", "measure", str(model)]
    program = subprocess.Popen(
        [*command, "--device", "xnnpack-arm64", "--target", "adb:serial"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (phone.log.exists() and phone.benchmarks()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert phone.left_behind()
    program.send_signal(number)
    assert program.wait(100) != 0
    assert phone.left_behind() == []
