"""The child process that measures the values of an int8 file, as a runtime may crash.

    python tail_worker.py JOB.json

The job is one of `targets.worker` with one int8 file, whose outputs are the tensors to measure. The
archive of outputs gets one array `[tensors]`: the quantile of their absolute values, in steps.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.activation_tail import SHARE
from edgeprune.core.arrays import Array
from edgeprune.targets.worker import MODULES, feed, load_interpreter, read_inputs

_STEPS = 256
"""How many steps from its zero point an int8 value can be, and one more."""


def quantile(counts: Array) -> int:
    """The steps that `SHARE` of all values are within, by how many are each number of steps off."""
    return int(np.searchsorted(np.cumsum(counts), SHARE * counts.sum()))


def measure(job: dict[str, Any]) -> Array:
    """`[tensors]`: the quantile of every tensor over all samples."""
    model = job["models"][0]
    plain = {"threads": 1, "delegates": False, "preserve": True}
    module = import_module(MODULES[job["runtime"]][0])
    interpreter, inputs, _ = load_interpreter(module, plain, {**model, "output_tensors": []})
    zeros = {d["index"]: d["quantization"][1] for d in interpreter.get_tensor_details()}
    arrays = read_inputs(model["inputs"], inputs)
    counts = np.zeros((len(model["output_tensors"]), _STEPS), np.int64)
    for row in range(len(arrays[0])):
        feed(interpreter, inputs, arrays, row)
        interpreter.invoke()
        for k, tensor in enumerate(model["output_tensors"]):
            off = np.abs(interpreter.get_tensor(tensor).astype(np.int16) - zeros[tensor])
            counts[k] += np.bincount(off.ravel(), minlength=_STEPS)
    return np.array([quantile(each) for each in counts])


def main(path: Path) -> None:
    """Does one job."""
    job = json.loads(path.read_text(encoding="utf-8"))
    np.savez(job["outputs"], out0=measure(job))
    Path(job["result"]).write_text("{}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
