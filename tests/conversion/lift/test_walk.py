"""What a lift says of the file, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.lifted import Constant, Unliftable, Weights
from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.files import load_model, save_model
from tests.support.lift_cases import SAME, ints, reals, single, values
from tests.support.tflite_builder import Net


def small_network(path: Path) -> Path:
    """Pad, convolution, slopes, channels behind, scales of channels, mean, dense."""
    net = Net()
    shapes = [
        ("input", (1, 6, 6, 3)),
        ("padded", (1, 8, 8, 3)),
        ("features/conv;features/bias", (1, 6, 6, 4)),
        ("features/PReLU", (1, 6, 6, 4)),
        ("wide", (1, 6, 6, 6)),
        ("scaled", (1, 6, 6, 6)),
        ("features/conv", (1, 6)),
        ("scores", (1, 2)),
    ]
    x, padded, conv, slope, wide, scaled, mean, scores = (net.tensor(*each) for each in shapes)
    pads = net.constant("pads", ints([0, 0], [1, 1], [1, 1], [0, 0]))
    more = net.constant("more", ints([0, 0], [0, 0], [0, 0], [0, 2]))
    axes = net.constant("axes", ints(1, 2))
    kernel, bias = net.constant("w", values(4, 3, 3, 3)), net.constant("b", values(4))
    alpha, scale = net.constant("a", values(1, 1, 4)), net.constant("s", values(6))
    matrix = net.constant("m", values(2, 6))
    net.operator("PAD", [x, pads], [padded], 1, schema.PadOptionsT())
    options = schema.Conv2DOptionsT(padding=1, strideH=1, strideW=1)
    options.dilationHFactor = options.dilationWFactor = 1
    net.operator("CONV_2D", [padded, kernel, bias], [conv], 1, options)
    net.operator("PRELU", [conv, alpha], [slope])
    net.operator("PAD", [slope, more], [wide], 1, schema.PadOptionsT())
    net.operator("MUL", [wide, scale], [scaled], 1, schema.MulOptionsT())
    net.operator("MEAN", [scaled, axes], [mean], 1, schema.ReducerOptionsT())
    net.operator(
        "FULLY_CONNECTED", [mean, matrix, -1], [scores], 1, schema.FullyConnectedOptionsT()
    )
    return net.save(path, [x], [scores])


def test_a_lift_says_where_every_layer_is_in_the_file(tmp_path: Path) -> None:
    lifted = lift(small_network(tmp_path / "small.tflite"))
    kinds = {layer.name: type(layer).__name__ for layer in lifted.model.layers}
    assert kinds == {
        "x0": "InputLayer",
        "padded": "ZeroPadding2D",
        "features_conv": "Conv2D",
        "features_PReLU": "PReLU",
        "wide": "ChannelPad",
        "scaled": "ConstantOperand",
        "features_conv_1": "GlobalAveragePooling2D",
        "scores": "Dense",
    }
    assert list(lifted.operators.values()) == [0, 1, 2, 3, 4, 5, 6]
    named = {lifted.graph.tensors[index].name: at for index, at in lifted.tensors.items()}
    assert named["input"] == ("x0", 0)
    assert named["features/conv;features/bias"] == ("features_conv", 0)
    index = {tensor.name: tensor.index for tensor in lifted.graph.tensors}
    assert lifted.weights == {
        "features_conv": Weights(1, index["w"], index["b"], "Conv2D"),
        "scores": Weights(6, index["m"], None, "Dense"),
    }
    assert lifted.constants == {
        "padded": Constant(0, index["pads"], ""),
        "features_PReLU": Constant(2, index["a"], "alpha"),
        "wide": Constant(3, index["more"], ""),
        "scaled": Constant(4, index["s"], "value"),
    }


def test_a_lifted_model_can_be_saved_and_copied(tmp_path: Path) -> None:
    model = lift(small_network(tmp_path / "small.tflite")).model
    save_model(model, tmp_path / "small.keras")
    x = values(2, 6, 6, 3)
    for other in (copy_model(model), load_model(tmp_path / "small.keras")):
        assert [layer.name for layer in other.layers] == [layer.name for layer in model.layers]
        np.testing.assert_array_equal(other(x), model(x))


def test_operations_keep_their_names_in_copies(tmp_path: Path) -> None:
    path = single(
        tmp_path / "split.tflite",
        "SPLIT",
        [ints(2), (1, 3, 4)],
        [(1, 3, 2), (1, 3, 2)],
        schema.SplitOptionsT(numSplits=2),
    )
    lifted = lift(path)
    assert lifted.operators == {"block_SPLIT": 0}
    assert [lifted.tensors[index] for index in lifted.graph.outputs] == [
        ("block_SPLIT", 0),
        ("block_SPLIT", 1),
    ]
    copy = copy_model(lifted.model)
    assert [each.name for each in copy.operations] == [
        each.name for each in lifted.model.operations
    ]


def shared_kernel(path: Path, *, biases: tuple[int, int]) -> Path:
    """One kernel for two maps, with the biases of the given numbers."""
    net = Net()
    inputs = [net.tensor("large", (1, 8, 8, 3)), net.tensor("small", (1, 4, 4, 3))]
    outputs = [net.tensor("first", (1, 8, 8, 5)), net.tensor("second", (1, 4, 4, 5))]
    kernel = net.constant("kernel", values(5, 1, 1, 3))
    bias = [net.constant(f"bias{number}", values(5, seed=number)) for number in (0, 1)]
    options = schema.Conv2DOptionsT(padding=SAME, strideH=1, strideW=1)
    options.dilationHFactor = options.dilationWFactor = 1
    for x, y, number in zip(inputs, outputs, biases, strict=True):
        net.operator("CONV_2D", [x, kernel, bias[number]], [y], 1, options)
    return net.save(path, inputs, outputs)


def test_operators_with_the_same_weights_share_a_layer(tmp_path: Path) -> None:
    lifted = lift(shared_kernel(tmp_path / "shared.tflite", biases=(0, 0)))
    assert list(lifted.weights) == ["first"]
    assert [lifted.tensors[at] for at in lifted.graph.outputs] == [("first", 0), ("first", 1)]
    separate = lift(shared_kernel(tmp_path / "separate.tflite", biases=(0, 1)))
    first, second = separate.weights["first"], separate.weights["second"]
    assert (first.kernel, first.bias) == (second.kernel, (second.bias or 0) - 1)


def test_shapes_that_the_file_computes_are_known(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 4, 6)), net.tensor("y", (1, 24))
    shape, first, joined = (
        net.tensor(*each, "int32") for each in [("shape", (3,)), ("first", ()), ("joined", (2,))]
    )
    net.operator("SHAPE", [x], [shape], 1, schema.ShapeOptionsT())
    ends = [net.constant(f"end{number}", ints(number)) for number in (0, 1)]
    net.operator(
        "STRIDED_SLICE",
        [shape, *ends, ends[1]],
        [first],
        1,
        schema.StridedSliceOptionsT(shrinkAxisMask=1),
    )
    rest = net.constant("rest", np.int32(-1).reshape(()))
    net.operator("PACK", [first, rest], [joined], 1, schema.PackOptionsT(valuesCount=2))
    net.operator("RESHAPE", [x, joined], [y], 1, schema.ReshapeOptionsT())
    lifted = lift(net.save(tmp_path / "shapes.tflite", [x], [y]))
    assert lifted.model.output_shape == (None, 24)
    assert lifted.operators == {"y": 3}


def test_the_batch_is_open_unless_an_operator_works_along_it(tmp_path: Path) -> None:
    options = schema.ReducerOptionsT(keepDims=True)
    shapes = {}
    for axis in (0, 1):
        made = (1, 6) if axis == 0 else (1, 1)
        path = single(tmp_path / "mean.tflite", "MEAN", [(1, 6), ints(axis)], [made], options)
        shapes[axis] = lift(path).model.input_shape
    assert shapes == {0: (1, 6), 1: (None, 6)}


def test_rows_beside_the_batch_are_reshaped_for_each_sample(tmp_path: Path) -> None:
    net = Net()
    x, rows, mixed, y = (
        net.tensor(name, shape)
        for name, shape in [("x", (1, 2, 3, 4)), ("r", (6, 4)), ("m", (6, 5)), ("y", (1, 6, 5))]
    )
    net.operator(
        "RESHAPE", [x, net.constant("to", ints(6, 4))], [rows], 1, schema.ReshapeOptionsT()
    )
    weights = net.constant("w", values(5, 4))
    net.operator(
        "FULLY_CONNECTED", [rows, weights, -1], [mixed], 1, schema.FullyConnectedOptionsT()
    )
    net.operator("RESHAPE", [mixed, net.constant("back", ints(1, 6, 5))], [y], 1)
    lifted = lift(net.save(tmp_path / "rows.tflite", [x], [y]))
    samples = values(3, 2, 3, 4)
    made = np.asarray(lifted.model(samples))
    np.testing.assert_allclose(made, samples.reshape(3, 6, 4) @ values(5, 4).T, rtol=1e-5)


@pytest.mark.parametrize("last", ["COMPLEX_ABS", "REAL", "IMAG"])
def test_a_spectrum_is_computed_in_parts(last: str, tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 1, 8)), net.tensor("y", (1, 5))
    whole, flat = net.tensor("s", (1, 1, 5), "complex64"), net.tensor("f", (1, 5), "complex64")
    net.operator("RFFT2D", [x, net.constant("n", ints(1, 8))], [whole], 1, schema.Rfft2dOptionsT())
    net.operator("SQUEEZE", [whole], [flat], 1, schema.SqueezeOptionsT(squeezeDims=ints(1)))
    net.operator(last, [flat], [y])
    lifted = lift(net.save(tmp_path / "spectrum.tflite", [x], [y]))
    samples = values(2, 1, 8)
    spectrum = np.fft.rfft(samples[:, 0])
    expected = {"COMPLEX_ABS": abs(spectrum), "REAL": spectrum.real, "IMAG": spectrum.imag}
    np.testing.assert_allclose(lifted.model(samples), expected[last], atol=1e-5)
    assert prove(lifted).difference < 1e-5


def test_every_operator_that_is_in_the_way_is_named(tmp_path: Path) -> None:
    net = Net()
    x, a, b, c, y = (net.tensor(name, (1, 4)) for name in "xabcy")
    net.operator("CUSTOM", [x], [a], custom_code=b"Mystery")
    net.operator("RELU", [a], [b])
    net.operator("UNIQUE", [b], [c])
    net.operator("POW", [c, net.constant("two", reals(2, 2, 2, 2))], [y])
    path = net.save(tmp_path / "mystery.tflite", [x], [y])
    with pytest.raises(
        Unliftable, match=r"mystery.tflite: .*operator 0 \(Mystery\): a custom"
    ) as no:
        lift(path)
    assert [(each.operator, each.name) for each in no.value.obstacles] == [
        (0, "Mystery"),
        (2, "UNIQUE"),
    ]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_quantized_values_are_real_in_keras(dtype: str, tmp_path: Path) -> None:
    net = Net()
    zero = {"int8": -28, "uint8": 100, "int16": 0}[dtype]
    x = net.tensor("image", (1, 4), dtype, scales=[0.1], zero_point=zero)
    y = net.tensor("out", (1, 4), dtype, scales=[0.1], zero_point=zero)
    net.operator("RELU", [x], [y])
    model = lift(net.save(tmp_path / "steps.tflite", [x], [y])).model
    assert model.inputs[0].dtype == "float32"
    np.testing.assert_allclose(model(reals(-1, 0, 0.3, 5)[None]), [[0, 0, 0.3, 5]])


@pytest.mark.parametrize(
    ("dtype", "scales", "reason"),
    [
        ("int8", [0.1, 0.2], r"has the scales \[0.1.*\] instead of one"),
        ("int8", [0.0], r"has the scales \[0.0\] instead of one"),
        ("uint8", [float("nan")], r"has the scales \[nan\] instead of one"),
        ("int32", [0.1], r"is quantized \(int32\)"),
    ],
)
def test_values_without_one_scale_are_refused(
    dtype: str, scales: list[float], reason: str, tmp_path: Path
) -> None:
    net = Net()
    x = net.tensor("image", (1, 4), dtype, scales=scales)
    y = net.tensor("out", (1, 4), dtype, scales=[0.1])
    net.operator("RELU", [x], [y])
    path = net.save(tmp_path / "odd.tflite", [x], [y])
    with pytest.raises(Unliftable, match=rf"input 'image': 'image' {reason}"):
        lift(path)


def oversized(path: Path) -> Path:
    return single(path, "RELU", [(1, 1 << 30)], [(1, 1 << 30)])


def short_bias(path: Path) -> Path:
    options = schema.FullyConnectedOptionsT()
    return single(path, "FULLY_CONNECTED", [(1, 5), values(3, 5), values(2)], [(1, 3)], options)


def outside(path: Path) -> Path:
    return single(path, "TRANSPOSE", [(1, 4), ints(0, 7)], [(1, 4)], schema.TransposeOptionsT())


def open_sizes(path: Path) -> Path:
    net = Net()
    x, y = net.tensor("x", (1, 1, 1, 3)), net.tensor("y", (1, 1, 1, 3))
    net.graph.tensors[x].shapeSignature = ints(1, -1, -1, 3)
    net.operator("RELU", [x], [y])
    return net.save(path, [x], [y])


def nothing_out(path: Path) -> Path:
    net = Net()
    x, y = net.tensor("x", (1, 3)), net.tensor("y", (1, 3))
    net.operator("RELU", [x], [y])
    return net.save(path, [x], [])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (oversized, r"input 'in/0': it takes 1073741824 values"),
        (short_bias, r"operator 0 \(FULLY_CONNECTED\): its bias has 2 values for 3 outputs"),
        (outside, r"operator 0 \(TRANSPOSE\)"),
        (open_sizes, r"input 'x': its sizes \[1, -1, -1, 3\] are set at run time"),
        (nothing_out, r"the file: it has no input or no output"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_the_reason(
    make: Callable[[Path], Path], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(Unliftable, match=rf"odd.tflite: .*{reason}"):
        lift(make(tmp_path / "odd.tflite"))


def test_a_shape_that_is_not_the_files_is_refused(tmp_path: Path) -> None:
    path = single(tmp_path / "odd.tflite", "RELU", [(1, 4)], [(1, 5)])
    with pytest.raises(Unliftable, match=r"gives \[1, 4\], the file has \[1, 5\]"):
        lift(path)


def test_an_output_that_no_input_reaches_is_held(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 4)), net.tensor("y", (1, 4))
    held = net.constant("anchors", values(3, 2))
    net.operator("RELU", [x], [y])
    model = lift(net.save(tmp_path / "held.tflite", [x], [y, held])).model
    made = model(values(1, 4))
    np.testing.assert_array_equal(made[1], values(3, 2))
    assert isinstance(model.layers[-1], keras.layers.Layer)
