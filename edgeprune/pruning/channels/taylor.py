"""Scores channels by labels: the squared change of the loss without them, to first order.

Source: Molchanov et al., "Importance estimation for neural network pruning", 2019,
arXiv:1906.10771, equation 8, on activations.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeprune.core.arrays import Array
from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, ModelError
from edgeprune.core.progress import Progress
from edgeprune.keras_model.calls import Call
from edgeprune.keras_model.interface import ends_in_softmax, output_packer
from edgeprune.keras_model.layers import Model
from edgeprune.pruning.channels.statistics import CALIBRATION_BATCH
from edgeprune.pruning.channels.trace import Trace


def taylor_scores(model: Model, trace: Trace, data: Data, progress: Progress) -> Array:
    """The mean over samples of the squared first-order change of the loss.

    Args:
      model: the traced model; its own loss is used, else sparse categorical cross-entropy.
      trace: the trace of the model.
      data: samples with labels.
      progress: called after each batch.

    Returns:
      float64 `[channels]`, by label.

    Raises:
      DataError: there are no labels.
      ModelError: the model has several outputs and no loss.
    """
    if data.y is None:
        raise DataError("Importance by Taylor expansion needs labels `y`. Received: `x` alone.")
    loss = _loss(model)
    wanted = {
        found.key: (trace.tensors[found.key][0].axis, found.matrix.inputs)
        for found in trace.matrices
        if found.matrix.source is not None and found.matrix.inputs is not None
    }
    total = np.zeros(trace.channels)
    batches = -(-len(data) // CALIBRATION_BATCH)
    for step in range(batches):
        batch = data.take(slice(step, None, batches))
        total += _batch_scores(trace, wanted, batch, loss)
        progress("weighing channels by labels", step + 1, batches)
    return total / len(data)


def _loss(model: Model) -> Any:
    if model.compiled and model.loss is not None:
        pack = output_packer(model)
        return lambda y, outputs: model.compute_loss(y=pack(y), y_pred=pack(outputs))
    if len(model.outputs) > 1:
        raise ModelError(
            f"{model.name}: expected a compiled model, since one with several outputs has no "
            "default loss. Compile it with its losses before saving."
        )
    crossentropy = keras.losses.SparseCategoricalCrossentropy(
        from_logits=not ends_in_softmax(model)
    )
    return lambda y, outputs: crossentropy(y[0], outputs[0])


def _batch_scores(trace: Trace, wanted: dict[Any, Any], batch: Data, loss: Any) -> Array:
    watched: dict[int, Any] = {}
    labels: dict[int, tuple[int, Any]] = {}
    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def apply(call: Call, tensors: list[Any]) -> list[Any]:
            if call.key in wanted and tensors[0].dtype.is_floating:
                tape.watch(tensors[0])
                watched[id(tensors[0])] = tensors[0]
                labels[id(tensors[0])] = wanted[call.key]
            return call.run(tensors)

        outputs = trace.graph.apply([tf.constant(array) for array in batch.x], apply)
        # The sum, since the mean would divide each sample's change by the batch size.
        value = loss([tf.constant(part) for part in batch.labels], outputs) * len(batch)
    gradients = tape.gradient(value, watched)
    change = np.zeros((trace.channels, len(batch)))
    for key, gradient in gradients.items():
        if gradient is not None:
            axis, along = labels[key]
            product = np.asarray(gradient * watched[key])
            others = tuple(at for at in range(1, product.ndim) if at != axis + 1)
            # `np.add.at`, so that a label that occurs twice is added twice.
            np.add.at(change, along, product.sum(axis=others).T)
    return np.asarray(np.square(change).sum(axis=1))
