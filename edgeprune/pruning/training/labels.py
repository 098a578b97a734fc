"""Labels: whether they are what a loss that goes without saying takes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, ModelError
from edgeprune.keras_model.layers import Model


def check_labels(model: Model, data: Data) -> None:
    """Checks that labels are what sparse categorical cross-entropy takes.

    Raises:
      ModelError: the model has several outputs.
      DataError: not one whole number per sample, or one outside of the model's classes.
    """
    shapes = keras.tree.flatten(_output_shapes(model, data))
    if len(shapes) != 1:
        raise ModelError(
            f"{model.name}: expected a compiled model, since one with {len(shapes)} outputs has "
            "no loss that goes without saying. Compile it with its losses before saving."
        )
    given = np.asarray(data.y)
    labels = given.reshape(len(data), -1)
    classes = shapes[0].shape[-1]
    whole = bool((labels == np.floor(labels)).all())
    if labels.shape[1] != 1 or not whole or labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"`y`: expected one whole number from 0 to {classes - 1} for each sample, as the "
            f"model has {classes} outputs. Received: shape {list(given.shape)}, values from "
            f"{labels.min()} to {labels.max()}. For other labels compile the model with their "
            "loss before saving."
        )


def _output_shapes(model: Model, data: Data) -> Any:
    """The outputs of a model as tensors of shape and type only."""
    inputs = [keras.KerasTensor((1, *array.shape[1:]), str(array.dtype)) for array in data.x]
    return model.compute_output_spec(inputs if len(inputs) > 1 else inputs[0])
