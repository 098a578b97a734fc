from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from edgeprune.core.errors import TargetError
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.targets.find import measures_device
from edgeprune.targets.measuring import measure
from edgeprune.targets.missing import missing_instrument, missing_instruments, not_measured
from tests.support.profiles import profile
from tests.support.tiny_tflite import fully_connected

PHONE, QUANTIZED = load_profile("xnnpack-arm64"), load_profile("arm-neon-int8")


def test_an_instrument_that_several_devices_miss_is_named_once_with_all_of_them() -> None:
    (missing,) = missing_instruments([PHONE, load_profile("edge-tpu"), QUANTIZED])
    assert (missing.target, missing.devices) == ("arm64-emulated", (PHONE.name, QUANTIZED.name))
    assert missing.command == "edgeprune targets install arm64-emulated"
    assert "75 MB" in missing.state.installs


def test_of_instruments_that_were_asked_for_those_on_other_machines_are_not_set_up_here() -> None:
    missing = missing_instruments([PHONE], ["ssh:board", "edgetpu-model", "arm64-emulated"])
    assert [each.target for each in missing] == ["arm64-emulated"]


def test_a_device_whose_instrument_is_ready_misses_none() -> None:
    assert missing_instrument(load_profile("edge-tpu")) is None
    assert missing_instruments([]) == ()


def test_what_cannot_be_set_up_here_is_said_instead_of_a_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "fedora"})
    missing = missing_instrument(PHONE)
    assert missing is not None
    assert missing.command == ""
    assert not_measured(PHONE) == "arm64-emulated is not for this machine"
    with pytest.raises(TargetError, match="cannot be set up here: not for this machine"):
        missing.install(lambda *_: None)


def test_a_device_that_boards_alone_measure_wants_one_named() -> None:
    far = profile(targets=("ssh",))
    assert missing_instrument(far) is None
    assert "--target ssh:" in not_measured(far)


def test_this_computer_measures_such_computers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = load_profile("xnnpack-x86")
    assert not measures_device("host", PHONE)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert measures_device("host", laptop)
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert not measures_device("host", laptop)
    assert measures_device("host", profile(targets=("host",)))
    assert not_measured(laptop) == "this computer is not such a device"


def test_too_little_room_is_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("edgeprune.targets.arm64_emulated.install.ROOM_BYTES", 1 << 60)
    with pytest.raises(TargetError, match=r"MB free in .* Make room there"):
        ARM64_EMULATED.install(lambda *_: None)


def test_without_its_instrument_a_devices_files_are_run_here_and_not_timed(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    path = fully_connected(tmp_path / "m.tflite", weights)
    first, second = measure([path, path], "xnnpack-arm64")
    for found in (first, second):
        assert (found.target, found.stand_in) == ("host", True)
        assert found.size_bytes == path.stat().st_size
        assert (found.latency_ms, found.speedup, found.host_time_ratio) == (None, None, None)


def test_this_computers_time_is_no_gain_of_another_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.targets.timing.PROCESSES", 1)
    weights = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    path = fully_connected(tmp_path / "m.tflite", weights)
    first, second = measure([path, path], "xnnpack-arm64", target="host")
    assert second.latency_ms is not None
    assert (second.stand_in, second.speedup, first.host_time_ratio) == (True, None, None)
    assert second.host_time_ratio is not None
    assert "faster" not in str(second)
    assert str(second).startswith("Not xnnpack-arm64: measured on a proxy by host")
    assert f"{second.host_time_ratio:.2f}x" not in str(second)
