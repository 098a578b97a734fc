"""Runs a .tflite file in TensorFlow Lite Micro, in a process of its own.

    python worker.py JOB.json

TFLite Micro ends the process it runs in when an internal check fails, and it writes its reasons and
the recorded allocations past Python to file descriptor 2; so it runs here and nowhere else.

Job:    {"result": PATH, "outputs": NPZ, "models": [MODEL], "arena_bytes": int, "compared": PATH}
MODEL:  {"path": PATH, "inputs": NPZ, "input_places": [int, ...], "output_places": [int, ...],
         "fresh": bool}
An NPZ of inputs holds in0, in1, ..., [n, ...] real values each, for the inputs at those places of
the file's own list; the one of outputs gets out0, out1, ... in the order of `output_places`.

`fresh` is whether the model keeps a state that no sample may take over from the one before it.
`compared` may be left out; it is a file with the same inputs, whose time is compared.

Result: {"runtime": str, "unregistered": [str, ...], "output_scales": [float, ...],
         "allocations": {name: bytes, ...}, "time_ratio": float}; the last is the time of `compared`
         over that of the model, and 0 without one. No more than the first two, and no outputs, if
         an operator is not registered.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from tflite_micro import runtime
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

DISTRIBUTION = "tflite-micro"
PROBE_ARENA = 1 << 16
LARGEST_ARENA = 1 << 30
ROUND_S = 0.03
TIMED_ROUNDS = 7
END = "PLACEHOLDER_FOR_GREATER_OP_CODES"
"""A code that no operator has."""
_UNKNOWN = re.compile(r"Failed to get registration from op code (\w+)")
_SHORT = re.compile(r"missing: \d+|Failed to resize buffer|too small", re.IGNORECASE)
_TOTAL = re.compile(r"Arena allocation (\w+) (\d+) bytes")
_PART = re.compile(r"'([^']+)' used (\d+) bytes")


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Collects what is written to file descriptor 2; the list holds it when the block has ended."""
    said: list[str] = []
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(real, 2)
            os.close(real)
            file.seek(0)
            said.append(file.read().decode("utf-8", "replace"))


def try_loading(model: bytes, arena_bytes: int) -> tuple[Any, str]:
    """Loads a model into an arena; returns the interpreter, None if it was refused, and why."""
    interpreter = None
    with captured_stderr() as said:
        try:
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_bytes)
        except RuntimeError as error:
            os.write(2, str(error).encode())
    return interpreter, " ".join(said[0].split())


def load_in_fitting_arena(model: bytes, arena_bytes: int) -> Any:
    """Loads a model, in a larger arena each time it does not fit.

    Raises RuntimeError with what TFLite Micro said if it refuses the model.
    """
    while True:
        interpreter, said = try_loading(model, arena_bytes)
        if interpreter is not None:
            return interpreter
        if not _SHORT.search(said) or arena_bytes >= LARGEST_ARENA:
            raise RuntimeError(said or "TFLite Micro refuses it without a reason")
        arena_bytes *= 4


def unregistered(model: bytes) -> list[str]:
    """The operators of a model that TFLite Micro does not register, by name."""
    graph = runtime.convert_bytearray_to_object(model)
    operators = {
        operator.opcodeIndex: operator
        for subgraph in graph.subgraphs
        for operator in subgraph.operators or []
    }
    names = [
        operator_name(graph.operatorCodes[index])
        for index, operator in sorted(operators.items())
        if not registered(graph.operatorCodes[index], operator)
    ]
    return list(dict.fromkeys(names))


