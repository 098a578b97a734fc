"""Checks that there is a loss and that labels fit it, before anything is computed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeprune.core.arrays import Array
from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, ModelError
from edgeprune.core.sources import Stream, Table
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.files import lost_compilation
from edgeprune.keras_model.interface import call_model, output_names, output_packer, own_training
from edgeprune.keras_model.layers import Model
from edgeprune.pruning.training.losses import (
    Losses,
    has_own_loss,
    loss_name,
    loss_of_each,
    own_losses,
    replacing_loss,
)
from edgeprune.pruning.training.settings import Training

TRIED = 8
"""Samples on which a loss is tried."""
_SPARSE = "sparsecategoricalcrossentropy"
_OTHER_SHAPES = frozenset({"ctc", "circle"})
"""Losses of Keras whose labels may have another shape than the outputs."""
_REMEDY = (
    "Name another loss (--loss NAME; `loss` of `Training`), or compile the model with the loss for "
    "these labels before saving."
)


def check_training(model: Model, data: Any, training: Training) -> None:
    """Checks that a model can be trained on labels: there is a loss, and they fit it.

    Of a stream the first labels are looked at, of a generator none.

    Args:
      model: a built Keras model, as it was loaded.
      data: samples, as `open_source` gives them.
      training: how the model is to be trained.

    Raises:
      ModelError: the compiled loss could not be loaded, or there are several outputs and no loss,
        and no loss was named.
      DataError: labels do not fit the loss or the outputs.
      InputError: an unknown loss was named.
    """
    if isinstance(data, Stream):
        # Of a generator nothing can be looked at without using it up.
        data = data.some(TRIED) if data.again else None
    labelled = data is None or data.labelled
    if not labelled:
        return
    _require_loss(model, training)
    if own_training(model):
        return
    if data is not None and training.loss is None:
        _require_default(model)
    loss = replacing_loss(model, data, training.loss)
    for samples in (data, training.validation):
        if isinstance(samples, Data | Table) and samples.labelled:
            check_labels(model, samples, loss)


def _require_loss(model: Model, training: Training) -> None:
    lost = lost_compilation(model)
    if lost is not None and training.loss is None:
        raise ModelError(
            f"{model.name}: expected the loss that the model was compiled with. Received: one that "
            f"cannot be loaded ({lost}). Name a loss of Keras (--loss mean_squared_error; `loss` "
            "of `Training`), give the file of yours (--custom-objects FILE.py; in Python register "
            "it with @keras.saving.register_keras_serializable first), or leave out `y`: training "
            "then follows the dense model alone."
        )


def _require_default(model: Model) -> None:
    names = output_names(model)
    if len(names) > 1 and not has_own_loss(model):
        each = " ".join(f"--loss {name}=NAME" for name in names)
        raise ModelError(
            f"{model.name}: expected a loss for each of its {len(names)} outputs, which have no "
            f"default loss. Received: none. Name them ({each}, or one for all with --loss NAME; "
            "`loss` of `Training`), or compile a Keras model with its losses before saving. "
            "Without `y` training follows the dense model."
        )


def check_labels(model: Model, data: Data | Table, loss: Losses | None) -> None:
    """Checks that labels fit a loss.

    Args:
      model: a built Keras model.
      data: samples with labels.
      loss: that replaces the one that the model is compiled with; None if none does.

    Raises:
      DataError: labels do not fit; the message names what was expected.
    """
    outputs = keras.tree.flatten(_output_shapes(model, data))
    names, labels = output_names(model), data.labels
    if len(labels) != len(outputs):
        wanted = ", ".join(f"y_{name}" for name in names)
        raise DataError(
            f"`y`: expected labels for each of the {len(outputs)} outputs ({wanted}). Received: "
            f"{len(labels)}."
        )
    losses = own_losses(model) if loss is None else loss_of_each(loss, len(outputs))
    subjects = ["`y`"] if len(outputs) == 1 else [f"`y_{name}`" for name in names]
    for subject, array, output, one in zip(subjects, labels, outputs, losses, strict=True):
        _check_output(subject, np.asarray(array), tuple(output.shape), one)
    if loss is None:
        _try_one_batch(model, data)


def _check_output(subject: str, labels: Array, output: tuple[int | None, ...], loss: Any) -> None:
    if labels.dtype.kind not in "fiub":
        raise DataError(
            f"{subject}: expected labels that are numbers. Received: type {labels.dtype}. Number "
            "the classes from 0 in the order of the model's outputs."
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError(f"{subject}: expected finite labels. Received: NaN or infinity.")
    name = loss_name(loss) if loss is not None else None
    if name == _SPARSE:
        _check_classes(subject, labels, output)
    elif name is not None and name not in _OTHER_SHAPES:
        _check_shape(subject, labels, output, name)


def _check_classes(subject: str, labels: Array, output: tuple[int | None, ...]) -> None:
    classes = output[-1] or 0
    whole = bool((labels == np.floor(labels)).all())
    alone = labels[..., None] if labels.ndim < len(output) else labels
    fits = _same_shape(alone.shape, (*output[:-1], 1))
    if not fits or not whole or labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{subject}: expected one whole number from 0 to {classes - 1} for each sample, as the "
            f"model has {classes} outputs. Received: shape {list(labels.shape)}, values from "
            f"{labels.min()} to {labels.max()}. {_REMEDY}"
        )


def _check_shape(subject: str, labels: Array, output: tuple[int | None, ...], name: str) -> None:
    """Checks labels of a loss that compares them with the outputs one by one."""
    alone = labels[..., None] if labels.ndim == len(output) - 1 else labels
    if not _same_shape(alone.shape, output):
        sizes = ", ".join("any" if size is None else str(size) for size in output[1:])
        raise DataError(
            f"{subject}: expected labels of the shape of the outputs, [n, {sizes}], which the loss "
            f"({name}) compares them with. Received: shape {list(labels.shape)}. {_REMEDY}"
        )
    if "binary" in name and (labels.min() < 0 or labels.max() > 1):
        raise DataError(
            f"{subject}: expected labels from 0 to 1 for the loss ({name}). Received: from "
            f"{labels.min()} to {labels.max()}. {_REMEDY}"
        )


def _same_shape(labels: tuple[int, ...], output: tuple[int | None, ...]) -> bool:
    return len(labels) == len(output) and all(
        size is None or size == found for found, size in zip(labels[1:], output[1:], strict=True)
    )


def _try_one_batch(model: Model, data: Data | Table) -> None:
    """Computes the compiled loss on some samples, on a copy, since a loss builds itself then."""
    some, copy = data.take(slice(TRIED)), copy_model(model)
    arrays = [keras.ops.convert_to_tensor(array) for array in some.x]
    labels = output_packer(model)([keras.ops.convert_to_tensor(part) for part in some.labels])
    try:
        copy.compute_loss(y=labels, y_pred=call_model(copy, arrays, training=False))
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        shapes = ", ".join(f"{list(array.shape)} {array.dtype}" for array in data.labels)
        raise DataError(
            f"`y`: expected labels that the model's compiled loss takes. Received: {shapes}, on "
            f"which it fails ({' '.join(str(error).split())[:300]}). {_REMEDY}"
        ) from error


def _output_shapes(model: Model, data: Data | Table) -> Any:
    """The outputs of a model as symbolic tensors, without a batch size."""
    arrays = data.take(slice(1)).x
    inputs = [keras.KerasTensor((None, *array.shape[1:]), str(array.dtype)) for array in arrays]
    return model.compute_output_spec(inputs if len(inputs) > 1 else inputs[0])
