"""The model that is planned for, as TensorFlow's converter writes it, or as the file that it is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edgeprune.core.errors import PlanError
from edgeprune.core.terms import Activation
from edgeprune.keras_model.layers import Model
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft

if TYPE_CHECKING:
    from edgeprune.conversion.lift.lifted import Lifted

Converted: TypeAlias = Callable[[], Draft]
"""Gives the model as a float32 file; converts it when it is called first."""


def converted(model: Model, profile: DeviceProfile, lifted: Lifted | None = None) -> Converted:
    """What converts a model once, when somebody asks.

    A model that was lifted is not converted: it is its file that is rewritten and run.

    It raises what `convert_to_draft` raises.
    """
    if lifted is not None:
        return cache(lambda: tflite_draft.load(lifted.path))
    return cache(lambda: convert_to_draft(model, profile))


def require_writable(lifted: Lifted | None, padding: str, activation: Activation) -> None:
    """Checks that a plan for a file only asks for what can be written back into it.

    Raises:
      PlanError: it asks for another padding or other activations.
    """
    if lifted is None or (padding == "keep" and activation == "keep"):
        return
    asked = f"--padding {padding}" if padding != "keep" else f"--activation {activation}"
    raise PlanError(
        f"{lifted.path}: expected a plan of weights alone, which are written back into the file. "
        f"Received: {asked}. Leave it out; `export` makes padding symmetric where that is exact."
    )


def convert_to_draft(model: Model, profile: DeviceProfile) -> Draft:
    """A model as a float32 file, whose operators are those that are planned for.

    Raises:
      ModelError: as `from_keras.convert`.
    """
    from edgeprune.conversion.from_keras import convert  # imports TensorFlow
    from edgeprune.conversion.lift.saturation import unsaturated

    content = convert(unsaturated(model), profile, "float32")
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        return tflite_draft.load(path)
