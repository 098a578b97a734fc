"""Which operators the Edge TPU compiler maps: each rule, and the cut by data dependency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.targets.edgetpu_model.mapping import on_cpu, place
from edgeprune.targets.edgetpu_model.operators import MAPPING_RULES
from edgeprune.tflite.format.file import Graph
from tests.support.edgetpu_networks import CONVOLUTION, Net8, lone_operator

MAP = (1, 6, 6, 8)
ROW = (1, 8)
RELU = schema.ActivationFunctionType.RELU


def _ints(*values: Any) -> Any:
    return np.array(values, np.int32)


def _eights(*shape: int) -> Any:
    return np.ones(shape, np.int8)


def _convolution(**options: int) -> Any:
    both = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
    return schema.Conv2DOptionsT(**{**both, **options})


def _dense(**options: Any) -> Any:
    return schema.FullyConnectedOptionsT(**options)


def _slice(**masks: int) -> Any:
    return schema.StridedSliceOptionsT(**masks)


WEIGHTS = {1: _eights(8, 1, 1, 8), 2: _ints(*[0] * 8)}
MAPPED: dict[str, tuple[Any, ...]] = {
    "logistic": ("LOGISTIC", [MAP], MAP),
    "relu": ("RELU", [MAP], MAP),
    "relu6": ("RELU6", [MAP], MAP),
    "relu from -1 to 1": ("RELU_N1_TO_1", [MAP], MAP),
    "tanh": ("TANH", [MAP], MAP),
    "add": ("ADD", [MAP, MAP], MAP),
    "maximum": ("MAXIMUM", [MAP, MAP], MAP),
    "minimum": ("MINIMUM", [MAP, MAP], MAP),
    "multiply": ("MUL", [MAP, MAP], MAP),
    "multiply by a constant": ("MUL", [MAP], MAP, {"constants": {1: _eights(1, 1, 1, 8)}}),
    "subtract": ("SUB", [MAP, MAP], MAP),
    "uint8": ("ADD", [MAP, MAP], MAP, {"dtypes": ("uint8", "uint8")}),
    "average": ("AVERAGE_POOL_2D", [MAP], MAP, {"options": schema.Pool2DOptionsT()}),
    "maximum pool": ("MAX_POOL_2D", [MAP], MAP, {"options": schema.Pool2DOptionsT()}),
    "join": ("CONCATENATION", [MAP, MAP, MAP], (1, 6, 6, 24)),
    "join with zeros": (
        "CONCATENATION",
        [MAP],
        (1, 6, 6, 16),
        {"constants": {1: np.zeros(MAP, np.int8)}},
    ),
    "convolution": ("CONV_2D", [MAP], MAP, {"options": CONVOLUTION, "constants": WEIGHTS}),
    "dilated alike": (
        "CONV_2D",
        [MAP],
        MAP,
        {
            "options": _convolution(dilationWFactor=2, dilationHFactor=2),
            "constants": WEIGHTS,
        },
    ),
    "dense": (
        "FULLY_CONNECTED",
        [ROW],
        ROW,
        {"options": _dense(), "constants": {1: _eights(8, 8)}},
    ),
    "norm": ("L2_NORMALIZATION", [MAP], MAP),
    "mean over the map": ("MEAN", [MAP], ROW, {"constants": {1: _ints(1, 2)}}),
    "mean, axes from the end": ("MEAN", [MAP], ROW, {"constants": {1: _ints(-3, -2)}}),
    "pad the map": (
        "PAD",
        [MAP],
        (1, 8, 8, 8),
        {"constants": {1: _ints([0, 0], [1, 1], [1, 1], [0, 0])}},
    ),
    "reshape": ("RESHAPE", [MAP], (1, 288), {"constants": {1: _ints(1, 288)}}),
    "resize to the same size": ("RESIZE_BILINEAR", [MAP], MAP, {"constants": {1: _ints(6, 6)}}),
    "resize by 2": ("RESIZE_BILINEAR", [MAP], (1, 12, 12, 8), {"constants": {1: _ints(12, 12)}}),
    "resize by 4": (
        "RESIZE_NEAREST_NEIGHBOR",
        [MAP],
        (1, 24, 24, 8),
        {"constants": {1: _ints(24, 24)}},
    ),
    "slice": ("SLICE", [MAP], (1, 3, 6, 8), {"constants": {1: _ints(0), 2: _ints(1)}}),
    "softmax of 16000": ("SOFTMAX", [(1, 16000)], (1, 16000)),
    "space to depth": ("SPACE_TO_DEPTH", [MAP], (1, 3, 3, 32)),
    "split": ("SPLIT", [MAP], MAP, {"constants": {0: _ints(3)}}),
    "squeeze leading": ("SQUEEZE", [(1, 1, 1, 8)], ROW),
    "strided slice": (
        "STRIDED_SLICE",
        [MAP],
        MAP,
        {
            "options": _slice(beginMask=1),
            "constants": {1: _ints(0), 2: _ints(1), 3: _ints(1, 1, 1, 1)},
        },
    ),
    "new dimension": ("EXPAND_DIMS", [ROW], (1, 1, 8), {"constants": {1: _ints(1)}}),
    "pack": ("PACK", [(6, 8), (6, 8)], (2, 6, 8)),
    "uint8 to int8": ("QUANTIZE", [MAP], MAP, {"dtypes": ("uint8", "int8")}),
    "int8 to uint8": ("QUANTIZE", [MAP], MAP, {"dtypes": ("int8", "uint8")}),
    "int8 to int8": ("QUANTIZE", [MAP], MAP),
    "sum": ("SUM", [MAP], ROW, {"constants": {1: _ints(1, 2)}}),
    "transposed convolution": (
        "TRANSPOSE_CONV",
        [MAP],
        (1, 12, 12, 8),
        {"constants": {0: _ints(1, 12, 12, 8), 1: _eights(8, 2, 2, 8)}},
    ),
    "slopes": ("PRELU", [MAP], MAP, {"constants": {1: _eights(1, 1, 8)}}),
    "largest": ("REDUCE_MAX", [MAP], ROW, {"constants": {1: _ints(1, 2)}}),
    "smallest": ("REDUCE_MIN", [MAP], ROW, {"constants": {1: _ints(1, 2)}}),
    "transpose": ("TRANSPOSE", [MAP], MAP, {"constants": {1: _ints(0, 2, 1, 3)}}),
    "reciprocal root": ("RSQRT", [MAP], MAP),
    "squared difference": ("SQUARED_DIFFERENCE", [MAP, MAP], MAP),
    "tile": ("TILE", [MAP], (1, 12, 6, 8), {"constants": {1: _ints(1, 2, 1, 1)}}),
    "long short-term memory": ("UNIDIRECTIONAL_SEQUENCE_LSTM", [(1, 28, 28)], (1, 28, 20)),
    "older long short-term memory": ("LSTM", [(1, 28)], (1, 20)),
}
LEFT: dict[str, tuple[Any, ...]] = {
    "operation not supported": ("ARG_MAX", [MAP], (1, 6, 6), {"constants": {1: _ints(3)}}),
    "custom operator": ("CUSTOM", [MAP], MAP, {"custom_code": b"Decoder"}),
    "data type float32": ("QUANTIZE", [MAP], MAP, {"dtypes": ("float32", "int8")}),
    "data type int32": ("MUL", [MAP, MAP], MAP, {"dtypes": ("int32", "int32")}),
    "more than three dimensions": ("ADD", [(2, 6, 6, 8)] * 2, (2, 6, 6, 8)),
    "not square": (
        "CONV_2D",
        [MAP],
        MAP,
        {"options": _convolution(dilationWFactor=2), "constants": WEIGHTS},
    ),
    "weights are not constant": ("CONV_2D", [MAP, (1, 1, 1, 8)], MAP, {"options": CONVOLUTION}),
    "weights of type float32": (
        "CONV_2D",
        [MAP],
        MAP,
        {"options": CONVOLUTION, "constants": {1: np.ones((8, 1, 1, 8), np.float32)}},
    ),
    "more than one row comes out": (
        "FULLY_CONNECTED",
        [(3, 8)],
        (3, 8),
        {"options": _dense(), "constants": {1: _eights(8, 8)}},
    ),
    "shuffled format": (
        "FULLY_CONNECTED",
        [ROW],
        ROW,
        {"options": _dense(weightsFormat=1), "constants": {1: _eights(8, 8)}},
    ),
    "operation version 9": (
        "FULLY_CONNECTED",
        [ROW],
        ROW,
        {"options": _dense(), "constants": {1: _eights(8, 8)}, "version": 9},
    ),
    "a fused activation": (
        "AVERAGE_POOL_2D",
        [MAP],
        MAP,
        {"options": schema.Pool2DOptionsT(fusedActivationFunction=RELU)},
    ),
    "a fused activation on": (
        "CONCATENATION",
        [MAP, MAP],
        (1, 6, 6, 16),
        {"options": schema.ConcatenationOptionsT(fusedActivationFunction=RELU)},
    ),
    "not all zero": ("CONCATENATION", [MAP], (1, 6, 6, 16), {"constants": {1: _eights(*MAP)}}),
    "more than two inputs": (
        "CONCATENATION",
        [MAP, MAP],
        (1, 6, 6, 24),
        {"constants": {2: np.zeros(MAP, np.int8)}},
    ),
    "reduces along axis 3": ("MEAN", [MAP], (1, 6, 6), {"constants": {1: _ints(-1)}}),
    "pads along axis 3": (
        "PAD",
        [MAP],
        (1, 6, 6, 12),
        {"constants": {1: _ints([0, 0], [0, 0], [0, 0], [0, 4])}},
    ),
    "resizes 6x6 to 30x30": (
        "RESIZE_BILINEAR",
        [MAP],
        (1, 30, 30, 8),
        {"constants": {1: _ints(30, 30)}},
    ),
    "resizes 6x6 to 9x9": (
        "RESIZE_NEAREST_NEIGHBOR",
        [MAP],
        (1, 9, 9, 8),
        {"constants": {1: _ints(9, 9)}},
    ),
    "resizes 6x6 to 3x3": ("RESIZE_BILINEAR", [MAP], (1, 3, 3, 8), {"constants": {1: _ints(3, 3)}}),
    "more than 16000 classes": ("SOFTMAX", [(1, 16001)], (1, 16001)),
    "more than one row:": ("SOFTMAX", [(2, 10)], (2, 10)),
    "other than leading": ("SQUEEZE", [(1, 6, 1, 8)], (1, 6, 8)),
    "strides other than 1": (
        "STRIDED_SLICE",
        [MAP],
        (1, 3, 6, 8),
        {"options": _slice(), "constants": {1: _ints(0), 2: _ints(1), 3: _ints(1, 2, 1, 1)}},
    ),
    "a new axis": (
        "STRIDED_SLICE",
        [MAP],
        (1, 1, 6, 6, 8),
        {
            "options": _slice(newAxisMask=1),
            "constants": {1: _ints(0), 2: _ints(1), 3: _ints(1, 1, 1, 1)},
        },
    ),
    "compiled already": ("CUSTOM", [MAP], MAP, {"custom_code": b"edgetpu-custom-op"}),
}


def _lone(path: Path, case: tuple[Any, ...]) -> Graph:
    op, shapes, made, *more = case
    return lone_operator(path, op, shapes, made, **(more[0] if more else {}))


@pytest.mark.parametrize("name", MAPPED)
def test_what_keeps_to_the_rules_is_mapped(name: str, tmp_path: Path) -> None:
    (placement,) = place(_lone(tmp_path / "one.tflite", MAPPED[name]))
    assert (placement.mapped, placement.reason) == (True, "")


@pytest.mark.parametrize("reason", LEFT)
def test_what_breaks_a_rule_stays_on_the_cpu_for_that_reason(reason: str, tmp_path: Path) -> None:
    (placement,) = place(_lone(tmp_path / "one.tflite", LEFT[reason]))
    assert not placement.mapped
    assert reason.removesuffix(" on") in placement.reason


def test_every_operator_of_the_list_is_tried_here() -> None:
    assert {case[0] for case in MAPPED.values()} | {"DEPTHWISE_CONV_2D"} == set(MAPPING_RULES)


def test_a_size_set_at_run_time_keeps_an_operator_on_the_cpu(tmp_path: Path) -> None:
    net = Net8()
    x = net.map8(MAP)
    net.graph.tensors[x].shapeSignature = np.array([-1, 6, 6, 8], np.int32)
    y = net.step("RELU", x, MAP)
    (placement,) = place(net.graph_at(tmp_path / "open.tflite", [x], [y]))
    assert "set at run time: [-1, 6, 6, 8]" in placement.reason


def test_state_of_16_bits_does_not_keep_an_lstm_on_the_cpu(tmp_path: Path) -> None:
    net = Net8()
    x, state = net.map8((1, 28, 28)), net.map8((1, 20), "int16")
    net.graph.tensors[state].isVariable = True
    y = net.step("UNIDIRECTIONAL_SEQUENCE_LSTM", x, (1, 28, 20), state)
    (placement,) = place(net.graph_at(tmp_path / "lstm.tflite", [x], [y]))
    assert placement.mapped


def test_one_subgraph_is_cut_where_data_flows_and_not_where_operators_stand(tmp_path: Path) -> None:
    net = Net8()
    x = net.map8(MAP, "float32")
    start = net.step("QUANTIZE", x, MAP)
    trunk = net.step("RELU", start, MAP)
    first = net.step("FLOOR", trunk, MAP)
    after = net.step("RELU", first, MAP)
    second = net.step("RELU", trunk, MAP)
    both = net.step("ADD", after, MAP, second)
    graph = net.graph_at(tmp_path / "heads.tflite", [x], [both])
    placements = place(graph)
    assert [p.mapped for p in placements] == [False, True, False, False, True, False]
    assert [p.behind_cut for p in placements] == [False, False, False, True, False, True]
    assert "depends on FLOOR (operator 2)" in placements[5].reason
    assert on_cpu(placements).startswith("QUANTIZE: data type float32")
    assert "FLOOR: operation not supported" in on_cpu(placements)


def test_operators_of_one_kind_and_reason_are_told_once(tmp_path: Path) -> None:
    net = Net8()
    x = net.map8(MAP)
    y = net.step("FLOOR", net.step("FLOOR", x, MAP), MAP)
    told = on_cpu(place(net.graph_at(tmp_path / "two.tflite", [x], [y])))
    assert told == "FLOOR x2: operation not supported"


@st.composite
def _networks(draw: st.DrawFn) -> list[tuple[bool, tuple[int, int]]]:
    """For every operator: whether it can be mapped, and which two earlier tensors it reads."""
    count = draw(st.integers(1, 12))
    return [
        (draw(st.booleans()), (draw(st.integers(0, i)), draw(st.integers(0, i))))
        for i in range(count)
    ]


def _slow_placement(network: list[tuple[bool, tuple[int, int]]]) -> list[bool]:
    """By the definition: mapped if it can be, and no operator before it cut the subgraph."""

    def ancestors(index: int) -> set[int]:
        parents = {tensor - 1 for tensor in network[index][1] if tensor}
        return parents.union(*(ancestors(parent) for parent in parents))

    def cuts(index: int) -> bool:
        return not network[index][0] and any(mapped(other) for other in ancestors(index))

    def mapped(index: int) -> bool:
        return network[index][0] and not any(cuts(other) for other in ancestors(index))

    return [mapped(index) for index in range(len(network))]


@given(_networks())
def test_any_network_is_cut_as_the_definition_says(
    tmp_path_factory: pytest.TempPathFactory, network: list[tuple[bool, tuple[int, int]]]
) -> None:
    net = Net8()
    tensors = [net.map8(ROW)]
    for can, (first, second) in network:
        op = "ADD" if can else "DIV"
        tensors.append(net.step(op, tensors[first], ROW, tensors[second]))
    path = tmp_path_factory.getbasetemp() / "any.tflite"
    found = place(net.graph_at(path, tensors[:1], tensors[-1:]))
    assert [placement.mapped for placement in found] == _slow_placement(network)
