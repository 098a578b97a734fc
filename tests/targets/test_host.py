from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.core.errors import DataError, TfliteError
from edgeprune.inspection.validate_file import validate
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.child import WORKER, WorkerError, run_worker
from edgeprune.targets.host import HOST, installed_runtimes
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.measuring import measure
from edgeprune.targets.timing import PROCESSES, ROUNDS
from edgeprune.tflite.format import file as tflite_file
from tests.support.runtimes import RUNTIMES
from tests.support.states import run_alone_and_in_a_row, run_stream
from tests.support.tflite_builder import Net
from tests.support.tiny_tflite import fully_connected

WEIGHTS = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)


def test_every_runtime_with_a_wheel_is_here_and_the_reference_comes_first() -> None:
    assert tuple(installed_runtimes()) == RUNTIMES
    assert HOST.runtimes(load_profile("xnnpack-arm64")) == RUNTIMES
    assert HOST.runtimes(load_profile("edge-tpu")) == RUNTIMES[:1]
    assert HOST.readiness().ready


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("delegates", [True, False])
def test_a_runtime_computes_what_numpy_computes(
    tmp_path: Path, runtime: str, delegates: bool
) -> None:
    graph = tflite_file.read(fully_connected(tmp_path / "m.tflite", WEIGHTS))
    x = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    reply = HOST.run(graph, [x], runtime, delegates=delegates)
    np.testing.assert_allclose(reply.outputs[0], x @ WEIGHTS.T, rtol=1e-5, atol=1e-5)
    assert reply.facts["runtime"].startswith(runtime)


@pytest.mark.slow
def test_samples_follow_each_other_in_a_stream_and_nowhere_else(tmp_path: Path) -> None:
    def run(graph: tflite_file.Graph, x: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        return HOST.run(graph, x, "LiteRT").outputs[0]

    np.testing.assert_array_equal(*run_alone_and_in_a_row(run, tmp_path))
    np.testing.assert_allclose(*run_stream(run, tmp_path), atol=0.16)


def test_an_operator_that_a_runtime_lacks_is_its_own_message(tmp_path: Path) -> None:
    graph = tflite_file.read(fully_connected(tmp_path / "m.tflite", WEIGHTS, version=40))
    with pytest.raises(WorkerError, match=r"FULLY_CONNECTED' version '40'|FULLY_CONNECTED"):
        HOST.run(graph, [np.zeros((1, 16), np.float32)], RUNTIMES[0])


def stand_in(tmp_path: Path, body: str) -> str:
    """A module that pretends to be a runtime; only for what no sound runtime does on request."""
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text(
        "class OpResolverType:\n    AUTO = BUILTIN_WITHOUT_DEFAULT_DELEGATES = 0\n"
        f"class Interpreter:\n    def __init__(self, **_):\n        {body}\n"
    )
    return str(tmp_path)


@pytest.mark.parametrize(
    ("body", "limit_s", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 60, "crashed with SIGSEGV"),
        ("import os; os.abort()", 60, "crashed with SIGABRT"),
        ("import time; time.sleep(60)", 1, "time limit of 1 s"),
        ("raise ValueError('no kernel for this')", 60, "no kernel for this"),
        ("raise SystemExit(3)", 60, "exit code 3"),
    ],
)
def test_a_runtime_that_dies_or_hangs_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, limit_s: float, said: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", stand_in(tmp_path, body))
    job = {"kind": "run", "runtime": "tflite-runtime", "threads": 1, "delegates": True}
    with pytest.raises(WorkerError, match=said):
        run_worker({**job, "models": [{"path": "m"}]}, [[]], time_limit_s=limit_s)


@pytest.mark.tflite_runtime
def test_a_file_on_which_a_runtime_crashes_is_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    body = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setenv("PYTHONPATH", stand_in(tmp_path, body))
    verdict = validate(path, "xnnpack-arm64")
    failed = [check for check in verdict.checks if not check.ok]
    assert [check.name for check in failed] == ["runs (tflite-runtime)"]
    assert "SIGSEGV" in failed[0].message


