"""The model that is planned for, as TensorFlow's converter writes it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias

from edgeprune.keras_model.layers import Model
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft

Converted: TypeAlias = Callable[[], Draft]
"""Gives the model as a float32 file; converts it when it is called first."""


def converted(model: Model, profile: DeviceProfile) -> Converted:
    """What converts a model once, when somebody asks.

    It raises what `convert_to_draft` raises.
    """
    return cache(lambda: convert_to_draft(model, profile))


def convert_to_draft(model: Model, profile: DeviceProfile) -> Draft:
    """A model as a float32 file.

    Raises:
      ModelError: as `from_keras.convert`.
    """
    from edgeprune.conversion.from_keras import convert  # imports TensorFlow

    content = convert(model, profile, "float32")
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        return tflite_draft.load(path)
