"""Each operator, lifted, computes what LiteRT computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.lifted import Lifted, Unliftable
from edgeprune.conversion.lift.walk import lift
from tests.support.lift_cases import (
    RELU,
    RELU6,
    RELU_N1_TO_1,
    SAME,
    TANH,
    VALID,
    Array,
    convolution,
    ints,
    reals,
    single,
    values,
)
from tests.support.runtime_judge import outputs
from tests.support.tflite_builder import Net

Make = Callable[[Path], Path]
IMAGE = (1, 7, 9, 4)


def one(*given: Any, **more: Any) -> Make:
    return lambda path: single(path, *given, **more)


def conv(**more: Any) -> Make:
    return partial(convolution, **more)


def pool(
    op: str, shape: tuple[int, ...], kernel: tuple[int, int], made: tuple[int, ...], **more: Any
) -> Make:
    options = schema.Pool2DOptionsT(
        filterHeight=kernel[0], filterWidth=kernel[1], **{"strideH": 1, "strideW": 1, **more}
    )
    return one(op, [shape], [made], options)


def transposed(
    padding: int, shape: tuple[int, ...], made: tuple[int, ...], kernel: int, stride: int
) -> Make:
    options = schema.TransposeConvOptionsT(padding=padding, strideH=stride, strideW=stride)
    weights = values(made[-1], kernel, kernel, shape[-1])
    given = [ints(*made), weights, shape, values(made[-1], seed=3)]
    return one("TRANSPOSE_CONV", given, [made], options, version=3)


def reduced(op: str, axes: tuple[int, ...], made: tuple[int, ...], *, keep: bool = False) -> Make:
    return one(op, [IMAGE, ints(*axes)], [made], schema.ReducerOptionsT(keepDims=keep))


def resized(op: str, size: tuple[int, int], *, corners: bool = False, half: bool = False) -> Make:
    kind = (
        schema.ResizeBilinearOptionsT if "BILINEAR" in op else schema.ResizeNearestNeighborOptionsT
    )
    options = kind(alignCorners=corners, halfPixelCenters=half)
    return one(op, [IMAGE, ints(*size)], [(1, *size, 4)], options, version=3)


def strided(
    begin: tuple[int, ...],
    end: tuple[int, ...],
    stride: tuple[int, ...],
    made: tuple[int, ...],
    **masks: int,
) -> Make:
    given = [IMAGE, ints(*begin), ints(*end), ints(*stride)]
    return one("STRIDED_SLICE", given, [made], schema.StridedSliceOptionsT(**masks))


CASES: Mapping[str, Make] = {
    **{
        f"conv {kernel} {strides} {dilation} {padding} {shape} {'dw' if depthwise else ''}": conv(
            kernel=kernel,
            strides=strides,
            dilation=dilation,
            padding=padding,
            shape=shape,
            depthwise=depthwise,
        )
        for depthwise in (False, True)
        for kernel, strides, dilation, padding, shape in [
            ((3, 3), (1, 1), (1, 1), SAME, (7, 9, 4)),
            ((3, 3), (2, 2), (1, 1), SAME, (7, 9, 4)),
            ((3, 3), (2, 2), (1, 1), SAME, (8, 8, 4)),
            ((2, 4), (2, 2), (1, 1), SAME, (7, 9, 4)),
            ((5, 3), (2, 1), (1, 1), SAME, (7, 9, 4)),
            ((1, 1), (2, 2), (1, 1), VALID, (7, 9, 4)),
            ((3, 3), (1, 1), (2, 3), SAME, (7, 9, 4)),
            ((3, 3), (1, 1), (2, 2), VALID, (7, 9, 4)),
            ((3, 3), (2, 2), (2, 2), SAME, (7, 9, 4)),
            ((3, 2), (2, 1), (2, 1), VALID, (8, 9, 4)),
        ]
    },
    "conv in groups": conv(groups=2),
    **{f"conv, activation {code}": conv(activation=code) for code in (RELU, RELU_N1_TO_1, RELU6)},
    "depthwise of one channel": conv(depthwise=True, shape=(7, 9, 1), multiplier=5),
    "transposed, same": transposed(SAME, (1, 4, 5, 3), (1, 8, 10, 2), 3, 2),
    "transposed, same, odd": transposed(SAME, (1, 4, 5, 3), (1, 7, 9, 2), 3, 2),
    "transposed, valid": transposed(VALID, (1, 4, 5, 3), (1, 9, 11, 2), 3, 2),
    "transposed, small kernel": transposed(SAME, (1, 4, 5, 3), (1, 12, 15, 2), 2, 3),
    **{
        f"conv of three axes, {padding} {strides} {dilation}": one(
            "CONV_3D",
            [(1, 5, 6, 7, 3), values(3, 2, 3, 3, 4), values(4)],
            [made],
            schema.Conv3DOptionsT(
                padding=padding,
                fusedActivationFunction=RELU,
                **dict(zip(("strideD", "strideH", "strideW"), strides, strict=True)),
                **{f"dilation{axis}Factor": dilation for axis in "DHW"},
            ),
        )
        for padding, strides, dilation, made in [
            (SAME, (1, 2, 2), 1, (1, 5, 3, 4, 4)),
            (VALID, (1, 1, 1), 2, (1, 1, 4, 3, 4)),
        ]
    },
    "dense": one(
        "FULLY_CONNECTED",
        [(1, 5), values(3, 5), values(3)],
        [(1, 3)],
        schema.FullyConnectedOptionsT(),
    ),
    "dense of a map": one(
        "FULLY_CONNECTED",
        [(1, 2, 3, 4), values(3, 24), values(1, 3)],
        [(1, 3)],
        schema.FullyConnectedOptionsT(fusedActivationFunction=RELU),
    ),
    "dense of rows": one(
        "FULLY_CONNECTED",
        [(1, 6, 4), values(3, 4), None],
        [(1, 6, 3)],
        schema.FullyConnectedOptionsT(keepNumDims=True),
        version=5,
    ),
    "dense of rows that are the batch": one(
        "FULLY_CONNECTED", [(6, 4), values(3, 4), None], [(6, 3)], schema.FullyConnectedOptionsT()
    ),
    "matmul": one(
        "BATCH_MATMUL", [(1, 6, 4), values(4, 3)], [(1, 6, 3)], schema.BatchMatMulOptionsT()
    ),
    "matmul, turned": one(
        "BATCH_MATMUL",
        [(1, 6, 4), values(3, 4)],
        [(1, 6, 3)],
        schema.BatchMatMulOptionsT(adjY=True),
    ),
    "matmul of two values": one(
        "BATCH_MATMUL", [(1, 4, 6), (1, 3, 4)], [(1, 6, 3)], schema.BatchMatMulOptionsT(True, True)
    ),
    **{
        f"{op} of two": one(op, [IMAGE, IMAGE], [IMAGE], options)
        for op, options in [
            ("ADD", schema.AddOptionsT(fusedActivationFunction=RELU)),
            ("SUB", schema.SubOptionsT(fusedActivationFunction=RELU6)),
            ("MUL", schema.MulOptionsT(fusedActivationFunction=RELU_N1_TO_1)),
            ("DIV", schema.DivOptionsT()),
            ("MAXIMUM", schema.MaximumMinimumOptionsT()),
            ("MINIMUM", schema.MaximumMinimumOptionsT()),
            ("SQUARED_DIFFERENCE", schema.SquaredDifferenceOptionsT()),
        ]
    },
    "add, broadcast": one("ADD", [IMAGE, (1, 1, 1, 4)], [IMAGE], schema.AddOptionsT()),
    "add a value of fewer axes": one("ADD", [IMAGE, (4,)], [IMAGE], schema.AddOptionsT()),
    **{
        f"{op} with {name}": one(op, given, [IMAGE], options)
        for op, options in [
            ("ADD", schema.AddOptionsT()),
            ("SUB", schema.SubOptionsT()),
            ("MUL", schema.MulOptionsT()),
            ("DIV", schema.DivOptionsT()),
            ("MAXIMUM", schema.MaximumMinimumOptionsT()),
        ]
        for name, given in [
            ("a number", [IMAGE, values()]),
            ("channels", [IMAGE, values(4)]),
            ("channels before", [values(1, 1, 1, 4), IMAGE]),
            ("places", [IMAGE, values(1, 7, 9, 1)]),
        ]
    },
    "number to the power": one("POW", [IMAGE, reals(2)], [IMAGE], schema.PowOptionsT()),
    "a constant larger than the value": one(
        "MUL", [(1, 1, 1, 4), values(7, 9, 1)], [IMAGE], schema.MulOptionsT()
    ),
    "concatenation": one(
        "CONCATENATION", [IMAGE, IMAGE], [(1, 7, 9, 8)], schema.ConcatenationOptionsT(axis=-1)
    ),
    "concatenation with a constant": one(
        "CONCATENATION",
        [values(1, 1, 4), (1, 6, 4)],
        [(1, 7, 4)],
        schema.ConcatenationOptionsT(axis=1),
    ),
    "concatenation of batches": one(
        "CONCATENATION", [(1, 4), (1, 4)], [(2, 4)], schema.ConcatenationOptionsT(axis=0)
    ),
    "pad": one(
        "PAD",
        [IMAGE, ints([0, 0], [1, 2], [0, 3], [0, 0])],
        [(1, 10, 12, 4)],
        schema.PadOptionsT(),
    ),
    "pad channels": one(
        "PAD", [IMAGE, ints([0, 0], [0, 0], [0, 0], [0, 4])], [(1, 7, 9, 8)], schema.PadOptionsT()
    ),
    "pad all": one(
        "PAD", [IMAGE, ints([0, 0], [1, 1], [0, 0], [2, 4])], [(1, 9, 9, 10)], schema.PadOptionsT()
    ),
    "pad a sequence": one(
        "PAD", [(1, 6, 4), ints([0, 0], [1, 2], [0, 0])], [(1, 9, 4)], schema.PadOptionsT()
    ),
    "pad the lowest": one(
        "PADV2",
        [IMAGE, ints([0, 0], [1, 1], [1, 1], [0, 0]), reals(-3e38)],
        [(1, 9, 11, 4)],
        schema.PadV2OptionsT(),
    ),
    "pad channels with ones": one(
        "PADV2",
        [IMAGE, ints([0, 0], [0, 0], [0, 0], [1, 0]), reals(1)],
        [(1, 7, 9, 5)],
        schema.PadV2OptionsT(),
    ),
    **{
        f"mirror {mode}": one(
            "MIRROR_PAD",
            [IMAGE, ints([0, 0], [1, 2], [3, 0], [0, 0])],
            [(1, 10, 12, 4)],
            schema.MirrorPadOptionsT(mode=mode),
        )
        for mode in (0, 1)
    },
    "max pool": pool("MAX_POOL_2D", IMAGE, (3, 3), (1, 4, 5, 4), strideH=2, strideW=2),
    "max pool, valid": pool("MAX_POOL_2D", IMAGE, (2, 3), (1, 6, 7, 4), padding=VALID),
    "average pool": pool("AVERAGE_POOL_2D", IMAGE, (3, 2), (1, 4, 9, 4), strideH=2),
    "average pool of all": pool(
        "AVERAGE_POOL_2D",
        IMAGE,
        (7, 9),
        (1, 1, 1, 4),
        padding=VALID,
        strideH=7,
        strideW=9,
        fusedActivationFunction=RELU,
    ),
    "mean of places": reduced("MEAN", (1, 2), (1, 4)),
    "mean of places, kept": reduced("MEAN", (-3, 2), (1, 1, 1, 4), keep=True),
    "mean of channels": reduced("MEAN", (3,), (1, 7, 9, 1), keep=True),
    "mean of everything": reduced("MEAN", (0, 1, 2, 3), ()),
    "sum": reduced("SUM", (2, 3), (1, 7)),
    "greatest": reduced("REDUCE_MAX", (1, 2), (1, 4)),
    "reshape": one("RESHAPE", [IMAGE, ints(1, 63, 4)], [(1, 63, 4)], schema.ReshapeOptionsT()),
    "reshape, open": one("RESHAPE", [IMAGE, ints(1, -1)], [(1, 252)], schema.ReshapeOptionsT()),
    "reshape by options": one(
        "RESHAPE", [IMAGE], [(1, 9, 28)], schema.ReshapeOptionsT(newShape=ints(1, 9, 28))
    ),
    "reshape without batch": one(
        "RESHAPE", [IMAGE, ints(63, 4)], [(63, 4)], schema.ReshapeOptionsT()
    ),
    "squeeze": one(
        "SQUEEZE", [(1, 1, 1, 4)], [(1, 4)], schema.SqueezeOptionsT(squeezeDims=ints(1, 2))
    ),
    "expand": one("EXPAND_DIMS", [(1, 4), ints(1)], [(1, 1, 4)], schema.ExpandDimsOptionsT()),
    "transpose": one(
        "TRANSPOSE", [IMAGE, ints(0, 3, 1, 2)], [(1, 4, 7, 9)], schema.TransposeOptionsT()
    ),
    "transpose with the batch": one(
        "TRANSPOSE", [IMAGE, ints(1, 0, 3, 2)], [(7, 1, 4, 9)], schema.TransposeOptionsT()
    ),
    "transpose that moves nothing": one(
        "TRANSPOSE", [(1, 6, 4), ints(1, 0, 2)], [(6, 1, 4)], schema.TransposeOptionsT()
    ),
    "slice": one(
        "SLICE",
        [IMAGE, ints(0, 1, 2, 1), ints(1, 3, -1, 2)],
        [(1, 3, 7, 2)],
        schema.SliceOptionsT(),
    ),
    "stride": strided((0, 1, 0, 0), (1, 7, 9, 4), (1, 2, 3, 1), (1, 3, 3, 4)),
    "stride backwards": strided(
        (0, 0, -1, 0), (1, 7, -10, 4), (1, 1, -1, 1), IMAGE, endMask=0b0100
    ),
    "stride, shrinking": strided(
        (0, 2, 0, -1), (1, 3, 9, 0), (1, 1, 1, 1), (1, 9), shrinkAxisMask=0b1010
    ),
    "stride, shrinking the batch": strided(
        (0, 2), (1, 5), (1, 1), (3, 9, 4), shrinkAxisMask=0b01, beginMask=0
    ),
    "stride, ellipsis": strided((0, 1), (0, 3), (1, 1), (1, 7, 9, 2), ellipsisMask=0b01),
    "stride, new axis": strided(
        (0, 0, 0), (1, 0, 7), (1, 1, 2), (1, 1, 4, 9, 4), newAxisMask=0b010, endMask=0b100
    ),
    "split": one("SPLIT", [ints(3), IMAGE], [(1, 7, 9, 2)] * 2, schema.SplitOptionsT(numSplits=2)),
    "split by sizes": one(
        "SPLIT_V",
        [IMAGE, ints(3, -1, 2), ints(1)],
        [(1, 3, 9, 4), (1, 2, 9, 4), (1, 2, 9, 4)],
        schema.SplitVOptionsT(numSplits=3),
    ),
    "pack": one("PACK", [(1, 4), (1, 4)], [(1, 2, 4)], schema.PackOptionsT(valuesCount=2, axis=1)),
    "unpack": one("UNPACK", [(1, 3, 4)], [(1, 4)] * 3, schema.UnpackOptionsT(num=3, axis=1)),
    "unpack the batch": one("UNPACK", [IMAGE], [IMAGE[1:]], schema.UnpackOptionsT(num=1, axis=0)),
    "gather": one("GATHER", [IMAGE, ints(3, 0, 0)], [(1, 7, 9, 3)], schema.GatherOptionsT(axis=3)),
    "gather in two axes": one(
        "GATHER", [(1, 4, 2), ints([3, 0], [1, 1])], [(1, 2, 2, 2)], schema.GatherOptionsT(axis=1)
    ),
    "reverse": one("REVERSE_V2", [IMAGE, ints(1)], [IMAGE], schema.ReverseV2OptionsT()),
    "gather many": one(
        "GATHER",
        [(1, 4, 2), np.arange(600, dtype=np.int32) % 4],
        [(1, 600, 2)],
        schema.GatherOptionsT(axis=1),
    ),
    "sum so far": one("CUMSUM", [IMAGE, ints(2)], [IMAGE], schema.CumsumOptionsT()),
    "largest": one(
        "TOPK_V2",
        [(1, 3, 5), ints(2)],
        [(1, 3, 2), (1, 3, 2)],
        schema.TopKV2OptionsT(),
        dtype=("float32", "int32"),
    ),
    "tile": one("TILE", [IMAGE, ints(1, 2, 1, 3)], [(1, 14, 9, 12)], schema.TileOptionsT()),
    "tile the batch": one("TILE", [(1, 4), ints(3, 1)], [(3, 4)], schema.TileOptionsT()),
    "softmax": one("SOFTMAX", [(1, 5)], [(1, 5)], schema.SoftmaxOptionsT(beta=1.0)),
    "softmax, sharper": one("SOFTMAX", [(1, 3, 5)], [(1, 3, 5)], schema.SoftmaxOptionsT(beta=2.5)),
    "normalization": one("L2_NORMALIZATION", [(1, 5)], [(1, 5)], schema.L2NormOptionsT()),
    "leaky": one("LEAKY_RELU", [IMAGE], [IMAGE], schema.LeakyReluOptionsT(alpha=0.3)),
    "gelu": one("GELU", [IMAGE], [IMAGE], schema.GeluOptionsT(approximate=False)),
    "gelu, approximate": one("GELU", [IMAGE], [IMAGE], schema.GeluOptionsT(approximate=True)),
    "prelu of channels": one("PRELU", [IMAGE, values(1, 1, 4)], [IMAGE]),
    "prelu of places": one("PRELU", [IMAGE, values(1, 7, 1, 1)], [IMAGE]),
    "prelu of one": one("PRELU", [IMAGE, values(1, 1, 1)], [IMAGE]),
    **{
        op: one(op, [IMAGE], [IMAGE])
        for op in [
            "ABS",
            "ELU",
            "EXP",
            "HARD_SWISH",
            "LOGISTIC",
            "NEG",
            "RELU",
            "RELU6",
            "RELU_N1_TO_1",
            "SQUARE",
            "TANH",
            "COS",
            "SIN",
            "FLOOR",
            "SIGN",
        ]
    },
    "LOG_SOFTMAX": one("LOG_SOFTMAX", [(1, 5)], [(1, 5)], schema.LogSoftmaxOptionsT()),
    **{
        f"{op} {size} {corners} {half}": resized(op, size, corners=corners, half=half)
        for op in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
        for size in ((14, 27), (10, 5), (13, 17))
        for corners, half in ((False, False), (True, False), (False, True))
    },
    "depth to space": one(
        "DEPTH_TO_SPACE", [(1, 3, 2, 12)], [(1, 6, 4, 3)], schema.DepthToSpaceOptionsT(blockSize=2)
    ),
    "space to depth": one(
        "SPACE_TO_DEPTH", [(1, 6, 4, 3)], [(1, 3, 2, 12)], schema.SpaceToDepthOptionsT(blockSize=2)
    ),
    "add several": one("ADD_N", [IMAGE, IMAGE, IMAGE], [IMAGE], schema.AddNOptionsT()),
    "angle": one("ATAN2", [IMAGE, IMAGE], [IMAGE]),
    "pool of squares": pool("L2_POOL_2D", IMAGE, (3, 2), (1, 4, 5, 4), strideH=2, strideW=2),
    "sum before each": one(
        "CUMSUM", [IMAGE, ints(2)], [IMAGE], schema.CumsumOptionsT(exclusive=True)
    ),
    "sum behind each": one(
        "CUMSUM", [IMAGE, ints(1)], [IMAGE], schema.CumsumOptionsT(exclusive=True, reverse=True)
    ),
    "gather of each sample": one(
        "GATHER",
        [(1, 4, 2), ints([3, 0, 3])],
        [(1, 3, 2)],
        schema.GatherOptionsT(axis=1, batchDims=1),
    ),
    "gather places": one(
        "GATHER_ND", [IMAGE, ints([[0, 1, 2], [0, 6, 8]])], [(1, 2, 4)], schema.GatherNdOptionsT()
    ),
    "scatter": one(
        "SCATTER_ND",
        [ints([0, 1], [0, 3], [0, 1]), (3, 4), ints(1, 5, 4)],
        [(1, 5, 4)],
        schema.ScatterNdOptionsT(),
    ),
    "replaced": one(
        "DYNAMIC_UPDATE_SLICE",
        [IMAGE, (1, 2, 3, 4), ints(0, 4, 8, 0)],
        [IMAGE],
        schema.DynamicUpdateSliceOptionsT(),
    ),
    "zeros": one("ZEROS_LIKE", [IMAGE], [IMAGE], schema.ZerosLikeOptionsT()),
    **{
        f"fake quantization to {bits} bits": one(
            "FAKE_QUANT",
            [IMAGE],
            [IMAGE],
            schema.FakeQuantOptionsT(min=-1.1, max=0.7, numBits=bits),
        )
        for bits in (8, 4)
    },
    "cast": one("CAST", [IMAGE], [IMAGE], schema.CastOptionsT(), dtype="int32"),
    "place of the least": one(
        "ARG_MIN",
        [(1, 3, 5), ints(2)],
        [(1, 3)],
        schema.ArgMinOptionsT(outputType=schema.TensorType.INT32),
        dtype="int32",
    ),
    "place of the greatest": one(
        "ARG_MAX",
        [(1, 3, 5), ints(2)],
        [(1, 3)],
        schema.ArgMaxOptionsT(outputType=schema.TensorType.INT64),
        dtype="int64",
    ),
}


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Path, list[Array]]]:
    """The file of each case, and what LiteRT computes of it; all in one process."""
    folder = tmp_path_factory.mktemp("lift")
    paths = [make(folder / f"{number}.tflite") for number, make in enumerate(CASES.values())]
    results = outputs("ai_edge_litert.interpreter", paths, folder)
    return dict(zip(CASES, zip(paths, results, strict=True), strict=True))


def infer(lifted: Lifted) -> list[Array]:
    """What the lifted model computes of what `outputs` feeds."""
    generator = np.random.default_rng(1)
    given = [
        generator.standard_normal([size or 1 for size in tensor.shape]).astype(np.float32)
        for tensor in lifted.model.inputs
    ]
    made = keras.tree.flatten(lifted.model(given if len(given) > 1 else given[0]))
    return [np.asarray(each) for each in made]


@pytest.mark.parametrize("case", CASES)
def test_a_lifted_operator_computes_what_litert_computes(
    computed: Mapping[str, tuple[Path, list[Array]]], case: str
) -> None:
    path, expected = computed[case]
    lifted = lift(path)
    for ours, theirs in zip(infer(lifted), expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert set(lifted.operators.values()) == {0}
    assert set(lifted.tensors) >= {*lifted.graph.inputs, *lifted.graph.outputs}


def test_operators_on_whole_numbers_and_conditions_compute_what_litert_computes(
    tmp_path: Path,
) -> None:
    net = Net()
    x = net.tensor("x", (1, 4, 3))
    whole = net.tensor("whole", (1, 4, 3), "int32")
    net.operator("CAST", [x], [whole], options=schema.CastOptionsT())
    made: list[int] = []

    def add(op: str, given: list[int], shape: tuple[int, ...], dtype: str, options: Any) -> int:
        made.append(net.tensor(f"{len(made)}", shape, dtype))
        net.operator(op, given, [made[-1]], options=options)
        return made[-1]

    one = net.constant("one", ints(1))
    above = add("GREATER", [whole, one], (1, 4, 3), "bool", schema.GreaterOptionsT())
    for op in ("REDUCE_ANY", "REDUCE_ALL"):
        add(op, [above, one], (1, 3), "bool", schema.ReducerOptionsT())
    add("RIGHT_SHIFT", [whole, one], (1, 4, 3), "int32", None)
    numbers = [net.constant(f"number {each}", np.array(each, np.float32)) for each in (2.5, -1)]
    for axis, shape in ((-1, (1, 4, 3, 3)), (1, (1, 3, 4, 3))):
        depth = net.constant(f"depth {axis}", np.array(3, np.int32))
        options = schema.OneHotOptionsT(axis=axis)
        add("ONE_HOT", [whole, depth, *numbers], shape, "float32", options)
    path = net.save(tmp_path / "m.tflite", [x], made)
    (expected,) = outputs("ai_edge_litert.interpreter", [path], tmp_path)
    for ours, theirs in zip(infer(lift(path)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "make",
    [
        conv(activation=TANH),
        one(
            "CONCATENATION",
            [IMAGE, IMAGE],
            [(1, 7, 9, 8)],
            schema.ConcatenationOptionsT(axis=3, fusedActivationFunction=RELU),
        ),
    ],
)
def test_a_fused_activation_that_runtimes_leave_out_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(Unliftable, match=r"operator 0 \(CON.*fused activation"):
        lift(make(tmp_path / "file.tflite"))
