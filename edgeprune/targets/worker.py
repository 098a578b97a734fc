"""Runs or times .tflite files in the runtime of the machine it is on.

One file that needs nothing but Python, NumPy and a runtime, so that it can be started as a child
process here, under an emulator, or on a board:

    python worker.py JOB.json

The job names a runtime, models and what to do; the result goes to the file that the job names. A
runtime that crashes takes this process down and nothing else.

Job, all kinds:  {"kind": "run" | "count" | "count-each" | "time",
                  "runtime": "tflite-runtime" | "LiteRT", "result": PATH, "threads": int,
                  "delegates": bool}
    run:         {"models": [MODEL], "outputs": NPZ}
    count:       as run; afterwards one more inference, of the last sample, between two marks that
                 whoever counts this process's instructions can see
    count-each:  {"models": [MODEL, ...]}; of every model one inference between marks, after one
                 to warm up
    time:        {"models": [MODEL, ...], "rounds": int, "seconds": float, "seed": int}
    MODEL:       {"path": PATH, "inputs": NPZ, "input_tensors": [int, ...],
                  "output_tensors": [int, ...]}
An NPZ of inputs holds in0, in1, ..., [n, ...] real values each, in the order of `input_tensors`;
the one of outputs gets out0, out1, ... in the order of `output_tensors`.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import time
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

MODULES = {
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
    "LiteRT": ("ai_edge_litert.interpreter", "ai-edge-litert"),
}
SHORTEST_SAMPLE_S = 0.002
WARM_UP_S = 0.3
LONGEST_WARM_UP_S = 3.0
MARK = 0x65707275
"""First argument of the getpriority calls around a counted inference; the kernel refuses it."""


def load(module: Any, job: dict[str, Any], model: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Loads a model and allocates its tensors; returns it with its input and output details."""
    resolvers = module.OpResolverType
    interpreter = module.Interpreter(
        model_path=model["path"],
        num_threads=job["threads"],
        experimental_op_resolver_type=(
            resolvers.AUTO if job["delegates"] else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    interpreter.allocate_tensors()
    inputs = {detail["index"]: detail for detail in interpreter.get_input_details()}
    outputs = {detail["index"]: detail for detail in interpreter.get_output_details()}
    return (
        interpreter,
        [inputs[index] for index in model["input_tensors"]],
        [outputs[index] for index in model["output_tensors"]],
    )


def quantize(values: Any, detail: dict[str, Any]) -> Any:
    """Real values as the tensor holds them: rounded and clipped where it is quantized."""
    dtype = detail["dtype"]
    scale, zero_point = detail["quantization"]
    if scale and np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        stored = np.round(np.asarray(values, np.float64) / scale) + zero_point
        return np.clip(stored, limits.min, limits.max).astype(dtype)
    return np.asarray(values).astype(dtype)


def dequantize(stored: Any, detail: dict[str, Any]) -> Any:
    """What a tensor holds, as real values."""
    scale, zero_point = detail["quantization"]
    if scale and np.issubdtype(stored.dtype, np.integer):
        return ((stored.astype(np.float64) - zero_point) * scale).astype(np.float32)
    return stored


def feed(interpreter: Any, details: list[Any], arrays: list[Any], row: int) -> None:
    """Sets one sample as the input."""
    for detail, array in zip(details, arrays):
        interpreter.set_tensor(detail["index"], quantize(array[row : row + 1], detail))


def read_inputs(path: str, details: list[Any]) -> list[Any]:
    """The arrays in0, in1, ... of an .npz."""
    with np.load(path) as archive:
        return [archive[f"in{index}"] for index in range(len(details))]


def run(module: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Runs every sample, one at a time, and saves the outputs."""
    return run_samples(module, job)[1]


def count(module: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Runs every sample, then once more between two marks."""
    interpreter, result = run_samples(module, job)
    gc.disable()
    marked_invoke(interpreter)
    return result


def count_each(module: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Runs the first sample of every model twice, the second time between two marks."""
    gc.disable()
    for model in job["models"]:
        interpreter, inputs, _ = load(module, job, model)
        feed(interpreter, inputs, read_inputs(model["inputs"], inputs), 0)
        interpreter.invoke()
        marked_invoke(interpreter)
    return {}


def marked_invoke(interpreter: Any) -> None:
    """Runs one inference between two marks."""
    gc.collect()
    mark(1)
    interpreter.invoke()
    mark(0)


def mark(begin: int) -> None:
    """Makes a system call that stands out to an emulator and does nothing."""
    with suppress(OSError):
        os.getpriority(MARK, begin)


def run_samples(module: Any, job: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Runs every sample and saves the outputs; returns the interpreter and what to report."""
    model = job["models"][0]
    interpreter, inputs, outputs = load(module, job, model)
    arrays = read_inputs(model["inputs"], inputs)
    rows = []
    for row in range(len(arrays[0])):
        feed(interpreter, inputs, arrays, row)
        interpreter.invoke()
        rows.append([dequantize(interpreter.get_tensor(d["index"]), d) for d in outputs])
    stacked = [np.concatenate([row[k] for row in rows]) for k in range(len(outputs))]
    np.savez(job["outputs"], **{f"out{k}": array for k, array in enumerate(stacked)})
    scales = [float(detail["quantization"][0]) for detail in outputs]
    return interpreter, {"output_scales": scales}


def seconds_for(interpreter: Any, invokes: int) -> float:
    """Seconds of one inference, averaged over a few."""
    begin = time.perf_counter()
    for _ in range(invokes):
        interpreter.invoke()
    return (time.perf_counter() - begin) / invokes


def warm_up(interpreter: Any) -> float:
    """Runs until two halves of the last ten inferences agree to 10 %; returns seconds of one."""
    begin = time.perf_counter()
    taken = []
    while True:
        taken.append(seconds_for(interpreter, 1))
        elapsed = time.perf_counter() - begin
        steady = len(taken) >= 10 and (
            abs(np.median(taken[-10:-5]) / np.median(taken[-5:]) - 1) < 0.1
        )
        if (steady and elapsed > WARM_UP_S) or elapsed > LONGEST_WARM_UP_S:
            return float(np.median(taken[-5:]))


def time_models(module: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Times all models in turn, in a new random order every round."""
    interpreters = []
    for model in job["models"]:
        interpreter, inputs, _ = load(module, job, model)
        feed(interpreter, inputs, read_inputs(model["inputs"], inputs), 0)
        interpreters.append(interpreter)
    invokes = [
        max(1, int(np.ceil(SHORTEST_SAMPLE_S / warm_up(interpreter))))
        for interpreter in interpreters
    ]
    generator = np.random.default_rng(job["seed"])
    samples: list[list[float]] = [[] for _ in interpreters]
    begin = time.perf_counter()
    for done in range(job["rounds"]):
        if done >= 10 and time.perf_counter() - begin > job["seconds"]:
            break
        for index in generator.permutation(len(interpreters)):
            samples[index].append(1e3 * seconds_for(interpreters[index], invokes[index]))
    return {"samples_ms": samples, "invokes_per_sample": invokes}


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Does one job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    name, package = MODULES[job["runtime"]]
    module = import_module(name)
    kinds = {"run": run, "count": count, "count-each": count_each, "time": time_models}
    result = kinds[job["kind"]](module, job)
    result["runtime"] = f"{job['runtime']} {version(package)}"
    result["cpu"] = cpu_name()
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
