"""Files whose weights are packed: what they hold, the way back, and hostile ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.errors import TfliteError
from edgeprune.tflite.decode.pack import pack_weights
from edgeprune.tflite.decode.weights import weights_to_pack
from edgeprune.tflite.format.decode_operator import packed_tensors
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from edgeprune.tflite.store_densely import densify_file
from tests.support.packing import mixed_net, packed, sparse_weights, twice_read
from tests.support.tflite_builder import Net, dense_net

DECODE = "TFLM_DECODE"


def test_only_int8_weights_that_become_smaller_are_packed(tmp_path: Path) -> None:
    graph = read(mixed_net(tmp_path / "m.tflite"))
    found = {weight.tensors[0].name: weight.refusal for weight in weights_to_pack(graph)}
    assert found == {
        "w0": "",
        "w1": "too few zeros: packed it would not be smaller",
        "w2": "",
    }


@pytest.mark.parametrize("kind", ["float32", "dynamic-range"])
def test_weights_beside_float_activations_are_packed_where_they_are_int8(
    kind: str, tmp_path: Path
) -> None:
    path = dense_net(tmp_path / "m.tflite", sparse_weights((64, 64), 0.8), kind)
    (weight,) = weights_to_pack(read(path))
    assert bool(weight.refusal) == (kind == "float32")


def test_a_decode_stands_right_before_the_reader_of_what_it_unpacks(tmp_path: Path) -> None:
    path = packed(mixed_net(tmp_path / "m.tflite"), tmp_path / "p.tflite")
    main = read(path).subgraphs[0]
    assert [operator.op for operator in main.operators] == [
        DECODE,
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        DECODE,
        "CONV_2D",
    ]
    for each in packed_tensors(main):
        reader = main.operators[each.operator.index + 1]
        assert reader.inputs[1] == each.tensor.index
        assert not each.tensor.constant


def test_values_come_back_and_unpacking_gives_the_very_file(tmp_path: Path) -> None:
    source = load(mixed_net(tmp_path / "m.tflite"))
    plain, path = tmp_path / "plain.tflite", tmp_path / "p.tflite"
    write(source, plain)
    packed(plain, path)
    dense = {tensor.name: np.asarray(tensor.values()) for tensor in read(plain).tensors}
    for each in packed_tensors(read(path).subgraphs[0]):
        np.testing.assert_array_equal(each.values(), dense[each.tensor.name])
    result = densify_file(path, tmp_path / "again.tflite")
    assert result.tensors == ("w0", "w2")
    assert (tmp_path / "again.tflite").read_bytes() == plain.read_bytes()


def test_a_weight_that_two_operators_read_is_stored_once_and_unpacked_before_each(
    tmp_path: Path,
) -> None:
    plain = tmp_path / "plain.tflite"
    write(load(twice_read(tmp_path / "m.tflite")), plain)
    path = packed(plain, tmp_path / "p.tflite")
    main = read(path).subgraphs[0]
    first, second = packed_tensors(main)
    assert (first.mask.index, first.ancillary.index) == (second.mask.index, second.ancillary.index)
    assert first.tensor.index != second.tensor.index
    assert [operator.op for operator in main.operators] == [DECODE, "FULLY_CONNECTED"] * 2
    densify_file(path, tmp_path / "again.tflite")
    assert (tmp_path / "again.tflite").read_bytes() == plain.read_bytes()


def test_a_depthwise_of_one_channel_gets_the_axis_that_the_kernel_takes(tmp_path: Path) -> None:
    net = Net()
    x = net.tensor("x", (1, 40, 40, 1), "int8", scales=[0.02])
    values = sparse_weights((1, 31, 31, 1), 0.8)
    w = net.constant("w", values, scales=[0.01], axis=3)
    y = net.tensor("y", (1, 40, 40, 1), "int8", scales=[0.3])
    options = schema.DepthwiseConv2DOptionsT(strideW=1, strideH=1, depthMultiplier=1)
    net.operator("DEPTHWISE_CONV_2D", [x, w, -1], [y], 3, options)
    path = packed(net.save(tmp_path / "m.tflite", [x], [y]), tmp_path / "p.tflite")
    (each,) = packed_tensors(read(path).subgraphs[0])
    assert each.tensor.quantized_dimension == 0


def ancillary(change: Callable[[Any], Any]) -> Callable[[Any, Any], None]:
    def spoil(model: Any, operator: Any) -> None:
        tensor = model.subgraphs[0].tensors[operator.inputs[1]]
        data = change(np.array(model.buffers[tensor.buffer].data))
        model.buffers[tensor.buffer].data = data
        tensor.shape = np.array([data.size], np.int32)

    return spoil


def mask(change: Callable[[Any], Any]) -> Callable[[Any, Any], None]:
    def spoil(model: Any, operator: Any) -> None:
        tensor = model.subgraphs[0].tensors[operator.inputs[0]]
        data = change(np.array(model.buffers[tensor.buffer].data))
        model.buffers[tensor.buffer].data = data
        tensor.shape = np.array([data.size], np.int32)

    return spoil


def with_byte(place: int, value: int) -> Callable[[Any], Any]:
    def change(data: Any) -> Any:
        data[place] = value
        return data

    return change


def without_pair(_: Any, operator: Any) -> None:
    operator.inputs = np.array(operator.inputs[:1], np.int32)


def other_scales(model: Any, operator: Any) -> None:
    made = model.subgraphs[0].tensors[operator.outputs[0]].quantization
    made.scale, made.zeroPoint = made.scale[:3], made.zeroPoint[:3]


def far_zero_point(model: Any, operator: Any) -> None:
    made = model.subgraphs[0].tensors[operator.outputs[0]].quantization
    made.zeroPoint = made.zeroPoint + 300


def no_constant(model: Any, operator: Any) -> None:
    tensor = model.subgraphs[0].tensors[operator.inputs[0]]
    tensor.buffer = 0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (mask(lambda data: data[:-1]), "expected a mask of"),
        (mask(lambda data: np.full_like(data, 255)), "ones. Received"),
        (ancillary(lambda data: data[:-1]), "ones. Received"),
        (ancillary(lambda data: data[:9]), "a header of 16 bytes"),
        (ancillary(with_byte(0, 9)), "version 1 of coding 9"),
        (ancillary(with_byte(1, 2)), "version 2 of coding 2"),
        (ancillary(with_byte(4, 0)), "expected the header"),
        (without_pair, "1 inputs, 1 outputs"),
        (other_scales, "3 scales"),
        (far_zero_point, "zero points from -128 to 127"),
        (no_constant, "two constants of uint8"),
    ],
)
def test_a_packed_file_that_the_kernel_would_misread_is_refused(
    spoil: Callable[[Any, Any], None], words: str, tmp_path: Path
) -> None:
    draft = load(packed(mixed_net(tmp_path / "m.tflite"), tmp_path / "p.tflite"))
    operators = draft.model.subgraphs[0].operators
    spoil(draft.model, operators[0])
    write(draft, tmp_path / "bad.tflite")
    with pytest.raises(TfliteError, match=rf"operator 0 \({DECODE}\).*{words}"):
        read(tmp_path / "bad.tflite")


def test_other_codings_are_left_as_they_are(tmp_path: Path) -> None:
    draft = load(packed(mixed_net(tmp_path / "m.tflite"), tmp_path / "p.tflite"))
    ancillary(with_byte(0, 0))(draft.model, draft.model.subgraphs[0].operators[0])
    write(draft, tmp_path / "lut.tflite")
    first, second = packed_tensors(read(tmp_path / "lut.tflite").subgraphs[0])
    assert (first.readable, second.readable) == (False, True)
    result = densify_file(tmp_path / "lut.tflite", tmp_path / "again.tflite")
    assert result.tensors == ("w2",)
    assert [o.op for o in read(tmp_path / "again.tflite").operators].count(DECODE) == 1


def test_a_mask_that_a_signature_names_stays(tmp_path: Path) -> None:
    """Found by the fuzzer (packed.tflite, seed 1000745): its index became -1."""
    draft = load(packed(mixed_net(tmp_path / "m.tflite"), tmp_path / "p.tflite"))
    entry = draft.model.signatureDefs[0].outputs[0]
    entry.tensorIndex = int(draft.model.subgraphs[0].operators[0].inputs[0])
    write(draft, tmp_path / "odd.tflite")
    densify_file(tmp_path / "odd.tflite", tmp_path / "again.tflite")
    graph = read(tmp_path / "again.tflite")
    (named,) = graph.signatures[0].outputs.values()
    assert (graph.tensors[named].dtype, graph.tensors[named].constant) == ("uint8", True)


def test_nothing_to_pack_changes_nothing(tmp_path: Path) -> None:
    draft = load(mixed_net(tmp_path / "m.tflite"))
    pack_weights(draft, [])
    assert len(draft.model.operatorCodes) == len({o.opcodeIndex for o in _operators(draft)})


def _operators(draft: Any) -> list[Any]:
    return list(draft.model.subgraphs[0].operators)
