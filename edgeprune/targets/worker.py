"""Runs or times .tflite files in the runtime of the machine it is on.

One file that needs nothing but Python 3.7, NumPy and a runtime, so that it can be started as a
child process here, under an emulator, or on a board:

    python worker.py JOB.json

The job names a runtime, models and what to do; the result goes to the file that the job names. A
runtime that crashes takes this process down and nothing else.

Job, all kinds:  {"kind": "describe" | "run" | "count" | "count-each" | "time", "result": PATH}
    describe:    no more; reports the machine and its runtimes
    the others:  {"runtime": NAME (a key of MODULES), "threads": int, "delegates": bool,
                  "affinity": [int, ...] (the processors to run on; any if left out),
                  "preserve": bool (whether every value can be read afterwards; not if left out)}
    run:         {"models": [MODEL], "outputs": NPZ}
    count:       as run; afterwards one more inference, of the last sample, between two marks that
                 a counter of this process's instructions can see: the first asks for those of the
                 thread that makes it, or of all where the runtime has several threads.
                 {"blocks": bool}: whether there is another after that, whose blocks are counted
    count-each:  {"models": [MODEL, ...]}; of every model one inference between marks, after one
                 to warm up
    time:        {"models": [MODEL, ...], "rounds": int, "seconds": float, "seed": int}
    MODEL:       {"path": PATH, "inputs": NPZ, "input_tensors": [int, ...],
                  "output_tensors": [int, ...], "fresh": bool (whether it keeps a state that no
                  sample may take over from the one before it; not if left out)}
An NPZ of inputs holds in0, in1, ..., [n, ...] real values each, in the order of `input_tensors`;
the one of outputs gets out0, out1, ... in the order of `output_tensors`. A tensor whose first axis
is fixed and not 1 has no batch axis: its samples are whole tensors, [n, first axis, ...].
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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

MODULES = {
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
    "LiteRT": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "TensorFlow": ("tensorflow.lite.python.interpreter", "tensorflow"),
}
"""Module and package of each runtime, the reference first; TensorFlow brings one of its own."""
SHORTEST_SAMPLE_S = 0.002
WARM_UP_S = 0.3
LONGEST_WARM_UP_S = 3.0
BAD_AFFINITY = "affinity: expected"
COUNT_MARK = 0x65707275
"""First argument of the getpriority calls around a counted inference; the kernel refuses it."""
COUNT_CALLER, COUNT_ALL, COUNT_BLOCKS = 1, 2, 3
"""Second argument: which threads count from there on, or that blocks of code do; 0 ends it."""


def load_interpreter(
    module: Any, job: dict[str, Any], model: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """Loads a model and allocates its tensors; returns it with its input and output details."""
    resolvers = module.OpResolverType
    interpreter = module.Interpreter(
        model_path=model["path"],
        num_threads=job["threads"],
        experimental_op_resolver_type=(
            resolvers.AUTO if job["delegates"] else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
        **({"experimental_preserve_all_tensors": True} if job.get("preserve") else {}),
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
    """Sets one sample as the input: a batch of one, or a whole tensor that has no batch axis."""
    for detail, array in zip(details, arrays):
        whole = array.ndim > len(detail["shape"])
        sample = array[row] if whole else array[row : row + 1]
        interpreter.set_tensor(detail["index"], quantize(sample, detail))


def stack(rows: list[Any]) -> Any:
    """Joins one output of all samples to [n, ...], with the axes behind it as they are.

    A first axis of 1, or of a length that differs between samples, is the one of samples.
    """
    samples = [np.asarray(row) for row in rows]
    if len({sample.shape for sample in samples}) == 1 and samples[0].shape[:1] != (1,):
        joined = np.stack(samples)
    else:
        joined = np.concatenate(samples)
    return joined.astype(np.bytes_) if joined.dtype == object else joined


def read_inputs(path: str, details: list[Any]) -> list[Any]:
    """The arrays in0, in1, ... of an .npz."""
    with np.load(path) as archive:
        return [archive[f"in{index}"] for index in range(len(details))]


def save_outputs(module: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Runs every sample, one at a time, and saves the outputs."""
    return run_samples(module, job)[1]


