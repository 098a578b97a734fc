"""Runs a .tflite file in a real runtime, in a process of its own with a time limit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.runtimes import MODULES

Array = np.ndarray[Any, np.dtype[Any]]

ADDRESS_SPACE_KIB = 8 << 20
RUNTIMES = tuple(MODULES.values())

_SCRIPT = """
import importlib, sys
import numpy as np
Interpreter = importlib.import_module(sys.argv[1]).Interpreter
answers = {}
for place, path in enumerate(sys.argv[2:-1]):
    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(1)
    for detail in interpreter.get_input_details():
        x = rng.standard_normal(detail["shape"])
        if detail["dtype"] != np.float32:
            low = -128 if np.dtype(detail["dtype"]).kind == "i" else 0
            x = np.clip(np.round(x * 40) + low + 128, low, low + 255)
        interpreter.set_tensor(detail["index"], x.astype(detail["dtype"]))
    interpreter.invoke()
    for i, detail in enumerate(interpreter.get_output_details()):
        answers[f"{place}_{i}"] = interpreter.get_tensor(detail["index"])
np.savez(sys.argv[-1], **answers)
"""


def outputs(runtime: str, models: Sequence[Path], folder: Path) -> list[list[Array]]:
    """Returns the outputs of each model on the same seeded random inputs.

    Raises:
      RuntimeError: the runtime failed or crashed; with its last words.
      TimeoutExpired: it took more than 60 s.
    """
    answer = folder / "answer.npz"
    command = [sys.executable, "-c", _SCRIPT, runtime, *map(str, models), str(answer)]
    if sys.platform == "linux":
        command = ["/bin/sh", "-c", f'ulimit -v {ADDRESS_SPACE_KIB}; exec "$@"', "sh", *command]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{runtime}: exit {done.returncode}: {done.stderr[-600:]}")
    with np.load(answer) as loaded:
        places = [sorted(k for k in loaded if k.startswith(f"{i}_")) for i in range(len(models))]
        return [[loaded[key] for key in keys] for keys in places]
