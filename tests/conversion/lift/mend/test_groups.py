"""Which activations may get another scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.mend.groups import free_groups, own_bias
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Subgraph
from tests.support.quantized_networks import QuantizedNet, quantized_net

_POINT = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}


def names(main: Subgraph, islands: set[int] | None = None) -> list[list[str]]:
    """The sets by the names of their tensors."""
    found = free_groups(main, islands or set())
    return [[main.tensors[index].name for index in group] for group in found]


def branches(path: Path, *, shared_bias: bool = False, pad_with: str = "") -> Subgraph:
    """Two convolutions of the image, added; the sum is padded and goes through a sigmoid."""
    net = QuantizedNet("int8")
    x = net.activation("image", 1, 4, 4, 2, low=-1, high=1)
    made = [net.activation(name, 1, 4, 4, 2, low=-3, high=3) for name in ("one", "two")]
    bias = -1
    for number, output in enumerate(made):
        weight = net.constant(f"w{number}", np.ones((2, 1, 1, 2), np.int8), scales=[0.1, 0.2])
        if bias < 0 or not shared_bias:
            bias = net.bias(f"b{number}", x, weight)
        source = x if number == 0 else made[0]
        options = schema.Conv2DOptionsT(**_POINT)
        net.operator("CONV_2D", [source, weight, bias], [output], 3, options)
    total = net.activation("total", 1, 4, 4, 2, low=-6, high=6)
    net.operator("ADD", made, [total], 2, schema.AddOptionsT())
    amounts = net.constant("amounts", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    padded = net.activation("padded", 1, 6, 6, 2, low=-6, high=6)
    inputs = [total, amounts]
    if pad_with:
        step = net.step(total)
        inputs.append(net.constant(pad_with, np.zeros(1, np.int8), scales=[step], zero_point=0))
    net.operator("PADV2" if pad_with else "PAD", inputs, [padded], 2)
    gate = net.tensor("gate", (1, 6, 6, 2), "int8", scales=[1 / 256], zero_point=-128)
    net.operator("LOGISTIC", [padded], [gate], 2)
    product = net.activation("product", 1, 6, 6, 2, low=-6, high=6)
    net.operator("MUL", [padded, gate], [product], 2, schema.MulOptionsT())
    last = net.activation("last", 1, 6, 6, 2, low=-6, high=6)
    net.operator("QUANTIZE", [product], [last], 2)
    net.save(path, [x], [last])
    return read(path).subgraphs[0]


def test_what_is_padded_has_the_scale_of_its_source_and_sums_have_their_own(
    tmp_path: Path,
) -> None:
    main = branches(tmp_path / "m.tflite")
    assert names(main) == [["one"], ["two"], ["total", "padded"], ["product"]]


def test_ends_of_the_file_and_results_of_a_prescribed_scale_stay(tmp_path: Path) -> None:
    found = {name for group in names(branches(tmp_path / "m.tflite")) for name in group}
    assert found.isdisjoint({"image", "last", "gate"})


def test_what_an_island_reads_or_writes_stays(tmp_path: Path) -> None:
    main = branches(tmp_path / "m.tflite")
    multiplied = next(each for each in main.operators if each.op == "MUL")
    assert names(main, {multiplied.index}) == [["one"], ["two"]]


def test_a_constant_among_them_binds_a_set(tmp_path: Path) -> None:
    main = branches(tmp_path / "m.tflite", pad_with="zero")
    assert names(main) == [["one"], ["two"], ["product"]]


def test_the_source_of_a_layer_whose_bias_others_read_too_stays(tmp_path: Path) -> None:
    main = branches(tmp_path / "m.tflite", shared_bias=True)
    assert [own_bias(main, each) for each in main.operators[:2]] == [None, None]
    assert names(main) == [["two"], ["total", "padded"], ["product"]]


def test_a_pool_and_a_reshape_join_their_sources(tmp_path: Path) -> None:
    main = read(quantized_net(tmp_path / "m.tflite")).subgraphs[0]
    assert names(main) == [["stem"], ["deep"], ["wide", "pool", "flat"]]
