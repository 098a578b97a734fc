"""What a file keeps of one run for the next is, in Keras, the samples before in the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.conversion.lift.layers import Past
from edgeprune.conversion.lift.lifted import Unliftable
from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.keras_model.files import load_model, save_model
from edgeprune.keras_model.interface import PREDICT_BATCH, predict
from edgeprune.targets.host import HOST
from edgeprune.tflite.format.file import read
from edgeprune.tflite.streams import find_streams, is_fresh
from tests.support.lift_cases import values
from tests.support.streams import CHANNELS, LENGTH, NEW, real_stream, stream


def test_samples_that_follow_each_other_give_what_the_interpreter_gives(tmp_path: Path) -> None:
    lifted = lift(stream(tmp_path / "stream.tflite"))
    assert lifted.model.input_shape == (None, NEW, CHANNELS)
    assert set(lifted.operators.values()) == {3, 6}
    assert {name for name, _ in lifted.tensors.values()} == {"x0", "row", "y_saturated"}
    proof = prove(lifted)
    assert proof.steps is not None
    assert 0.1 < proof.steps < 0.6


def test_a_past_of_other_values_is_found(tmp_path: Path) -> None:
    lifted = lift(stream(tmp_path / "stream.tflite"))
    layer = lifted.model.get_layer("row")
    layer.set_weights([layer.get_weights()[0] + 1])
    with pytest.raises(Unliftable, match=r"operator 3 \(CONCATENATION\): .* by 20 quantization"):
        prove(lifted)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: stream(path, begin=0),
        lambda path: stream(path, kept={"scales": [0.06], "zero_point": -7}),
        lambda path: stream(path, writes=2),
        lambda path: stream(path, starts=False),
    ],
)
def test_a_variable_that_is_something_else_is_no_window(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    assert is_fresh(read(make(tmp_path / "odd.tflite")))


def test_a_window_is_kept_from_sample_to_sample(tmp_path: Path) -> None:
    graph = read(stream(tmp_path / "stream.tflite"))
    assert list(find_streams(graph).windows) == [3]
    assert not is_fresh(graph)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6))
def test_each_sample_stands_behind_the_places_before_it(
    samples: int, new: int, length: int
) -> None:
    x, start = values(samples, new, 2), values(length, 2, seed=3)
    layer = Past(start.shape)
    layer.build(x.shape)
    layer.set_weights([start])
    row = np.concatenate([start, *x])
    expected = [row[at * new : at * new + length + new] for at in range(samples)]
    np.testing.assert_array_equal(layer(x), expected)


def test_a_saved_model_keeps_its_past(tmp_path: Path) -> None:
    x = keras.Input((NEW, CHANNELS))
    model = keras.Model(x, Past((LENGTH, CHANNELS))(x))
    model.set_weights([values(LENGTH, CHANNELS)])
    save_model(model, tmp_path / "past.keras")
    given_samples = values(3, NEW, CHANNELS)
    made = load_model(tmp_path / "past.keras")(given_samples)
    np.testing.assert_array_equal(made, model(given_samples))
    assert model.output_shape == (None, LENGTH + NEW, CHANNELS)


def test_a_stream_is_one_in_keras_and_in_the_file_however_long_it_is(tmp_path: Path) -> None:
    lifted = lift(real_stream(tmp_path / "stream.tflite"))
    x = values(3 * PREDICT_BATCH, NEW, 3)
    theirs = HOST.run(lifted.graph, [x], "LiteRT").outputs[0]
    np.testing.assert_allclose(predict(lifted.model, [x])[0], theirs, atol=1e-5)
