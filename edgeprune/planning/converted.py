"""The model that is planned for, as TensorFlow's converter writes it, or as the file that it is."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.errors import PlanError
from edgeprune.core.terms import Activation
from edgeprune.keras_model.layers import Model
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft

if TYPE_CHECKING:
    from edgeprune.conversion.lift.lifted import Lifted


class Converted:
    """The float32 file of a model that is planned for, made when somebody asks.

    A model that was lifted is not converted: it is its file that is rewritten and run.

    Args:
      model: a built Keras model.
      profile: the device.
      lifted: what the model was lifted from, if it was.
    """

    def __init__(self, model: Model, profile: DeviceProfile, lifted: Lifted | None = None) -> None:
        self._model, self._profile, self._lifted = model, profile, lifted

    @cached_property
    def draft(self) -> Draft:
        """The file.

        Raises:
          ModelError: as `convert_to_draft`.
        """
        if self._lifted is not None:
            return tflite_draft.load(self._lifted.given)
        return convert_to_draft(self._model, self._profile)

    def of_smaller(self, model: Model) -> Draft:
        """The file of what is left of the model without some channels.

        Raises:
          EdgepruneError: as `convert_to_draft`; of a lifted model, as `with_weights_of`.
        """
        if self._lifted is None:
            return convert_to_draft(model, self._profile)
        from edgeprune.conversion.lift.write_back.write import with_weights_of  # imports Keras

        return with_weights_of(self._lifted, model)


def require_writable(lifted: Lifted | None, padding: str, activation: Activation) -> None:
    """Checks that a plan for a file only asks for what can be written back into it.

    Raises:
      PlanError: it asks for another padding or other activations.
    """
    if lifted is None or (padding == "keep" and activation == "keep"):
        return
    asked = f"--padding {padding}" if padding != "keep" else f"--activation {activation}"
    raise PlanError(
        f"{lifted.given}: expected a plan of weights alone, which are written back into the file. "
        f"Received: {asked}. Leave it out; `export` makes padding symmetric where that is exact."
    )


def convert_to_draft(model: Model, profile: DeviceProfile) -> Draft:
    """A model as a float32 file, whose operators are those that are planned for.

    Raises:
      ModelError: as `from_keras.convert`.
    """
    from edgeprune.conversion.from_keras import convert  # imports TensorFlow

    content = convert(model, profile, "float32")
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        return tflite_draft.load(path)
