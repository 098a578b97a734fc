"""A source that is larger than the memory a process may take is read bit by bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import source_memory

assert sys.platform == "linux"
WHOLE_MIB = source_memory.SAMPLES * 4 * 64 * 64 * 4 >> 20
LIMIT_MIB = WHOLE_MIB // 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        ("plan", "dataset"),
        ("prune", "generator"),
        ("prune", "arrays"),
        ("export", "generator"),
        ("validate", "generator"),
        ("train", "dataset"),
        ("train", "arrays"),
    ],
)
def test_a_source_of_any_size_is_streamed(tmp_path: Path, verb: str, kind: str) -> None:
    command = [sys.executable, "-m", "tests.support.source_memory", verb, kind, str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    assert int(done.stdout.splitlines()[-1]) < LIMIT_MIB
