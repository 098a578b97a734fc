"""A lifted model is held against the interpreter before it is used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.difference import difference
from edgeprune.conversion.lift.lifted import Unliftable
from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.core.errors import DataError, TfliteError
from edgeprune.tflite.format.draft import pack
from edgeprune.tflite.format.file import read
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file
from tests.support.lift_cases import ints, reals, single, values
from tests.support.tflite_builder import Net, dense_net, prune


def two_layers(path: Path) -> Path:
    """Two FULLY_CONNECTED with a RELU between, of 5, 4 and 3 values."""
    net = Net()
    x, hidden, cut, y = (
        net.tensor(name, shape)
        for name, shape in [("x", (1, 5)), ("first", (1, 4)), ("cut", (1, 4)), ("last", (1, 3))]
    )
    weights = net.constant("w1", values(4, 5)), net.constant("w2", values(3, 4))
    net.operator("FULLY_CONNECTED", [x, weights[0], -1], [hidden])
    net.operator("RELU", [hidden], [cut])
    net.operator("FULLY_CONNECTED", [cut, weights[1], -1], [y])
    return net.save(path, [x], [y])


def test_a_model_that_computes_the_same_is_proven(tmp_path: Path) -> None:
    assert prove(lift(two_layers(tmp_path / "two.tflite"))).difference < 1e-6


def test_the_first_operator_that_computes_something_else_is_named(tmp_path: Path) -> None:
    lifted = lift(two_layers(tmp_path / "two.tflite"))
    layer = lifted.model.get_layer("last")
    layer.set_weights([layer.get_weights()[0] * 1.01])
    with pytest.raises(Unliftable, match=r"two.tflite: .*operator 2 \(FULLY_CONNECTED\)") as failed:
        prove(lifted)
    assert [each.operator for each in failed.value.obstacles] == [2]


def test_a_border_that_a_pool_drops_is_not_what_differs(tmp_path: Path) -> None:
    net = Net()
    x, wide, best, y = (
        net.tensor(name, shape)
        for name, shape in [
            ("x", (1, 4, 4, 2)),
            ("wide", (1, 6, 6, 2)),
            ("best", (1, 2, 2, 2)),
            ("y", (1, 3)),
        ]
    )
    pads = net.constant("pads", ints([0, 0], [1, 1], [1, 1], [0, 0]))
    net.operator("PADV2", [x, pads, net.constant("low", reals(-3.4e38))], [wide])
    pool = schema.Pool2DOptionsT(padding=1, strideH=2, strideW=2, filterHeight=3, filterWidth=3)
    net.operator("MAX_POOL_2D", [wide], [best], 1, pool)
    weights = net.constant("w", values(3, 8))
    net.operator("FULLY_CONNECTED", [best, weights, -1], [y], 1, schema.FullyConnectedOptionsT())
    lifted = lift(net.save(tmp_path / "border.tflite", [x], [y]))
    assert prove(lifted).difference < 1e-6
    layer = lifted.model.get_layer("y")
    layer.set_weights([layer.get_weights()[0] * 1.01])
    with pytest.raises(Unliftable, match=r"operator 2 \(FULLY_CONNECTED\)"):
        prove(lifted)


def test_what_only_given_inputs_show_is_found(tmp_path: Path) -> None:
    lifted = lift(single(tmp_path / "six.tflite", "RELU6", [(1, 5)], [(1, 5)]))
    x = keras.Input((5,))
    wrong = dataclasses.replace(
        lifted, model=keras.Model(x, keras.layers.ReLU(name="block_RELU6")(x))
    )
    assert prove(wrong).difference < 1e-6
    with pytest.raises(Unliftable, match=r"operator 0 \(RELU6\)"):
        prove(wrong, [np.full((2, 5), 9, np.float32)])


@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic-range"])
def test_weights_are_proven_as_the_values_they_stand_for(kind: str, tmp_path: Path) -> None:
    weights = np.round(values(8, 16) * 20)
    lifted = lift(dense_net(tmp_path / "dense.tflite", weights, kind, per_channel=True))
    assert prove(lifted).difference < 1e-6
    (found,) = lifted.weights.values()
    assert found.kind == "Dense"
    scale = 0.01 if kind == "dynamic-range" else 1
    np.testing.assert_allclose(lifted.model.layers[-1].get_weights()[0], weights.T * scale, 1e-6)


@pytest.mark.parametrize("rules", [EncodingRules(), EncodingRules(direct_float32_from=0.1)])
def test_sparse_weights_are_lifted_as_dense_ones(rules: EncodingRules, tmp_path: Path) -> None:
    weights = prune(values(16, 64), 0.8, (1, 4))
    encoded = tmp_path / "sparse.tflite"
    encode_file(dense_net(tmp_path / "dense.tflite", weights), rules, encoded)
    assert any(tensor.sparse for tensor in read(encoded).tensors)
    lifted = lift(encoded)
    np.testing.assert_array_equal(lifted.model.layers[-1].get_weights()[0], weights.T)
    assert prove(lifted).difference < 1e-6


def test_a_convolution_between_blocks_of_space_is_proven(tmp_path: Path) -> None:
    net = Net()
    x, blocks, mixed, y = (
        net.tensor(name, shape)
        for name, shape in [
            ("x", (1, 7, 5, 3)),
            ("blocks", (4, 6, 5, 3)),
            ("mixed", (4, 4, 3, 2)),
            ("y", (1, 7, 5, 2)),
        ]
    )
    sizes = net.constant("sizes", ints(2, 2))
    pads = net.constant("pads", ints([2, 3], [2, 3]))
    crops = net.constant("crops", ints([0, 1], [0, 1]))
    weights = net.constant("w", values(2, 3, 3, 3)), net.constant("b", values(2))
    options = schema.Conv2DOptionsT(padding=1, strideH=1, strideW=1)
    options.dilationHFactor = options.dilationWFactor = 1
    net.operator("SPACE_TO_BATCH_ND", [x, sizes, pads], [blocks])
    net.operator("CONV_2D", [blocks, *weights], [mixed], 1, options)
    net.operator("BATCH_TO_SPACE_ND", [mixed, sizes, crops], [y])
    lifted = lift(net.save(tmp_path / "atrous.tflite", [x], [y]))
    assert lifted.model.input_shape == (None, 7, 5, 3)
    assert prove(lifted).difference < 1e-6


def test_what_xnnpack_alone_computes_otherwise_is_no_difference(tmp_path: Path) -> None:
    """XNNPACK makes NaN of the inverse root of 0, which the interpreter's own kernel does not."""
    net = Net()
    x, zeros, y = (net.tensor(name, (1, 8)) for name in ("x", "zeros", "y"))
    net.operator("MUL", [x, net.constant("zero", reals(0))], [zeros], 1, schema.MulOptionsT())
    net.operator("RSQRT", [zeros], [y])
    path = net.save(tmp_path / "root.tflite", [x], [y])
    lifted = lift(path)
    assert prove(lifted, [np.ones((1, 8), np.float32)]).difference == 0


