"""Runs .tflite files on request, for as long as its standard input stays open.

    python serving_worker.py

A request is a line of JSON on standard input, and behind it `size` bytes of an .npz with in0, in1,
..., one array `[samples, ...]` of real values per input of the file, in its order:

    {"path": PATH, "samples": int, "fresh": bool, "size": int}

`fresh` is whether the file keeps a state that no sample may take over from the one before it. A
request of 0 samples only loads the file. The answer on standard output has the same form: a line
{"size": int} and an .npz with out0, out1, ..., or {"size": 0, "error": the runtime's message}.
"""

from __future__ import annotations

import io
import json
import os
import queue
import sys
import threading
from typing import Any, BinaryIO

import numpy as np
from ai_edge_litert import interpreter as litert

from edgeprune.targets.worker import dequantize, quantize


class Served:
    """The files that were asked for so far, loaded."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def answer(self, request: dict[str, Any], arrays: list[Any]) -> list[Any]:
        """Runs a file on samples, one by one; returns one array `[samples, ...]` per output."""
        path, rows = request["path"], []
        if path not in self._loaded:
            self._loaded[path] = load(path)
        for row in range(request["samples"]):
            if request["fresh"] and row:
                self._loaded[path] = load(path)
            rows.append(run(self._loaded[path], [array[row] for array in arrays]))
        if request["fresh"] and rows:
            del self._loaded[path]
        return [np.stack(made) for made in zip(*rows, strict=True)]


def load(path: str) -> Any:
    """Loads a file for its plain kernels."""
    interpreter = litert.Interpreter(
        model_path=path,
        num_threads=1,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


def run(interpreter: Any, sample: list[Any]) -> list[Any]:
    """Runs one sample: real values in, real values out."""
    for detail, values in zip(interpreter.get_input_details(), sample, strict=True):
        interpreter.set_tensor(detail["index"], quantize(values, detail))
    interpreter.invoke()
    return [
        np.array(dequantize(interpreter.get_tensor(detail["index"]), detail))
        for detail in interpreter.get_output_details()
    ]


def answered(served: Served, request: dict[str, Any], content: bytes) -> bytes:
    """The answer to a request."""
    try:
        with np.load(io.BytesIO(content)) as archive:
            arrays = [archive[f"in{index}"] for index in range(len(archive.files))]
        made = served.answer(request, arrays)
    except (RuntimeError, ValueError, TypeError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        return json.dumps({"size": 0, "error": message}).encode() + b"\n"
    archive = io.BytesIO()
    np.savez(archive, **{f"out{index}": array for index, array in enumerate(made)})
    head = json.dumps({"size": archive.tell()}).encode() + b"\n"
    return head + archive.getvalue()


def read_requests(requests: BinaryIO, waiting: queue.SimpleQueue[tuple[Any, bytes]]) -> None:
    """Hands requests on until nobody can ask any more; then it ends the process.

    An operator that never ends would outlive who asked for it.
    """
    for line in iter(requests.readline, b""):
        request = json.loads(line)
        waiting.put((request, requests.read(request["size"])))
    os._exit(0)


def main(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests until there are no more."""
    served = Served()
    waiting: queue.SimpleQueue[tuple[Any, bytes]] = queue.SimpleQueue()
    threading.Thread(target=read_requests, args=(requests, waiting), daemon=True).start()
    while True:
        answers.write(answered(served, *waiting.get()))
        answers.flush()


if __name__ == "__main__":
    # What a runtime prints must not end up between the answers.
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    main(sys.stdin.buffer, own)
