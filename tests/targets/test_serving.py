"""A child process that stays: what it answers, and what is said when it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.targets.child import WorkerError
from edgeprune.targets.serving import FileServer
from tests.support.lift_cases import single, values

DYING = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n"
FAILING = "raise RuntimeError('no runtime')\n"
SILENT = "import time\ntime.sleep(60)\n"


def script(folder: Path, text: str) -> Path:
    path = folder / "child.py"
    path.write_text(text)
    return path


def test_files_are_run_sample_by_sample_and_an_error_ends_nothing(tmp_path: Path) -> None:
    server = FileServer()
    content = single(tmp_path / "relu.tflite", "RELU", [(1, 3)], [(1, 3)]).read_bytes()
    x = values(4, 1, 3)
    for _ in range(2):
        np.testing.assert_array_equal(server.run(content, [x], 4)[0], np.maximum(x, 0))
        with pytest.raises(WorkerError, match=r"[Mm]odel"):
            server.load(b"no file")
        with pytest.raises(WorkerError, match=r"Dimension mismatch"):
            server.run(content, [values(4, 1, 2)], 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(DYING, "it crashed with SIGTERM", marks=pytest.mark.linux),
        (FAILING, "RuntimeError: no runtime"),
        (SILENT, "time limit"),
    ],
)
def test_a_child_that_does_not_answer_is_replaced_and_said_to_be_dead(
    text: str, message: str, tmp_path: Path
) -> None:
    server = FileServer(time_limit_s=0.5 if text == SILENT else 60, script=script(tmp_path, text))
    for _ in range(2):
        with pytest.raises(WorkerError, match=message):
            server.load(b"any")
