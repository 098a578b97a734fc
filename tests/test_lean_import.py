"""What must start at once imports neither TensorFlow nor a runtime."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = (
    "tensorflow",
    "keras",
    "tflite_runtime",
    "ai_edge_litert.interpreter",
    "matplotlib",
    "ethosu",
    "tflite_micro",
    "sklearn",
)


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["edgeprune", "edgeprune.cli"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert run(code) == "[]"


def test_the_package_offers_its_verbs_and_they_are_functions() -> None:
    code = (
        "import edgeprune\n"
        "import edgeprune.planning, edgeprune.validation, edgeprune.measure\n"
        "print(all(callable(getattr(edgeprune, n)) for n in edgeprune.__all__))\n"
        "print(sorted(edgeprune.__all__) == edgeprune.__all__)"
    )
    assert run(code).split() == ["True", "True"]


def test_an_attribute_that_is_not_there_is_an_attribute_error() -> None:
    code = "import edgeprune; print(hasattr(edgeprune, 'prune_by_magic'))"
    assert run(code) == "False"


@pytest.mark.parametrize("arguments", [["--help"], ["devices"], ["targets", "--json"]])
def test_commands_without_keras_start_in_under_a_second(
    arguments: list[str], tmp_path: Path
) -> None:
    """The best of four, since other work on the machine only ever adds time; modules are compiled
    by the first, as they are wherever the user's variables do not forbid it."""
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    taken = []
    for _ in range(4):
        begin = time.perf_counter()
        command = [sys.executable, "-m", "edgeprune", *arguments]
        subprocess.run(
            command, check=True, timeout=60, capture_output=True, env={**os.environ, **compiled}
        )
        taken.append(time.perf_counter() - begin)
    assert min(taken) < 1.0
