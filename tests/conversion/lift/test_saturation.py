"""What leaves the range of a quantized tensor saturates in Keras too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.conversion.lift.layers import Saturate
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.walk import lift
from edgeprune.core.errors import ModelError
from edgeprune.keras_model.files import load_model, save_model
from edgeprune.pruning.permute import passages
from tests.support.lift_cases import RELU, RELU6, ints
from tests.support.tflite_builder import Net

# Keras takes the smallest numbers, the subnormal ones, for zero.
REALS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@given(low=REALS, high=REALS, x=st.lists(REALS, min_size=1))
def test_values_in_the_range_stay_and_others_become_its_nearest_end(
    low: float, high: float, x: list[float]
) -> None:
    low, high = min(low, high), max(low, high)
    layer = Saturate(low, high)
    values = np.array(x, np.float32)
    made = np.asarray(layer(values))
    np.testing.assert_array_equal(made, np.clip(values, np.float32(low), np.float32(high)))
    np.testing.assert_array_equal(np.asarray(layer(made)), made)


def test_a_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ModelError, match=r"cut: expected a range from low to high. Received: 2"):
        Saturate(2, 1, name="cut")


def test_a_saved_model_saturates_alike(tmp_path: Path) -> None:
    x = keras.Input((3,))
    save_model(keras.Model(x, Saturate(-1, 2.5)(x)), tmp_path / "cut.keras")
    made = load_model(tmp_path / "cut.keras")(np.array([[-3.0, 0.5, 7.0]], np.float32))
    np.testing.assert_array_equal(made, [[-1, 0.5, 2.5]])


def one(path: Path, op: str, spans: list[tuple[float, int]], options: Any = None) -> Lifted:
    """One operator on uint8 values `[1, 4, 4, 2]`.

    Args:
      path: of the file.
      op: its name.
      spans: step and zero of each input, and of its output.
      options: its options.
    """
    net = Net()
    *read, y = (
        net.tensor(f"t{number}", (1, 4, 4, 2), "uint8", scales=[step], zero_point=zero)
        for number, (step, zero) in enumerate(spans)
    )
    constants = []
    if op == "CONV_2D":
        eye = np.full((2, 1, 1, 2), 129, np.uint8)
        constants = [net.constant("w", eye, scales=[1.0], zero_point=128)]
        constants += [net.constant("b", ints(0, 0), scales=[spans[0][0]])]
    net.operator(op, [*read, *constants], [y], 1, options)
    return lift(net.save(path, read, [y]))


def conv(activation: int = 0) -> Any:
    options = schema.Conv2DOptionsT(strideH=1, strideW=1, fusedActivationFunction=activation)
    options.dilationHFactor = options.dilationWFactor = 1
    return options


HALF = (0.5, 100)
"""Values from -50 to 77.5."""
SIX = (6 / 255, 0)
CASES = [
    ("CONV_2D", [HALF, (0.1, 100)], conv(), (-10.0, 15.5)),
    ("CONV_2D", [HALF, (0.1, 0)], conv(RELU), (0.0, 25.5)),
    ("CONV_2D", [HALF, (0.02, 0)], conv(RELU6), (0.0, 5.1)),
    ("CONV_2D", [HALF, SIX], conv(), None),
    ("CONV_2D", [HALF, SIX], conv(RELU6), None),
    ("CONV_2D", [HALF, (0.1, 0)], conv(RELU6), None),
    ("ADD", [HALF, HALF, HALF], schema.AddOptionsT(), (-50.0, 77.5)),
    ("MUL", [HALF, HALF, SIX], schema.MulOptionsT(), None),
    ("MAXIMUM", [HALF, HALF, HALF], schema.MaximumMinimumOptionsT(), None),
    ("RELU", [HALF, (0.1, 0)], None, (0.0, 25.5)),
    ("RELU", [HALF, (0.4, 0)], None, None),
    ("RELU6", [HALF, SIX], None, None),
    ("RELU6", [HALF, (0.02, 0)], None, (0.0, 5.1)),
    ("LOGISTIC", [HALF, (1 / 256, 0)], None, None),
    ("LOGISTIC", [HALF, (1 / 512, 0)], None, (0.0, 255 / 512)),
    ("QUANTIZE", [HALF, HALF], None, None),
    ("QUANTIZE", [HALF, (0.25, 100)], None, (-25.0, 38.75)),
    ("QUANTIZE", [HALF, (0.5, 101)], None, None),
    ("ABS", [HALF, (0.1, 0)], None, (0.0, 25.5)),
]


@pytest.mark.parametrize(("op", "spans", "options", "cut"), CASES)
def test_a_result_saturates_where_it_can_leave_its_range_by_more_than_a_step(
    op: str,
    spans: list[tuple[float, int]],
    options: Any,
    cut: tuple[float, float] | None,
    tmp_path: Path,
) -> None:
    lifted = one(tmp_path / "one.tflite", op, spans, options)
    found = [layer for layer in lifted.model.layers if isinstance(layer, Saturate)]
    assert [(layer.low, layer.high) for layer in found] == [pytest.approx(cut)] * (cut is not None)
    for layer in found:
        assert lifted.operators[layer.name] == 0
        assert lifted.tensors[lifted.graph.outputs[0]] == (layer.name, 0)


def test_a_range_from_0_to_6_is_the_activation_of_the_layer(tmp_path: Path) -> None:
    spans = {"plain": SIX, "five": (5 / 255, 0), "below": (6 / 255, 2)}
    names = {}
    for name, span in spans.items():
        lifted = one(tmp_path / f"{name}.tflite", "CONV_2D", [HALF, span], conv())
        names[name] = lifted.model.layers[1].activation.__name__
    assert names == {"plain": "relu6", "five": "linear", "below": "linear"}


def test_channels_pass_through_saturation_in_any_order() -> None:
    x = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(8, 1, name="first")(x)
    y = keras.layers.Conv2D(4, 1, name="second")(Saturate(-1, 1)(y))
    (found,) = passages(keras.Model(x, y))
    assert (found.producer.name, [layer.name for layer in found.consumers]) == ("first", ["second"])