def registered(code: Any, operator: Any) -> bool:
    """Whether TFLite Micro has an operator.

    It looks all operators of a model up before it prepares any, and stops at the first that it does
    not have. The model asked about has this one, and then one that does not exist, so that it is
    refused before anything is prepared.
    """
    number = getattr(schema.BuiltinOperator, END)
    end = schema.OperatorCodeT(deprecatedBuiltinCode=number, builtinCode=number, version=1)
    subgraph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[])
    subgraph.operators = [
        schema.OperatorT(
            opcodeIndex=0,
            inputs=[],
            outputs=[],
            builtinOptions=operator.builtinOptions,
            builtinOptionsType=operator.builtinOptionsType,
        ),
        schema.OperatorT(opcodeIndex=1, inputs=[], outputs=[]),
    ]
    model = schema.ModelT(
        version=3, operatorCodes=[code, end], subgraphs=[subgraph], buffers=[schema.BufferT()]
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    unknown = _UNKNOWN.search(try_loading(bytes(builder.Output()), PROBE_ARENA)[1])
    return unknown is None or unknown[1] == END


def operator_name(code: Any) -> str:
    """The name of a builtin operator, or the code of a custom one."""
    if code.customCode:
        return str(code.customCode.decode("utf-8", "replace"))
    number = runtime.get_builtin_code_from_operator_code(code)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    return str(names.get(number, f"BUILTIN_{number}"))


def allocations(interpreter: Any) -> dict[str, int]:
    """What the recording allocator says of the arena, in bytes, by its own names."""
    with captured_stderr() as said:
        interpreter.print_allocations()
    found = _TOTAL.findall(said[0]) + _PART.findall(said[0])
    return {name: int(number) for name, number in found}


def scale_of(detail: dict[str, Any]) -> float:
    """The scale of an input or output, 0 where it is not quantized."""
    scales = detail["quantization_parameters"]["scales"]
    return float(scales[0]) if len(scales) else 0.0


def zero_point_of(detail: dict[str, Any]) -> int:
    """The zero point of an input or output."""
    points = detail["quantization_parameters"]["zero_points"]
    return int(points[0]) if len(points) else 0


def quantize_input(values: Any, detail: dict[str, Any]) -> Any:
    """Real values as the tensor holds them: rounded and clipped where it is quantized."""
    dtype, scale = detail["dtype"], scale_of(detail)
    if scale and np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        stored = np.round(np.asarray(values, np.float64) / scale) + zero_point_of(detail)
        values = np.clip(stored, limits.min, limits.max)
    return np.asarray(values).astype(dtype).reshape(detail["shape"])


def dequantize_output(stored: Any, detail: dict[str, Any]) -> Any:
    """What a tensor holds, as real values."""
    scale = scale_of(detail)
    if scale and np.issubdtype(stored.dtype, np.integer):
        return ((stored.astype(np.float64) - zero_point_of(detail)) * scale).astype(np.float32)
    return stored


def run_every_sample(interpreter: Any, content: bytes, job: dict[str, Any]) -> list[float]:
    """Runs every sample, one at a time, saves the outputs and returns their scales.

    Of a file that keeps a state, `content`, each sample after the first gets an interpreter of its
    own.
    """
    model = job["models"][0]
    inputs = [(place, interpreter.get_input_details(place)) for place in model["input_places"]]
    outputs = [(place, interpreter.get_output_details(place)) for place in model["output_places"]]
    with np.load(model["inputs"]) as archive:
        arrays = [archive[f"in{index}"] for index in range(len(inputs))]
    rows = []
    for row in range(len(arrays[0])):
        if row and model["fresh"]:
            interpreter = load_in_fitting_arena(content, job["arena_bytes"])
        for (place, detail), array in zip(inputs, arrays, strict=True):
            interpreter.set_input(quantize_input(array[row], detail), place)
        interpreter.invoke()
        rows.append([dequantize_output(interpreter.get_output(place), d) for place, d in outputs])
    stacked = [np.stack([row[k] for row in rows]) for k in range(len(outputs))]
    # A first axis of 1 is the one of samples; outputs without it get one in front.
    stacked = [array[:, 0] if array.shape[1:2] == (1,) else array for array in stacked]
    np.savez(job["outputs"], **{f"out{k}": array for k, array in enumerate(stacked)})
    return [scale_of(detail) for _, detail in outputs]


def time_ratio(model: bytes, compared: bytes, arena_bytes: int) -> float:
    """The time of one inference of `compared` over that of `model`: the best of rounds in turn."""
    both = [load_in_fitting_arena(each, arena_bytes) for each in (model, compared)]
    counts = [max(1, int(ROUND_S / seconds_of(each, 1))) for each in both]
    times = [
        [seconds_of(each, count) for each, count in zip(both, counts, strict=True)]
        for _ in range(TIMED_ROUNDS)
    ]
    best, other = (min(column) for column in zip(*times, strict=True))
    return float(other / best)


def seconds_of(interpreter: Any, count: int) -> float:
    """Seconds of one inference, by the average of `count`; inputs are whatever is there."""
    start = time.perf_counter()
    for _ in range(count):
        interpreter.invoke()
    return (time.perf_counter() - start) / count


def do_job() -> None:
    """Does one job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = Path(job["models"][0]["path"]).read_bytes()
    result: dict[str, Any] = {
        "runtime": f"TFLM {version(DISTRIBUTION)}",
        "unregistered": unregistered(model),
    }
    if not result["unregistered"]:
        interpreter = load_in_fitting_arena(model, job["arena_bytes"])
        result["output_scales"] = run_every_sample(interpreter, model, job)
        result["allocations"] = allocations(interpreter)
        compared = job.get("compared")
        result["time_ratio"] = (
            time_ratio(model, Path(compared).read_bytes(), job["arena_bytes"]) if compared else 0.0
        )
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    do_job()
