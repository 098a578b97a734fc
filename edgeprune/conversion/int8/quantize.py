"""TensorFlow's quantizer on a float file with ranges that are given, here or in a child process.

The quantizer is native code that some models crash. As a program this module is that child:

    python -m edgeprune.conversion.int8.quantize FOLDER

FOLDER holds job.json, samples.npz and one or several float files float0.tflite, ...; it gets
int80.tflite, ... or failed.txt.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.optimize.calibrator import Calibrator

from edgeprune.conversion.int8.child import launcher
from edgeprune.conversion.int8.ranges import Range, Ranges
from edgeprune.core.arrays import Array
from edgeprune.targets.child import WorkerError, run_child
from edgeprune.tflite.format import draft as tflite_draft

TIME_LIMIT_S = 3600.0
"""Time limit in a child, in seconds; large models take minutes."""


class QuantizerError(Exception):
    """The quantizer refused a file, or crashed; the message is its own."""


def quantize(
    floating: bytes,
    ranges: Ranges,
    *,
    per_channel_dense: bool,
    samples: Mapping[str, Array] | None = None,
) -> bytes:
    """The int8 file of a float file: int8 inputs and outputs, weights per channel.

    Operators that pass values on as they are, such as a padding or a maximum, take over the range
    of what they read, and a constant gets that of its values, whatever `ranges` says.

    Args:
      floating: a float32 file.
      ranges: by the name of the tensor; zero is put into each, so that it can be told exactly.
        A tensor without one stays float, with the operators around it.
      per_channel_dense: whether FULLY_CONNECTED weights have a scale per output, or one.
      samples: calibration data `[n, ...]` by the input's name in the signature, for the bodies of
        loops and branches: they run inside an operator, where TensorFlow's calibrator alone sees
        their values. Without it they stay float.

    Raises:
      Exception: whatever the quantizer raises.
    """
    known = floating if samples is None else _with_ranges_of_loops(floating, samples)
    return _joined(
        mlir_quantize(
            with_ranges(known, ranges),
            input_data_type=tf.int8,
            output_data_type=tf.int8,
            disable_per_channel_for_dense_layers=not per_channel_dense,
        )
    )


def with_ranges(floating: bytes, ranges: Ranges) -> bytes:
    """A float file that says the ranges of its tensors, as TensorFlow's calibrator writes them."""
    draft = tflite_draft.from_bytes(floating, Path("float.tflite"))
    stored = draft.model.subgraphs[0].tensors
    for tensor in draft.graph.tensors:
        found = ranges.get(tensor.name)
        if found is not None:
            stored[tensor.index].quantization = schema.QuantizationParametersT(
                min=np.array([min(found.low, 0.0)], np.float32),
                max=np.array([max(found.high, 0.0)], np.float32),
            )
    return bytes(tflite_draft.pack(draft.model))


def _with_ranges_of_loops(floating: bytes, samples: Mapping[str, Array]) -> bytes:
    """A float file of several subgraphs, with ranges by TensorFlow's calibrator."""
    if len(tflite_draft.from_bytes(floating, Path("float.tflite")).graph.subgraphs) == 1:
        return floating
    count = min(map(len, samples.values()))
    rows = ({name: array[k : k + 1] for name, array in samples.items()} for k in range(count))
    with warnings.catch_warnings():
        # It calibrates with an interpreter that TensorFlow itself calls deprecated.
        warnings.simplefilter("ignore")
        calibrated: bytes = Calibrator(floating).calibrate(lambda: rows)
    return calibrated


def quantize_in_child(
    files: Sequence[tuple[bytes, Ranges]],
    *,
    per_channel_dense: bool,
    samples: Mapping[str, Array] | None = None,
) -> list[bytes]:
    """Does as `quantize` with several files in one child process, which the quantizer may crash.

    Raises:
      QuantizerError: the quantizer refused a file, or crashed.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        folder, ranges = Path(name), []
        for number, (floating, given) in enumerate(files):
            (folder / f"float{number}.tflite").write_bytes(floating)
            ranges.append({tensor: [found.low, found.high] for tensor, found in given.items()})
        job = {"ranges": ranges, "per_channel_dense": per_channel_dense}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        np.savez(folder / "samples.npz", **(samples or {}))
        starter = launcher()
        command = [*starter.command, "-m", "edgeprune.conversion.int8.quantize", name]
        try:
            run_child(command, TIME_LIMIT_S, environment=starter.variables())
        except WorkerError as error:
            raise QuantizerError(str(error)) from error
        failed = folder / "failed.txt"
        if failed.exists():
            raise QuantizerError(failed.read_text(encoding="utf-8"))
        return [(folder / f"int8{number}.tflite").read_bytes() for number in range(len(files))]


def _joined(content: bytes) -> bytes:
    """The same file with equal constants stored once, as the converter leaves files."""
    draft = tflite_draft.from_bytes(content, Path("int8.tflite"))
    buffers, first = draft.model.buffers, dict[bytes, int]()
    for subgraph in draft.model.subgraphs:
        for tensor in subgraph.tensors:
            data = buffers[tensor.buffer].data
            if data is None or not len(data) or tensor.isVariable:
                continue
            kept = first.setdefault(bytes(data), tensor.buffer)
            if kept != tensor.buffer:
                buffers[tensor.buffer].data, tensor.buffer = None, kept
    return bytes(tflite_draft.pack(draft.model))


def main(folder: Path) -> None:
    """Quantizes what a folder holds and leaves the results there."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "samples.npz") as archive:
        samples = dict(archive) or None
    dense = job["per_channel_dense"]
    try:
        for number, given in enumerate(job["ranges"]):
            ranges = {name: Range(*ends) for name, ends in given.items()}
            floating = (folder / f"float{number}.tflite").read_bytes()
            content = quantize(floating, ranges, per_channel_dense=dense, samples=samples)
            (folder / f"int8{number}.tflite").write_bytes(content)
    except Exception as error:  # noqa: BLE001  the parent raises it
        (folder / "failed.txt").write_text(str(error), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
