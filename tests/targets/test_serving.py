"""A child process that stays: what it answers, and what is said when it does not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeprune.targets.child import WorkerError
from edgeprune.targets.serving import FileServer
from tests.support.islands import looping
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


@pytest.mark.slow
@pytest.mark.linux
def test_a_child_whose_parent_was_killed_ends_in_the_midst_of_an_operator(tmp_path: Path) -> None:
    endless = looping(tmp_path / "endless.tflite", op="MINIMUM", below=1e30)
    ask = (
        "import sys, numpy as np\n"
        "from edgeprune.targets.serving import FileServer\n"
        "server = FileServer()\n"
        "content = open(sys.argv[1], 'rb').read()\n"
        "server.load(content)\n"
        "print(server._child.pid, flush=True)\n"
        "server.run(content, [np.ones((1, 1, 2, 2, 4), np.float32)], 1)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", ask, str(endless)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = Path("/proc", parent.stdout.readline().strip(), "stat")
    assert child.exists()
    wait_until(lambda: int(child.read_text().split()[13]) > 100)  # a second of work
    parent.kill()
    parent.communicate()
    wait_until(lambda: not child.exists() or child.read_text().split()[2] == "Z")


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.1)
    pytest.fail("it did not come about within a minute")
