"""Batches for `keras.Model.fit` from samples that do not lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from edgeprune.core.data import Data, Source
from edgeprune.core.errors import DataError
from edgeprune.core.scaling import RAW
from edgeprune.core.sources import Stream, Table

Batches: TypeAlias = Any
"""Batches `(x, y)` or `(x,)` as `keras.Model.fit` takes them: a `tf.data.Dataset`, `PyDataset` or
generator."""
Pack: TypeAlias = Callable[[Sequence[Any]], Any]
"""Makes of one array or tensor per input what a model takes; see `interface.packer_of`."""


def packed(data: Data, pack: Pack, label_pack: Pack) -> tuple[Any, ...]:
    """Samples as `fit` takes a batch: `(x, y)`, or `(x,)` without labels."""
    x = pack(data.x)
    return (x, label_pack(data.labels)) if data.labelled else (x,)


def stream_batches(stream: Stream, batch_size: int, pack: Pack, label_pack: Pack) -> Batches:
    """The batches of a stream: as they were given, where that is what `fit` takes.

    Single samples are put together, and what must be scaled or held out is.

    Args:
      stream: the samples.
      batch_size: samples in a batch that is made here.
      pack: packs one array per input into the structure that the model takes.
      label_pack: packs one array per output into the structure that the model gives.
    """
    given = stream.given
    as_given = stream.held_out is None and (stream.scale == RAW or not _is_scaled(stream))
    if as_given and isinstance(given, tf.data.Dataset):
        return given if _is_batched(given, stream) else given.batch(batch_size)
    if as_given and (isinstance(given, keras.utils.PyDataset) or not stream.again):
        return given
    return dataset_of(stream, batch_size, pack, label_pack)


def _is_scaled(stream: Stream) -> bool:
    """Whether values are scaled; looks at the first sample, and supposes it of a generator."""
    return not stream.again or bool(stream.some(1).scaling)


def _is_batched(given: Any, stream: Stream) -> bool:
    """Whether the elements of a data set are batches, by the axes that they have."""
    parts = given.element_spec
    inputs = parts[0] if isinstance(parts, tuple) else parts
    if not stream.ports.inputs:
        return True
    wanted = sorted(len(spec.shape) for spec in stream.ports.inputs)
    ranks = [part.shape.rank for part in keras.tree.flatten(inputs)]
    known = [rank for rank in ranks if rank is not None]
    if len(known) == len(ranks):
        return sorted(known) != wanted
    element = next(iter(given))
    found = keras.tree.flatten(element[0] if isinstance(element, tuple) else element)
    return sorted(np.ndim(part) for part in found) != wanted


def dataset_of(source: Source, batch_size: int, pack: Pack, label_pack: Pack) -> Batches:
    """A `tf.data.Dataset` that reads a source batch by batch, in its order, once per iteration."""
    first = source.some(1)

    def flexible(array: Any) -> Any:
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    def batches() -> Iterator[Any]:
        for part in source.chunks(batch_size):
            yield packed(part, pack, label_pack)

    signature = keras.tree.map_structure(flexible, packed(first, pack, label_pack))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)


def count_batches(batches: Batches) -> int:
    """The number of batches; one that a data set does not know is counted by going through it.

    Raises:
      DataError: there is no end, or none that can be found without using the batches up.
    """
    try:
        return len(batches)
    except TypeError as error:
        is_set = isinstance(batches, tf.data.Dataset)
        if is_set and int(batches.cardinality()) == tf.data.UNKNOWN_CARDINALITY:
            return sum(1 for _ in batches)
        raise DataError(
            f"The sparsity schedule needs the number of steps, and this {type(batches).__name__} "
            "has no length. Give `steps_per_epoch`."
        ) from error


def gatherer(data: Data | Table) -> Callable[[Any], tuple[list[Any], list[Any]]]:
    """What makes of a tensor of rows `[k]` one tensor per input and one per output with labels."""
    if isinstance(data, Data):
        x, y = ([tf.constant(array) for array in part] for part in (data.x, data.labels))
        return lambda rows: (
            [tf.gather(array, rows) for array in x],
            [tf.gather(array, rows) for array in y],
        )
    first = data.take(slice(1))
    like = [*first.x, *first.labels]

    def read(rows: Any) -> list[Any]:
        found = data.take(np.asarray(rows))
        return [*found.x, *found.labels]

    def gather(rows: Any) -> tuple[list[Any], list[Any]]:
        parts = tf.numpy_function(read, [rows], [array.dtype for array in like])
        for part, array in zip(parts, like, strict=True):
            part.set_shape([rows.shape[0], *array.shape[1:]])
        return list(parts[: len(first.x)]), list(parts[len(first.x) :])

    return gather
