"""FULLY_CONNECTED, BATCH_MATMUL, and rows that are looked up in a table."""

from __future__ import annotations

import math

import keras

from edgeprune.conversion.lift.operators.fused import activated, activation_of
from edgeprune.conversion.lift.operators.shaping import to_shape
from edgeprune.conversion.lift.site import BatchNeededError, BlockedError, KerasTensor, Live, Site
from edgeprune.core.arrays import Array
from edgeprune.keras_model.layers import Layer

_DEFAULT_FORMAT = 0


def fully_connected(site: Site) -> KerasTensor | Live:
    """FULLY_CONNECTED: weights `[out, in]`, bias `[out]` or `[1, out]`; the rest are rows."""
    options = site.options
    if options.weightsFormat != _DEFAULT_FORMAT:
        raise BlockedError("its weights are shuffled")
    weights = site.constant(1)
    if weights is None:
        return _of_two_values(site)
    shape = site.shape(0)
    rows = math.prod(shape) // max(weights.shape[1], 1)
    keeps = options.keepNumDims and shape[-1] == weights.shape[1]
    given = Live(site.tensor(0), shape)
    if not keeps:
        given = to_shape(site, given, (rows, weights.shape[1]), "flat")
    bias = site.bias(2, weights.shape[0])
    layer = site.shared(
        activation_of(site),
        lambda name: keras.layers.Dense(
            weights.shape[0],
            activation=activation_of(site),
            use_bias=bool(bias),
            kernel_initializer="zeros",
            name=name,
        ),
    )
    made = site.apply(layer, given.tensor)
    site.weigh(layer, [weights.T, *bias])
    return Live(made, (*given.shape[:-1], weights.shape[0]))


def _of_two_values(site: Site) -> KerasTensor:
    """FULLY_CONNECTED whose weights depend on the inputs, as attention has it."""
    shapes = site.shape(0), site.shape(1)
    if len(shapes[0]) != 2 or len(shapes[1]) != 2:
        raise BlockedError("its kernel depends on the inputs")
    if not site.whole:
        raise BatchNeededError
    turned = site.compute("turned", keras.ops.transpose, site.tensor(1), axes=[1, 0])
    made = site.compute("", keras.ops.matmul, site.tensor(0), turned)
    if site.count > 2:
        made = site.compute("bias", keras.ops.add, made, site.tensor(2))
    return activated(site, made)


def batch_matmul(site: Site) -> KerasTensor:
    """BATCH_MATMUL: a Dense layer where the second operand is one constant matrix."""
    weights = None if site.options.adjX else site.constant(1)
    if weights is not None and math.prod(weights.shape[:-2]) == 1 and site.is_live(0):
        return _dense(site, weights)
    first, second = site.tensor(0), site.tensor(1)
    ranks = len(site.shape(0)), len(site.shape(1))
    if not site.whole and (min(ranks) < 3 or ranks[0] != ranks[1] or _uneven(site)):
        raise BatchNeededError
    if site.options.adjX:
        first = _turned(site, first, "turned")
    if site.options.adjY:
        second = _turned(site, second, "turned")
    return site.compute("", keras.ops.matmul, first, second)


def _dense(site: Site, weights: Array) -> KerasTensor:
    matrix = weights.reshape(weights.shape[-2:])
    matrix = matrix.T if site.options.adjY else matrix
    if site.shape(0)[-1:] != matrix.shape[:1]:
        raise BlockedError(f"its matrix {list(matrix.shape)} does not fit {list(site.shape(0))}")
    layer: Layer = site.shared(
        site.options.adjY,
        lambda name: keras.layers.Dense(
            matrix.shape[1], use_bias=False, kernel_initializer="zeros", name=name
        ),
    )
    made = site.apply(layer, site.tensor(0))
    site.weigh(layer, [matrix], transposed=not site.options.adjY)
    return made


def _uneven(site: Site) -> bool:
    """Whether the first axes, which are open, do not have one length."""
    return site.shape(0)[0] != site.shape(1)[0]


def _turned(site: Site, given: KerasTensor, suffix: str) -> KerasTensor:
    return site.compute(suffix, keras.ops.swapaxes, given, -1, -2)


def embedding_lookup(site: Site) -> KerasTensor:
    """EMBEDDING_LOOKUP: ids, and a table `[rows, width]`."""
    return look_up(site, ids=0, table=1)


def look_up(site: Site, *, ids: int, table: int) -> KerasTensor:
    """Takes rows of a constant table by ids, given the positions of both."""
    rows = site.needed(table, "table")
    if rows.ndim != 2:
        raise BlockedError(f"its table is {list(rows.shape)} instead of two axes")
    layer = site.shared(
        "table",
        lambda name: keras.layers.Embedding(*rows.shape, embeddings_initializer="zeros", name=name),
    )
    made = site.apply(layer, site.tensor(ids))
    site.weigh(layer, [rows], kernel=table)
    return made
