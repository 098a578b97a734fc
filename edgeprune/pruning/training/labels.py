"""Checks that labels fit the default loss, sparse categorical cross-entropy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, ModelError
from edgeprune.keras_model.layers import Model


def check_labels(model: Model, data: Data) -> None:
    """Checks that labels fit sparse categorical cross-entropy.

    Args:
      model: a built Keras model that is not compiled.
      data: samples with labels.

    Raises:
      ModelError: the model has several outputs.
      DataError: the labels are not one integer per sample from 0 to the number of classes - 1.
    """
    shapes = keras.tree.flatten(_output_shapes(model, data))
    if len(shapes) != 1:
        raise ModelError(
            f"{model.name}: expected a compiled model, since one with {len(shapes)} outputs has "
            "no default loss. Compile it with its losses before saving."
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
    """The outputs of a model as symbolic tensors."""
    inputs = [keras.KerasTensor((1, *array.shape[1:]), str(array.dtype)) for array in data.x]
    return model.compute_output_spec(inputs if len(inputs) > 1 else inputs[0])
