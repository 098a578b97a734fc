"""Models that are no files, where the system has such things."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgeprune.conversion.given import as_given
from edgeprune.core.errors import TfliteError

assert sys.platform == "linux"


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    with pytest.raises(TfliteError, match=r"a FIFO \(named pipe\)"):
        as_given(tmp_path / "pipe.tflite")
