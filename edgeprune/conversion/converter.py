"""TensorFlow's converter on a SavedModel folder, in this process or in a child of its own.

The converter is native code that some models crash. As a program this module is that child:

    python -m edgeprune.conversion.converter FOLDER

FOLDER holds job.json, which names the SavedModel; it gets model.tflite or failed.txt.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgeprune.core.terms import Numerics
from edgeprune.targets.child import WorkerError, run_child

TIME_LIMIT_S = 3600.0
"""Time limit of a conversion in a child, in seconds; large int8 models take minutes."""


@dataclass(frozen=True)
class Conversion:
    """How to convert."""

    numerics: Numerics
    """Any but int8, which `int8.quantize` makes of a float32 file."""
    per_channel_dense: bool
    signature: str | None = None
    """The signature that is converted; None where there is only one."""
    tags: tuple[str, ...] = ()
    """Tags of its graph; those of inference if empty."""


class ConversionError(Exception):
    """The converter refused a model, or crashed; the message is its own."""


def convert_saved_model(folder: Path, conversion: Conversion) -> bytes:
    """Converts a SavedModel; returns the bytes of the .tflite file.

    Raises:
      Exception: whatever the converter raises.
    """
    signatures = None if conversion.signature is None else [conversion.signature]
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder), signature_keys=signatures, tags=set(conversion.tags) or None
    )
    _configure(converter, conversion)
    content: bytes = converter.convert()
    return content


def convert_in_child(folder: Path, conversion: Conversion, work: Path | None = None) -> bytes:
    """Does as `convert_saved_model` in a child process, which the converter may crash.

    Args:
      folder: the SavedModel.
      conversion: how.
      work: a folder for the job and what comes of it; that of the SavedModel if None.

    Raises:
      ConversionError: the converter refused the model, or crashed.
    """
    place = folder if work is None else work
    job = {"saved_model": str(folder.absolute()), **asdict(conversion)}
    (place / "job.json").write_text(json.dumps(job), encoding="utf-8")
    paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "edgeprune.conversion.converter", str(place)]
    try:
        run_child(command, TIME_LIMIT_S, environment=environment)
    except WorkerError as error:
        raise ConversionError(str(error)) from error
    failed = place / "failed.txt"
    if failed.exists():
        raise ConversionError(failed.read_text(encoding="utf-8"))
    return (place / "model.tflite").read_bytes()


def _configure(converter: Any, conversion: Conversion) -> None:
    # Without it TensorFlow 2.20 writes FULLY_CONNECTED version 12 for dynamic range, which
    # tflite-runtime 2.14.0 does not have; some sparse kernels read one scale per tensor only.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = (
        not conversion.per_channel_dense or conversion.numerics == "dynamic-range"
    )
    match conversion.numerics:
        case "float32":
            return
        case "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        case "float16-arithmetic":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
            converter.target_spec._experimental_supported_accumulation_type = tf.float16
        case "dynamic-range":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]


def main(folder: Path) -> None:
    """Converts what a folder holds and leaves the result there."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        content = convert_saved_model(Path(job.pop("saved_model")), Conversion(**job))
    except Exception as error:  # noqa: BLE001  the parent raises it
        (folder / "failed.txt").write_text(str(error), encoding="utf-8")
    else:
        (folder / "model.tflite").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