def test_rows_of_a_table_and_inputs_in_the_signatures_order_are_proven(tmp_path: Path) -> None:
    net = Net()
    ids, scale = net.tensor("ids", (1, 4), "int32"), net.tensor("scale", (1, 4, 3))
    rows, y = net.tensor("rows", (1, 4, 3)), net.tensor("y", (1, 4, 3))
    table = net.constant("table", values(5, 3))
    net.operator("GATHER", [table, ids], [rows], 1, schema.GatherOptionsT(axis=0))
    net.operator("MUL", [rows, scale], [y], 1, schema.MulOptionsT())
    path = net.save(tmp_path / "table.tflite", [ids, scale], [y])
    net.graph.inputs = ints(scale, ids)
    path.write_bytes(pack(net.model))
    lifted = lift(path)
    assert [tensor.name for tensor in lifted.model.inputs] == ["x0", "x1"]
    assert lifted.weights["rows"].kind == "Embedding"
    assert prove(lifted).difference < 1e-6


def test_a_whole_tensor_without_an_open_batch_is_proven(tmp_path: Path) -> None:
    path = single(
        tmp_path / "turned.tflite",
        "TRANSPOSE",
        [(3, 5), ints(1, 0)],
        [(5, 3)],
        schema.TransposeOptionsT(),
    )
    assert prove(lift(path)).difference == 0


def test_a_file_that_the_interpreter_refuses_is_an_input_error(tmp_path: Path) -> None:
    path = single(tmp_path / "odd.tflite", "RELU", [(1, 5)], [(1, 5)], version=99)
    with pytest.raises(TfliteError, match=r"odd.tflite: expected a file that LiteRT runs"):
        prove(lift(path))


@pytest.mark.parametrize(
    ("ours", "theirs", "apart"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.2),
        ([1.0, np.nan], [1.0, np.nan], 0.0),
        ([1.0, np.inf], [1.0, 2.0], np.inf),
        ([0.5], [0.0], 0.5),
        ([1.0], [1.0, 2.0], np.inf),
        (np.arange(200), np.where(np.arange(200) == 7, 8, np.arange(200)), 0.0),
        (np.arange(9), np.where(np.arange(9) == 7, 8, np.arange(9)), np.inf),
    ],
)
def test_differences_are_counted_of_the_largest_value(
    ours: list[float], theirs: list[float], apart: float
) -> None:
    assert difference(np.asarray(ours), np.asarray(theirs)) == pytest.approx(apart)


def test_ids_beyond_a_table_are_a_fault_of_the_samples_and_not_of_the_file(tmp_path: Path) -> None:
    net = Net()
    ids, rows = net.tensor("ids", (1, 4), "int32"), net.tensor("rows", (1, 4, 3))
    table = net.constant("table", values(5, 3))
    net.operator("GATHER", [table, ids], [rows], 1, schema.GatherOptionsT(axis=0))
    lifted = lift(net.save(tmp_path / "table.tflite", [ids], [rows]))
    prove(lifted, [np.full((2, 4), 4, np.int32)])
    with pytest.raises(DataError, match=r"table\.tflite: expected samples.*5 is not in \[0, 5\)"):
        prove(lifted, [np.full((2, 4), 5, np.int32)])
