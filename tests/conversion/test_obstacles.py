from __future__ import annotations

from typing import Any

import keras
import pytest

from edgeprune.conversion.obstacles import cause, require_convertible
from edgeprune.core.errors import ModelError

L = keras.layers

FLEX = (
    'Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite(fused["Erfinv:", '
    '"net_1/inverse/Erfinv@__inference_serve_5"] at fused["PartitionedCall:", "PartitionedCall"]))'
    ": 'tf.Erfinv' op is neither a custom op nor a flex op\n"
    '<unknown>:0: note: loc(fused["PartitionedCall:", "PartitionedCall"]): called from\n'
    "<unknown>:0: error: failed while converting: 'main': \n"
)


def test_an_operator_that_tflite_lacks_is_named_with_its_layer() -> None:
    said = cause(ValueError(FLEX))
    assert said == "TFLite has no operator for TensorFlow's Erfinv in net_1/inverse"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<unknown>:0: error: loc("a/b"("x")): type of return operand differs', "type of return"),
        (f"loc({'fused[a],' * 99}): 'tfl.conv_3d' op failed to verify", "'tfl.conv_3d' op failed"),
        ("Quantization not yet supported for op: 'CUSTOM'.", "Quantization not yet supported"),
        ("", "ValueError"),
    ],
)
def test_the_cause_comes_before_the_locations(text: str, said: str) -> None:
    assert cause(ValueError(text)).startswith(said)


def test_a_long_cause_is_cut_and_says_so() -> None:
    assert cause(ValueError("x" * 999)) == "x" * 300 + "..."


def volume(layer: Any) -> Any:
    inputs = keras.Input((4, 4, 4, 2))
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize("kind", ["Conv3D", "Conv3DTranspose"])
def test_a_layer_with_a_float_kernel_only_is_refused_in_int8(kind: str) -> None:
    model = volume(getattr(L, kind)(2, 2, name="cube"))
    with pytest.raises(ModelError, match=rf"cube: .* Received: a {kind}, .* a float kernel only"):
        require_convertible(model, "int8")
    require_convertible(model, "float32")


def test_a_grouped_conv3d_is_refused_in_every_number_format() -> None:
    model = volume(L.Conv3D(4, 2, groups=2, name="cube"))
    with pytest.raises(ModelError, match=r"cube: expected a Conv3D without groups.*groups=2"):
        require_convertible(model, "float32")
