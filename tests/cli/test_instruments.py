from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeprune.cli import instruments
from edgeprune.keras_model.files import save_model
from edgeprune.profiles.profile import load_profile
from tests.support.architectures import build, samples

PHONE = load_profile("xnnpack-arm64")


def words(text: str) -> str:
    """Text without its line breaks."""
    return " ".join(text.split())


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No route to any package: a proxy that nobody listens at; returns the empty cache folder."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.slow
def test_without_a_network_it_says_so_and_goes_on(
    offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instruments.set_up_where_possible([PHONE, load_profile("edge-tpu")])
    said = words(capsys.readouterr().err)
    assert "Setting up arm64-emulated, which measures xnnpack-arm64: QEMU" in said
    assert "going on without arm64-emulated" in said
    assert "apt-get" in said
    assert "Traceback" not in said
    assert {path.name for path in (offline / "edgeprune").iterdir()} == {"arm64-emulated.lock"}


def test_on_another_system_it_says_what_is_needed_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "fedora"})
    instruments.set_up_where_possible([PHONE])
    said = words(capsys.readouterr().err)
    assert "xnnpack-arm64: not measured, since arm64-emulated is not for this machine" in said
    assert "docker run -it debian:12" in said


def test_what_is_there_already_is_not_set_up_again(
    emulator: None, capsys: pytest.CaptureFixture[str]
) -> None:
    del emulator
    instruments.set_up_where_possible([PHONE])
    instruments.offer([PHONE], ())
    assert capsys.readouterr() == ("", "")


def test_what_is_missing_is_offered_by_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    instruments.offer([PHONE, load_profile("arm-neon-int8"), load_profile("edge-tpu")], ())
    said = words(capsys.readouterr().err)
    assert "To measure xnnpack-arm64 and arm-neon-int8: edgeprune targets install arm64-emu" in said
    assert "--install-targets" in said


@pytest.mark.slow
def test_an_installation_that_was_asked_for_and_fails_ends_before_any_work(
    offline: Path, tmp_path: Path
) -> None:
    del offline
    network = build("mobilenet_v1")
    save_model(network, tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=samples(network, 8)[0])
    command = ["compare", "model.keras", "--devices", "xnnpack-arm64", "--data", "data.npz"]
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", *command, "--install-targets", "-o", "out"],
        cwd=tmp_path,
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "arm64-emulated: 'apt-get" in words(done.stderr)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
