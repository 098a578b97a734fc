"""Batches for `keras.Model.fit` from samples that do not lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from edgeprune.core.data import Data
from edgeprune.core.errors import DataError
from edgeprune.core.scaling import RAW
from edgeprune.core.sources import AnySource, Stream, Table
from edgeprune.core.work_note import working

MOST_COUNTED = 10_000_000
"""Batches of an epoch that are counted at most, in case that they never end."""

Batches: TypeAlias = Any
"""Batches `(x, y)` or `(x,)` as `keras.Model.fit` takes them: a `tf.data.Dataset`, `PyDataset` or
generator."""
Pack: TypeAlias = Callable[[Sequence[Any]], Any]
"""Makes of one array or tensor per input what a model takes; see `interface.packer_of`."""


def packed(data: Data, pack: Pack, label_pack: Pack) -> tuple[Any, ...]:
    """Samples as `fit` takes a batch: `(x, y)`, or `(x,)` without labels."""
    x = pack(data.x)
    return (x, label_pack(data.labels)) if data.labelled else (x,)


def stream_batches(
    stream: Stream, batch_size: int, pack: Pack, label_pack: Pack, *, counted: bool = False
) -> Batches:
    """The batches of a stream: as they were given, where that is what `fit` takes.

    Single samples are put together, and what must be scaled or held out is. A data set that does
    not know its length is read once to learn it.

    Args:
      stream: the samples.
      batch_size: samples in a batch that is made here.
      pack: packs one array per input into the structure that the model takes.
      label_pack: packs one array per output into the structure that the model gives.
      counted: whether the batches of an epoch are counted elsewhere.

    Raises:
      DataError: no end was found.
    """
    given = stream.given
    as_given = (
        stream.held_out is None
        and (stream.scale == RAW or not _is_scaled(stream))
        and _has_names(stream, pack)
    )
    if as_given and isinstance(given, tf.data.Dataset):
        ready = given if _is_batched(given, stream) else given.batch(batch_size)
        return ready if counted else _with_length(ready)
    if as_given and (isinstance(given, keras.utils.PyDataset) or not stream.again):
        return given
    ready = dataset_of(stream, batch_size, pack, label_pack)
    return ready if counted or not stream.again else _with_length(ready)


def _is_scaled(stream: Stream) -> bool:
    """Whether values are scaled; looks at the first sample, and supposes it of a generator."""
    return not stream.again or bool(stream.some(1).scaling)


def _has_names(stream: Stream, pack: Pack) -> bool:
    """Whether inputs come by their names, where the model takes them so and Keras insists on it."""
    takes_names = isinstance(pack([None] * len(stream.ports.inputs)), dict)
    if not takes_names or not stream.again:
        return True
    if isinstance(stream.given, tf.data.Dataset):
        element = stream.given.element_spec
    else:
        element = next(stream.elements(), None)
    return isinstance(element[0] if isinstance(element, tuple) else element, dict)


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


def dataset_of(source: AnySource, batch_size: int, pack: Pack, label_pack: Pack) -> Batches:
    """A `tf.data.Dataset` that reads a source batch by batch, in its order, once per iteration."""
    first = source.some(1)

    def flexible(array: Any) -> Any:
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    def batches() -> Iterator[Any]:
        for part in source.chunks(batch_size):
            yield packed(part, pack, label_pack)

    signature = keras.tree.map_structure(flexible, packed(first, pack, label_pack))
    made = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)
    if isinstance(source, Stream):
        return made
    return made.apply(tf.data.experimental.assert_cardinality(-(-len(source) // batch_size)))


def _with_length(dataset: Any) -> Any:
    """A data set that knows its length; Keras takes the end of any other for a mistake.

    Raises:
      DataError: there are no batches, or more than `MOST_COUNTED`.
    """
    if int(dataset.cardinality()) != tf.data.UNKNOWN_CARDINALITY:
        return dataset
    with working("the batches of an epoch were counted"):
        count = sum(1 for _ in dataset.take(MOST_COUNTED))
    if not 0 < count < MOST_COUNTED:
        raise DataError(
            f"data: expected batches that come to an end. Received: {count} or more. Give "
            "`steps_per_epoch`."
            if count
            else "data: expected samples. Received: none."
        )
    return dataset.apply(tf.data.experimental.assert_cardinality(count))


def count_batches(batches: Batches) -> int:
    """The number of batches.

    Raises:
      DataError: it is not known.
    """
    try:
        return len(batches)
    except TypeError as error:
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
