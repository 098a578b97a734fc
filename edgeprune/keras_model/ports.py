"""What samples a Keras model takes."""

from __future__ import annotations

import keras

from edgeprune.core.data import Ports
from edgeprune.keras_model.interface import output_names
from edgeprune.keras_model.layers import Model
from edgeprune.keras_model.preprocessing import inputs_of


def ports_of(model: Model) -> Ports:
    """The inputs and outputs of a model; without inputs where it does not declare them."""
    inputs = inputs_of(model) if getattr(model, "inputs", None) else ()
    return Ports(inputs, output_names(model), _scores_of(model))


def _scores_of(model: Model) -> int | None:
    """The length of a single output `[n, scores]`; None for outputs of other forms."""
    shapes = [
        tuple(part.shape) for part in keras.tree.flatten(getattr(model, "outputs", None) or [])
    ]
    return shapes[0][1] if len(shapes) == 1 and len(shapes[0]) == 2 else None