def count(module: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Runs every sample, then once more between two marks."""
    interpreter, result = run_samples(module, job)
    gc.disable()
    marked_invoke(interpreter, job["threads"])
    if job["blocks"]:
        mark(COUNT_BLOCKS)
        interpreter.invoke()
        mark(0)
    return result


def count_each(module: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Runs the first sample of every model twice, the second time between two marks."""
    gc.disable()
    for model in job["models"]:
        interpreter, inputs, _ = load_interpreter(module, job, model)
        feed(interpreter, inputs, read_inputs(model["inputs"], inputs), 0)
        interpreter.invoke()
        marked_invoke(interpreter, job["threads"])
    return {}


def marked_invoke(interpreter: Any, threads: int) -> None:
    """Runs one inference between two marks."""
    gc.collect()
    mark(COUNT_CALLER if threads == 1 else COUNT_ALL)
    interpreter.invoke()
    mark(0)


def mark(counted: int) -> None:
    """Makes a system call that stands out to an emulator and does nothing."""
    with suppress(OSError):
        if sys.platform != "win32":
            os.getpriority(COUNT_MARK, counted)


def run_samples(module: Any, job: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Runs every sample and saves the outputs; returns the interpreter and what to report."""
    model = job["models"][0]
    interpreter, inputs, outputs = load_interpreter(module, job, model)
    arrays = read_inputs(model["inputs"], inputs)
    rows = []
    for row in range(len(arrays[0])):
        if row and model.get("fresh"):
            interpreter, inputs, outputs = load_interpreter(module, job, model)
        feed(interpreter, inputs, arrays, row)
        interpreter.invoke()
        rows.append([dequantize(interpreter.get_tensor(d["index"]), d) for d in outputs])
    stacked = [stack([row[k] for row in rows]) for k in range(len(outputs))]
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
        interpreter, inputs, _ = load_interpreter(module, job, model)
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


ARM_CORES = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
}
"""Part numbers of Arm's cores. Source: arch/arm64/include/asm/cputype.h of Linux 6.6."""


def read_text(path: Path) -> str:
    """A small file of the system, without the zero byte or line end behind it; "" if none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def cpu_name(root: Path = Path("/")) -> str:
    """The processor's name as the system gives it; ARM64 Linux gives part numbers only."""
    lines = read_text(root / "proc/cpuinfo").splitlines()
    fields = [[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]
    names = [value for key, value in fields if key == "model name"]
    if names:
        return names[0]
    parts = sorted({value for key, value in fields if key == "CPU part"})
    cores = [ARM_CORES.get(part, f"ARM part {part}") for part in parts]
    return " and ".join(cores) or platform.processor() or platform.machine()


def governor(root: Path = Path("/")) -> Any:
    """Who sets the clock, such as "performance" or "ondemand"; None where the system hides it."""
    files = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({read_text(path) for path in files} - {""})) or None


def hottest(zones: Any) -> Any:
    """Degrees Celsius of the hottest zone that names the processor, else of any; None if none.

    Takes pairs of a zone's type and its temperature in thousandths, both as text.
    """
    read = []
    for kind, thousandths in zones:
        with suppress(ValueError, OverflowError):
            names_it = any(word in kind.lower() for word in ("cpu", "soc", "pkg"))
            read.append((names_it, int(thousandths) / 1000))
    return max(read)[1] if read else None


def temperature(root: Path = Path("/")) -> Any:
    """The processor's temperature in degrees Celsius; None where the system hides it."""
    folders = root.glob("sys/class/thermal/thermal_zone*")
    return hottest((read_text(folder / "type"), read_text(folder / "temp")) for folder in folders)


def machine(root: Path = Path("/")) -> dict[str, Any]:
    """What this machine is."""
    return {
        "board": read_text(root / "proc/device-tree/model") or None,
        "cpu": cpu_name(root),
        "cores": os.cpu_count(),
        "governor": governor(root),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def runtime_version(name: str) -> Any:
    """The version of a runtime; None if it is not installed."""
    module, package = MODULES[name]
    top = module.split(".", maxsplit=1)[0]
    if find_spec(top) is None:
        return None
    try:
        metadata = import_module("importlib.metadata")  # from Python 3.8 on
        return metadata.version(package)
    except ImportError:
        return getattr(import_module(top), "__version__", "of unknown version")


def describe_machine() -> dict[str, Any]:
    """The machine, and the version by name of every runtime it has."""
    versions = {name: runtime_version(name) for name in MODULES}
    found = {name: version for name, version in versions.items() if version is not None}
    return {**machine(), "runtimes": found, "temperature_c": temperature()}


def set_affinity(wanted: Any) -> Any:
    """Binds this process, and the threads that it starts, to some processors; returns them all.

    Returns None where the system has no such thing.
    """
    read: Any = getattr(os, "sched_getaffinity", None)
    bind: Any = getattr(os, "sched_setaffinity", None)
    if bind is None:
        if wanted:
            raise ValueError(f"{BAD_AFFINITY} a system that binds processes. Received: {wanted}.")
        return None
    known = sorted(read(0))
    if wanted:
        if not set(wanted) <= set(known):
            raise ValueError(f"{BAD_AFFINITY} some of {known}. Received: {wanted}.")
        bind(0, wanted)
    return sorted(read(0))


def work(job: dict[str, Any]) -> dict[str, Any]:
    """Does a job that needs a runtime."""
    affinity = set_affinity(job.get("affinity"))
    before = temperature()
    module = import_module(MODULES[job["runtime"]][0])
    kinds = {"run": save_outputs, "count": count, "count-each": count_each, "time": time_models}
    result = kinds[job["kind"]](module, job)
    return {
        **result,
        "runtime": f"{job['runtime']} {runtime_version(job['runtime'])}",
        "machine": machine(),
        "affinity": affinity,
        "temperature_c": [before, temperature()],
    }


def main() -> None:
    """Does one job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    result = describe_machine() if job["kind"] == "describe" else work(job)
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
