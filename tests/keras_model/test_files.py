from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path

import numpy as np
import pytest

from edgeprune.core.errors import OutputError
from edgeprune.keras_model.files import load_model, save_model
from tests.support.architectures import build


def test_a_model_goes_to_disk_and_back(tmp_path: Path) -> None:
    model = build("nested")
    save_model(model, tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_saving_to_nowhere_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        save_model(build("mlp"), tmp_path / "no" / "m.keras")
    with pytest.raises(OutputError, match=r"ending in \.keras"):
        save_model(build("mlp"), tmp_path / "m.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_saved_by_the_rules_of_all_outputs(tmp_path: Path) -> None:
    model = build("mlp")
    (tmp_path / "there").mkdir()
    there = tmp_path / "there" / "m.keras"
    there.write_bytes(b"old")
    there.chmod(0o600)
    (tmp_path / "link.keras").symlink_to(there)
    save_model(model, tmp_path / "link.keras")
    assert (tmp_path / "link.keras").is_symlink()
    assert stat.S_IMODE(there.stat().st_mode) == 0o600
    assert load_model(there).count_params() == model.count_params()
    save_model(model, tmp_path / ("x" * 249 + ".keras"))
    os.mkfifo(tmp_path / "fifo.keras")
    with pytest.raises(OutputError, match=r"fifo\.keras: .*Received: a FIFO"):
        save_model(model, tmp_path / "fifo.keras")


def test_a_model_that_the_disk_has_no_room_for_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(b"old")
    model = build("mlp")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"m\.keras: cannot be written \(File too large\)"):
            save_model(model, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.keras"]
