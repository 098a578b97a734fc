"""The order of a file's inputs, which the converter chooses, beside that of its Keras model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeprune.core.arrays import Array
from edgeprune.core.data import signature_name
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.signature import signature_specs


def in_file_order(model: Any, path: Path) -> Callable[[list[Array]], list[Array]]:
    """What puts one array per input of a model into the order that its file's signature has.

    Args:
      model: a built Keras model.
      path: a .tflite file that was made of it.
    """
    from edgeprune.keras_model.interface import input_specs

    names = [signature_name(spec.name) for spec in input_specs(model)]
    order = [spec.name for spec in signature_specs(read(path))]
    return lambda arrays: [arrays[names.index(name)] for name in order]
