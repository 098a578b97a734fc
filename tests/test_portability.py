"""What works on every system: nothing there needs what only POSIX has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeprune.keras_model.files import save_model
from edgeprune.targets.child import WorkerError, require_success
from tests.support.architectures import build, samples
from tests.support.tflite_builder import dense_net, prune
from tests.support.tiny_tflite import fully_connected

ROOT = Path(__file__).parents[1]
WEIGHTS = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)


def run_without_posix(folder: Path, *lines: str | Sequence[str]) -> None:
    words = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.without_posix", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_module_is_imported_without_what_only_posix_has(tmp_path: Path) -> None:
    run_without_posix(tmp_path, "imports")


@pytest.mark.slow
def test_files_are_looked_at_encoded_checked_and_measured_without_it(tmp_path: Path) -> None:
    fully_connected(tmp_path / "m.tflite", WEIGHTS)
    dense_net(tmp_path / "zeros.tflite", prune(np.ones((64, 128)), 0.95, (1, 4)))
    device = ["--device", "xnnpack-x86"]
    run_without_posix(
        tmp_path,
        ["devices"],
        ["targets"],
        ["inspect", "m.tflite", *device],
        ["encode", "zeros.tflite", *device, "-o", "sparse.tflite"],
        ["encode", "zeros.tflite", *device, "-o", "sparse.tflite"],  # in place of the first
        ["densify", "sparse.tflite", "-o", "again.tflite"],
        ["validate", "sparse.tflite", *device, "--reference", "zeros.tflite"],
        ["measure", "sparse.tflite", *device, "--target", "host", "--json"],
    )
    assert (tmp_path / "sparse.tflite").stat().st_size < (tmp_path / "again.tflite").stat().st_size


@pytest.mark.slow
def test_a_model_goes_all_the_way_without_it(tmp_path: Path) -> None:
    model = build("cnn")
    save_model(model, tmp_path / "m.keras")
    (x,) = samples(model, 64)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(len(x)) % 2)
    device = ["--device", "xnnpack-x86"]
    run_without_posix(
        tmp_path,
        ["plan", "m.keras", *device, "-o", "plan.json"],
        ["prune", "m.keras", *device, "--data", "data.npz", "-o", "pruned.keras"],
        ["export", "pruned.keras", *device, "-o", "m.tflite"],
        ["validate", "m.tflite", *device, "--reference", "pruned.keras"],
    )


def test_a_program_that_windows_ended_crashed() -> None:
    with pytest.raises(WorkerError, match="it crashed with 0xc0000005"):
        require_success(0xC0000005, "")
