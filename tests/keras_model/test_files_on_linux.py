"""Models that are saved where there are FIFOs, and limits on the size of a file."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from edgeprune.core.errors import OutputError
from edgeprune.keras_model.files import save_model
from tests.support.architectures import build

assert sys.platform == "linux"


def test_a_fifo_is_not_replaced_by_a_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.keras")
    with pytest.raises(OutputError, match=r"fifo\.keras: .*Received: a FIFO"):
        save_model(build("mlp"), tmp_path / "fifo.keras")


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
