"""Two boards over SSH, each a real server on the loopback interface."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeprune.profiles.profile import load_profile
from edgeprune.searching.boards import Job, measure_jobs
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.ssh.connection import CLIENT_VARIABLE
from tests.support.ssh_server import ssh_server
from tests.support.tiny_tflite import fully_connected

assert sys.platform == "linux"


@pytest.mark.slow
def test_files_on_two_boards_are_measured_there_each_board_s_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    paths = [fully_connected(tmp_path / f"{number}.tflite", weights) for number in range(2)]
    profile = load_profile("raspberry-pi-5")
    told: list[str] = []
    settings = replace(
        Settings(python=sys.executable, artifacts=tmp_path), tell=lambda what, *_: told.append(what)
    )
    monkeypatch.setattr("edgeprune.targets.timing.PROCESSES", 2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ssh_server(tmp_path / "one") as one, ssh_server(tmp_path / "two") as two:
        hosts = [
            f"Host {name}\n HostName 127.0.0.1\n Port {server.port}\n"
            f" IdentityFile {server.folder / 'user_key'}\n"
            f" UserKnownHostsFile {server.folder / 'known_hosts'}\n"
            for name, server in (("one", one), ("two", two))
        ]
        config = tmp_path / "config"
        config.write_text("".join(hosts))
        monkeypatch.setenv(CLIENT_VARIABLE, f"ssh -F {config}")
        jobs = [Job(path, profile, f"ssh:{name}") for name in ("one", "two") for path in paths]
        found = measure_jobs(jobs, settings)
    assert list(found) == jobs
    for job in jobs:
        said = found[job]
        assert isinstance(said, Measurement), said
        assert (said.model, said.target) == (str(job.path), job.target)
        assert said.latency_ms is not None
    connections = [what for what in told if what.startswith("connecting to")]
    assert set(connections[:2]) == {"connecting to one", "connecting to two"}
    assert len(connections) == 4
