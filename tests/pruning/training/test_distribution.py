"""Training on several replicas, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [("one-shot",), ("gradual",), ("one-shot", "aware")])
def test_replicas_hold_the_same_masks_and_kernels(kind: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.replica_child", *kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["replicas"] == 2
    assert seen["masks_equal"] == seen["kernels_equal"] == [True] * (4 * 2)
    assert seen["ranges"] == ("aware" in kind)
    assert seen["sparsities"] == {"conv": 0.75, "dense": 0.5}
    assert len(seen["loss"]) == 4
    assert all(0 < loss < 10 for loss in seen["loss"])
