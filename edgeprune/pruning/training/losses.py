"""The loss of training: named, the one that the model was compiled with, or a default loss."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import numpy as np

from edgeprune.core.data import Data
from edgeprune.core.errors import InputError
from edgeprune.core.sources import Table
from edgeprune.core.spelling import suggestion
from edgeprune.keras_model.interface import (
    ends_in_softmax,
    output_names,
    sigmoid_ends,
    softmax_ends,
)
from edgeprune.keras_model.layers import Model

Loss = Any
"""A Keras loss: an instance, or a function of labels and outputs."""
Losses: TypeAlias = Loss | tuple[Loss, ...]
"""One for all outputs of a model, or one for each of several."""
NamedLoss: TypeAlias = str | Mapping[str, str]
"""The name of a Keras loss for all outputs, or one by the name of each output."""


def has_own_loss(model: Model) -> bool:
    """Whether a model is compiled with a loss."""
    return bool(model.compiled and model.loss is not None)


def own_losses(model: Model) -> list[Loss | None]:
    """The compiled loss of each output; None for an output that has none, or where it is hidden."""
    names = output_names(model)
    given = model.loss if model.compiled else None
    if isinstance(given, dict):
        return [given.get(name) for name in names]
    if isinstance(given, list | tuple):
        return list(given) if len(given) == len(names) else [None] * len(names)
    return [given] * len(names)


def loss_of_each(loss: Losses, outputs: int) -> list[Loss]:
    """The loss of each of so many outputs."""
    return list(loss) if isinstance(loss, tuple) else [loss] * outputs


def replacing_loss(
    model: Model, data: Data | Table | None, named: NamedLoss | None
) -> Losses | None:
    """The loss to train with in place of the model's own; None where that is kept.

    Without a name, a model that has no loss of its own gets binary cross-entropy if its one output
    is a sigmoid and the labels are 0 and 1, else sparse categorical cross-entropy.

    Args:
      model: a built Keras model.
      data: samples, or None where their labels cannot be looked at.
      named: of a Keras loss for all outputs, of one for each, or None.

    Raises:
      InputError: Keras has no loss of that name, the model no such output, or an output no loss.
    """
    if named is not None:
        losses = _named_losses(model, named)
        return losses[0] if len(losses) == 1 else losses
    if has_own_loss(model):
        return None
    if data is not None and _is_binary(model, data):
        return keras.losses.BinaryCrossentropy()
    return keras.losses.SparseCategoricalCrossentropy(from_logits=not ends_in_softmax(model))


def _named_losses(model: Model, named: NamedLoss) -> tuple[Loss, ...]:
    """The losses of a model's outputs; one for all that a model has whose outputs are not known.

    What is not named keeps the loss that the model was compiled with.
    """
    pairs = zip(softmax_ends(model), sigmoid_ends(model), strict=True)
    probabilities = [any(ends) for ends in pairs]
    if isinstance(named, str):
        return tuple(_named(named, told) for told in probabilities)
    names = output_names(model)
    _require_names(named, names)
    return tuple(
        _named(named[name], told) if name in named else own
        for name, told, own in zip(
            names, probabilities, _own_for_rest(model, named, names), strict=True
        )
    )


def _require_names(named: Mapping[str, str], names: tuple[str, ...]) -> None:
    """Checks that losses are named for outputs of a model.

    Raises:
      InputError: there is no output of such a name.
    """
    for wrong in [name for name in named if name not in names]:
        raise InputError(
            f"`loss`: expected losses for outputs of the model: {', '.join(names)}. Received: one "
            f"for '{wrong}'.{suggestion(wrong, names)}"
        )


def _own_for_rest(
    model: Model, named: Mapping[str, str], names: tuple[str, ...]
) -> list[Loss | None]:
    """The compiled losses of outputs, of which those have to be there that none was named for.

    Raises:
      InputError: one is not.
    """
    own = own_losses(model)
    rest = [name for name, loss in zip(names, own, strict=True) if name not in named and not loss]
    if rest:
        raise InputError(
            f"`loss`: expected a loss for each of the outputs {', '.join(names)}. Received: none "
            f"for {', '.join(rest)}. Add --loss {rest[0]}=NAME (`loss` of `Training`: a dict with "
            "a name for every output), or name one loss for all."
        )
    return own


def _named(name: str, probabilities: bool) -> Loss:
    """A Keras loss by its name; a cross-entropy takes logits where the output gives them."""
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
    return classes[wanted](from_logits=not probabilities) if takes_logits else found


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
    return one and all(sigmoid_ends(model)) and bool(np.isin(data.labels[0], (0, 1)).all())
