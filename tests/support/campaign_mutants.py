"""Mutated .tflite files: readers may refuse them, but never fail or write another function.

A case is a file of `sources` with damaged bytes (`tflite_fuzz`) or with changed fields
(`tflite_edits`). All readers run in a child with limits of time and memory; what they wrote is run
by both real runtimes beside the file itself.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edgeprune.tflite.store_sparsely import encode_file
from tests.support import runtime_judge, tflite_fuzz
from tests.support.campaign_outcome import LONGEST_S, MOST_BYTES, Outcome
from tests.support.gate_networks import FAMILY
from tests.support.runtime_judge import Array
from tests.support.small_nets import chain, two_of_four
from tests.support.tflite_builder import convolution_net, dense_net, prune
from tests.support.tflite_edits import edit

assert sys.platform == "linux"

KILLED_AFTER_S = 60.0
TOLERANCE = 1e-3
"""Largest difference beside the largest output: sparse kernels add in another order."""
Action = Callable[[], object]


def sources(folder: Path) -> list[Path]:
    """Writes the files that are mutated, dense and sparse, float and int8; in a fixed order."""
    rng = np.random.default_rng(0)
    floats = rng.standard_normal((24, 64)).astype(np.float32)
    integers = rng.integers(-127, 128, (24, 64)).astype(np.int8)
    kernel = rng.integers(-127, 128, (32, 1, 1, 48)).astype(np.int8)
    layers = [
        ("CONV_2D", two_of_four((8, 3, 3, 8))),
        ("DEPTHWISE_CONV_2D", np.ones((1, 3, 3, 8), np.int8)),
    ]
    dense = [
        dense_net(folder / "float", prune(floats, 0.8, (1, 4))),
        dense_net(folder / "float16", prune(floats, 0.9, (1, 1)), "float16"),
        dense_net(folder / "int8", prune(integers, 0.8, (1, 16)), "int8", per_channel=True),
        convolution_net(folder / "conv", prune(kernel, 0.9, (2, 1, 1, 1))),
        chain(folder / "chain", layers, 8),
        *(network.save(folder / network.name) for network in FAMILY[::12]),
    ]
    encoded = [path.with_name(f"{path.name}_encoded") for path in dense]
    for source, output in zip(dense, encoded, strict=True):
        encode_file(source, tflite_fuzz.RULES, output)
    return dense + encoded


def cases(folder: Path, seed: int, numbers: Sequence[int]) -> Iterator[Outcome]:
    """Runs cases one behind the other; yields how each ended."""
    contents = [path.read_bytes() for path in sources(folder)]
    for number in numbers:
        path = folder / "mutant.tflite"
        path.write_bytes(mutant(contents, seed, number))
        yield judge(path, number)


def mutant(contents: Sequence[bytes], seed: int, number: int) -> bytes:
    """The file of a case."""
    content = contents[number % len(contents)]
    change = edit if number // len(contents) % 2 else tflite_fuzz.damage
    return change(content, seed * 1_000_003 + number)


def judge(path: Path, number: int) -> Outcome:
    """Puts a file through all readers, and what they write through both runtimes."""
    outputs = [path.with_suffix(".encoded"), path.with_suffix(".densified")]
    for output in outputs:
        output.unlink(missing_ok=True)
    said = path.with_suffix(".said")
    said.write_text("{}")
    faults = list(_limited(lambda: said.write_text(json.dumps(_used(path, outputs[0])))))
    answer = json.loads(said.read_text())
    if "traceback" in answer:
        faults.append(("tracebacks", answer["traceback"][-900:]))
    written = [output for output in outputs if output.exists()]
    notes = ["accepted" if answer.get("accepted") else "refused"]
    if written:
        note, wrong = compare(path, written)
        notes.append(note)
        faults.extend(("wrong outputs", words) for words in wrong)
    return Outcome(number, tuple(faults), tuple(notes))


def _used(path: Path, scratch: Path) -> dict[str, object]:
    try:
        return {"accepted": tflite_fuzz.use(path, scratch)}
    except (Exception, MemoryError):  # noqa: BLE001  whatever escapes is what is looked for
        return {"traceback": traceback.format_exc()}


def _limited(action: Action) -> Iterator[tuple[str, str]]:
    """Runs an action in a fork of this process; yields the limits that it broke."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        limit = tflite_fuzz.ADDRESS_SPACE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        action()
        os._exit(0)
    end = time.monotonic() + KILLED_AFTER_S
    while not (ended := os.wait4(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    _, status, usage = ended
    seconds = usage.ru_utime + usage.ru_stime
    if seconds > LONGEST_S or time.monotonic() > end:
        yield "hangs", f"{seconds:.1f} s of processor time"
    elif os.waitstatus_to_exitcode(status):
        yield "tracebacks", f"the process ended with {os.waitstatus_to_exitcode(status)}"
    if usage.ru_maxrss << 10 > MOST_BYTES:
        yield "over 1 GB", f"{usage.ru_maxrss >> 10} MiB"


def compare(path: Path, written: Sequence[Path]) -> tuple[str, list[str]]:
    """Runs a file and those made of it; returns what to count, and what is wrong.

    A file that runs nowhere, not twice alike or to infinite numbers judges nothing.
    """
    judged, wrong = False, []
    for runtime in runtime_judge.RUNTIMES:
        try:
            wanted = _right(runtime, path)
        except (RuntimeError, subprocess.TimeoutExpired):
            continue
        if wanted is None:
            continue
        judged = True
        for output in written:
            difference = _difference(runtime, output, wanted)
            if difference:
                wrong.append(f"{runtime}: {output.suffix[1:]} {difference}")
    return ("judged" if judged else "not judged"), wrong


def _right(runtime: str, path: Path) -> list[Array] | None:
    first, second = runtime_judge.outputs(runtime, [path, path], path.parent)
    same = len(first) == len(second) and all(map(np.array_equal, first, second))
    return first if same and all(np.isfinite(array).all() for array in first) else None


def _difference(runtime: str, output: Path, wanted: Sequence[Array]) -> str:
    """How an output differs from what is wanted, in words; empty if it does not."""
    try:
        (found,) = runtime_judge.outputs(runtime, [output], output.parent)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return f"does not run: {str(error)[-300:]}"
    if [array.shape for array in found] != [array.shape for array in wanted]:
        return "has outputs of other shapes"
    for got, want in zip(found, wanted, strict=True):
        if not want.size:
            continue
        apart = np.abs(got.astype(np.float64) - want.astype(np.float64)).max()
        largest = max(np.abs(want.astype(np.float64)).max(), 1e-6)
        if not apart <= TOLERANCE * largest:
            return f"differs by {apart:g} of {largest:g}"
    return ""