@pytest.mark.slow
def test_files_are_timed_in_turn_and_compared_with_the_first(tmp_path: Path) -> None:
    small = fully_connected(tmp_path / "small.tflite", WEIGHTS)
    large = fully_connected(tmp_path / "large.tflite", np.ones((256, 512)))
    first, second = measure([small, large], "xnnpack-x86")
    assert (first.model, second.model) == (str(small), str(large))
    for found in (first, second):
        rounds = [ms for process in found.rounds_ms for ms in process]
        assert found.latency_ms is not None
        assert found.latency_ms.ci95 is not None
        assert found.latency_ms.median == statistics.median(rounds)
        assert found.latency_ms.runs == len(rounds)
        low, high = found.latency_ms.ci95
        assert 0 < min(rounds) <= low <= high <= max(rounds)
    # A slow machine times fewer rounds than 25, but both files equally often in each process.
    counts = [[len(process) for process in found.rounds_ms] for found in (first, second)]
    assert counts[0] == counts[1]
    assert all(10 <= count <= ROUNDS for count in counts[0])
    assert first.speedup is None
    assert second.speedup is not None
    ratios = [
        ours / theirs
        for process in zip(first.rounds_ms, second.rounds_ms, strict=True)
        for ours, theirs in zip(*process, strict=True)
    ]
    assert second.speedup.median == statistics.median(ratios)
    assert second.speedup.of == "latency"
    assert (first.target, first.simulated) == ("host", False)
    assert first.runtime == f"{RUNTIMES[0]} {installed_runtimes()[RUNTIMES[0]]}"
    assert first.size_bytes == small.stat().st_size
    assert len(first.rounds_ms) == PROCESSES == 4
    assert "1 thread(s)" in first.conditions


def test_a_file_that_does_not_run_is_named_before_any_timing(tmp_path: Path) -> None:
    good = fully_connected(tmp_path / "good.tflite", WEIGHTS)
    bad = fully_connected(tmp_path / "bad.tflite", WEIGHTS, version=40)
    with pytest.raises(WorkerError, match=rf"bad\.tflite: {RUNTIMES[0]} does not run it"):
        measure([good, bad], "xnnpack-x86")
    with pytest.raises(TfliteError, match="gone"):
        measure([good, tmp_path / "gone.tflite"], "xnnpack-x86")


def test_the_worker_needs_nothing_of_edgeprune(tmp_path: Path) -> None:
    """It runs alone, as it would on a board: a copy of one file, started without the package."""
    model = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    np.savez(tmp_path / "in.npz", in0=np.ones((2, 16), np.float32))
    alone = tmp_path / "worker.py"
    alone.write_text(WORKER.read_text())
    job = {
        "kind": "run",
        "runtime": "LiteRT",
        "threads": 1,
        "delegates": True,
        "outputs": str(tmp_path / "out.npz"),
        "result": str(tmp_path / "result.json"),
        "models": [
            {
                "path": str(model),
                "inputs": str(tmp_path / "in.npz"),
                "input_tensors": [0],
                "output_tensors": [2],
            }
        ],
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-I", str(alone), str(tmp_path / "job.json")]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    with np.load(tmp_path / "out.npz") as outputs:
        np.testing.assert_allclose(outputs["out0"], np.tile(WEIGHTS.sum(1), (2, 1)), rtol=1e-5)


def test_a_file_without_inputs_is_refused_in_words(tmp_path: Path) -> None:
    net = Net()
    constant = net.constant("x", np.ones((1, 4), np.float32))
    y = net.tensor("y", (1, 4))
    net.operator("RELU", [constant], [y])
    with pytest.raises(DataError, match=r"m\.tflite: expected a file with an input"):
        validate(net.save(tmp_path / "m.tflite", [], [y]), "xnnpack-x86")


def test_generated_inputs_are_the_same_every_time(tmp_path: Path) -> None:
    graph = tflite_file.read(fully_connected(tmp_path / "m.tflite", WEIGHTS))
    first, second = (generated_inputs(graph, 3)[0] for _ in range(2))
    assert first.shape == (3, 16)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first).max() <= 1
