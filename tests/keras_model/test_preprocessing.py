"""What preprocesses before the first kernel is found, and what only moves values is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.data import DEFAULT_SCALE, RAW
from edgeprune.keras_model.preprocessing import also_computed_with, inputs_of

L = keras.layers


def network(*before: Any) -> Any:
    layers = [L.Conv2D(4, 3), L.GlobalAveragePooling2D(), L.Dense(2)]
    return keras.Sequential([keras.Input((8, 8, 3)), *before, *layers])


def scales(model: Any) -> list[Any]:
    return [spec.scale for spec in inputs_of(model)]


def normalization() -> Any:
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3)).astype(np.float32))
    return layer


def batch_norm(mean: float, variance: float) -> Any:
    layer = L.BatchNormalization()
    layer.build((None, 8, 8, 3))
    layer.set_weights([np.ones(3), np.zeros(3), np.full(3, mean), np.full(3, variance)])
    return layer


@keras.saving.register_keras_serializable("tests.preprocessing")
class Shift(keras.layers.Layer):
    """Takes a mean away, in a layer of the user's own."""

    def call(self, x: Any) -> Any:
        return x - 104.0


def by_arithmetic() -> Any:
    image = keras.Input((8, 8, 3))
    return keras.Model(image, network()(image / 127.5 - 1.0))


def after_moves() -> Any:
    return network(L.RandomFlip(), L.ZeroPadding2D(1), L.CenterCrop(8, 8), L.Rescaling(1 / 255))


def nested() -> Any:
    return network(keras.Sequential([L.Resizing(8, 8), L.Rescaling(1 / 255)]))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.scaling, self.head = L.Rescaling(1 / 255), network()

    def call(self, x: Any) -> Any:
        return self.head(self.scaling(x))


def around_a_subclassed_model() -> Any:
    image = keras.Input((8, 8, 3))
    return keras.Model(image, Subclassed()(image))


@pytest.mark.parametrize(
    "build",
    [
        lambda: network(L.Rescaling(1 / 255)),
        lambda: network(normalization()),
        lambda: network(batch_norm(120.0, 4000.0)),
        lambda: network(Shift()),
        by_arithmetic,
        after_moves,
        nested,
        around_a_subclassed_model,
    ],
)
def test_a_model_that_preprocesses_takes_raw_values(build: Callable[[], Any]) -> None:
    assert scales(build()) == [RAW]


@pytest.mark.parametrize(
    "build",
    [
        network,
        lambda: network(L.Rescaling(1.0)),
        lambda: network(batch_norm(0.1, 0.4)),
        lambda: network(L.Conv2D(3, 1), L.Rescaling(0.5)),
        lambda: network(L.RandomFlip(), L.ZeroPadding2D(1), L.AveragePooling2D(2), L.Dropout(0.5)),
    ],
)
def test_what_moves_values_or_stands_behind_a_kernel_is_no_preprocessing(
    build: Callable[[], Any],
) -> None:
    assert scales(build()) == [DEFAULT_SCALE]


class TokenAndPosition(keras.layers.Layer):
    """As language models of the user's own have it: tables alone."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokens, self.positions = L.Embedding(50, 4), L.Embedding(20, 4)

    def call(self, x: Any) -> Any:
        return self.tokens(x) + self.positions(keras.ops.arange(20))


class PatchEncoder(keras.layers.Layer):
    """As vision transformers have it: values are projected, and positions are looked up."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project, self.positions = L.Dense(4), L.Embedding(20, 4)

    def call(self, x: Any) -> Any:
        return self.project(x[..., None]) + self.positions(keras.ops.arange(20))


def take(x: Any) -> Any:
    return keras.ops.take(np.ones((50, 4), np.float32), keras.ops.cast(x, "int32"), axis=0)


def one_hot(x: Any) -> Any:
    return keras.ops.one_hot(keras.ops.cast(x, "int32"), 50)


@pytest.mark.parametrize(
    ("first", "ids"),
    [
        (L.Embedding(50, 4, mask_zero=True), True),
        (lambda x: L.Embedding(50, 4)(L.Reshape((20,))(x)), True),
        (TokenAndPosition(), True),
        (take, True),
        (one_hot, True),
        (PatchEncoder(), False),
        (lambda x: L.Embedding(50, 4)(keras.ops.argmax(L.Dense(9)(x), axis=1)), False),
        (lambda x: keras.ops.take(x, np.arange(5), axis=1)[..., None], False),
    ],
)
def test_an_input_that_chooses_rows_of_a_table_is_known(first: Any, ids: bool) -> None:
    tokens = keras.Input((20,), name="tokens")
    model = keras.Model(tokens, L.Dense(2)(first(tokens)))
    (spec,) = inputs_of(model)
    assert spec.ids is ids
    assert also_computed_with(model) == ()
    if ids:
        assert spec.scale_by((127.5, 127.5)) == RAW


def test_an_input_that_is_also_computed_with_is_known() -> None:
    both = keras.Input((20,), name="both")
    joined = L.Concatenate()([L.Flatten()(L.Embedding(50, 4)(both)), L.Dense(3)(both)])
    assert also_computed_with(keras.Model(both, joined)) == ("both",)


def test_every_input_is_judged_by_its_own_path() -> None:
    image, numbers = keras.Input((8, 8, 3), name="image"), keras.Input((4,), name="numbers")
    joined = L.Concatenate()([network()(L.Rescaling(1 / 255)(image)), L.Dense(3)(numbers)])
    assert scales(keras.Model([image, numbers], joined)) == [RAW, DEFAULT_SCALE]
