"""The loss of training: named, the one that the model was compiled with, or a default loss."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np

from edgeprune.core.data import Data
from edgeprune.core.errors import InputError
from edgeprune.core.sources import Table
from edgeprune.keras_model.interface import ends_in_sigmoid, ends_in_softmax, softmax_ends
from edgeprune.keras_model.layers import Model

Loss = Any
"""A Keras loss: an instance, or a function of labels and outputs."""


def has_own_loss(model: Model) -> bool:
    """Whether a model is compiled with a loss."""
    return bool(model.compiled and model.loss is not None)


def replacing_loss(model: Model, data: Data | Table | None, name: str | None) -> Loss | None:
    """The loss to train with in place of the model's own; None where that is kept.

    Without a name, a model that has no loss of its own gets binary cross-entropy if its one output
    is a sigmoid and the labels are 0 and 1, else sparse categorical cross-entropy.

    Args:
      model: a built Keras model.
      data: samples, or None where their labels cannot be looked at.
      name: of a Keras loss, or None.

    Raises:
      InputError: Keras has no loss of that name.
    """
    if name is not None:
        return _named(name, model)
    if has_own_loss(model):
        return None
    if data is not None and _is_binary(model, data):
        return keras.losses.BinaryCrossentropy()
    return keras.losses.SparseCategoricalCrossentropy(from_logits=not ends_in_softmax(model))


def _named(name: str, model: Model) -> Loss:
    """A Keras loss by its name; a cross-entropy takes logits where the model gives them."""
    try:
        found = keras.losses.get(name)
    except ValueError as error:
        raise InputError(
            "`loss`: expected the name of a Keras loss, such as mean_squared_error, "
            f"sparse_categorical_crossentropy or huber. Received: '{name}'."
        ) from error
    wanted = loss_name(found)
    classes = {loss_name(part): part for part in vars(keras.losses).values() if _is_class(part)}
    takes_logits = (
        wanted in classes
        and "from_logits" in inspect.signature(classes[wanted].__init__).parameters
    )
    if not takes_logits:
        return found
    probabilities = all(softmax_ends(model)) or ends_in_sigmoid(model)
    return classes[wanted](from_logits=not probabilities)


def _is_class(part: Any) -> bool:
    return inspect.isclass(part) and issubclass(part, keras.losses.Loss)


def loss_name(loss: Loss) -> str | None:
    """The name of one of Keras' own losses in lower case without underscores; else None.

    Args:
      loss: a name, a function, a class or an instance.
    """
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return None
    named = loss if hasattr(loss, "__name__") else type(loss)
    own = named.__module__.startswith("keras.")
    return named.__name__.replace("_", "").lower() if own else None


def _is_binary(model: Model, data: Data | Table) -> bool:
    """Whether a model ends in one probability, and every label is 0 or 1."""
    if len(data.labels) != 1 or data.labels[0].dtype.kind not in "fiub":
        return False
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "outputs", None) or ()]
    one = len(shapes) == 1 and shapes[0][-1] == 1
    return one and ends_in_sigmoid(model) and bool(np.isin(data.labels[0], (0, 1)).all())
