"""The child process that measures the ranges of a file's values.

    python range_worker.py JOB.json

The job is one of `targets.worker` with one float file, whose inputs and outputs are the tensors to
measure. The archive of outputs gets one array `[tensors, 2]`: the least and the largest value.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.targets.worker import MODULES, feed, load_interpreter, read_inputs


def extremes(values: Array) -> Array:
    """`[2]`: the least and the largest value; 0 and 0 of an empty array."""
    return np.array([values.min(), values.max()] if values.size else [0.0, 0.0])


def measure(job: dict[str, Any]) -> Array:
    """`[tensors, 2]`: the extremes over all samples."""
    plain, model = {"threads": 1, "delegates": True}, job["models"][0]
    module = import_module(MODULES[job["runtime"]][0])
    interpreter, inputs, _ = load_interpreter(module, plain, {**model, "output_tensors": []})
    arrays = read_inputs(model["inputs"], inputs)
    found = np.tile([np.inf, -np.inf], (len(model["output_tensors"]), 1))
    for row in range(len(arrays[0])):
        feed(interpreter, inputs, arrays, row)
        interpreter.invoke()
        now = np.stack([extremes(interpreter.get_tensor(i)) for i in model["output_tensors"]])
        found = np.stack(
            [np.minimum(found[:, 0], now[:, 0]), np.maximum(found[:, 1], now[:, 1])], axis=1
        )
    return found


def main(path: Path) -> None:
    """Does one job."""
    job = json.loads(path.read_text(encoding="utf-8"))
    np.savez(job["outputs"], out0=measure(job))
    Path(job["result"]).write_text("{}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
