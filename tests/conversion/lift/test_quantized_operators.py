"""Each operator on quantized values, lifted, computes what LiteRT computes, up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.lifted import Unliftable
from edgeprune.conversion.lift.site import quantized as is_quantized
from edgeprune.conversion.lift.walk import lift
from edgeprune.tflite.format.graph import Tensor
from tests.support.lift_cases import RELU, RELU6, SAME, VALID, Array, ints, span, values
from tests.support.quantized_cases import Bias, Kernel, Numbers, quantized
from tests.support.runtime_judge import outputs

Make = Callable[[Path, Numbers], Path]
IMAGE = (1, 7, 9, 4)
LOGISTIC = {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)}
TANH = {"int8": (1 / 128, 0), "uint8": (1 / 128, 128), "int16": (1 / 32768, 0)}


def one(*given: Any, spans: Mapping[str, tuple[float, int]] | None = None, **more: Any) -> Make:
    def make(path: Path, numbers: Numbers) -> Path:
        step, zero = (None, None) if spans is None else spans[numbers]
        return quantized(path, *given, numbers=numbers, **{"step": step, "zero": zero, **more})

    return make


def conv(
    strides: int, padding: int, activation: int = 0, *, depthwise: bool = False, **more: Any
) -> Make:
    made = (1, *(span(size, 3, strides, 1, padding) for size in IMAGE[1:3]), 8)
    common = {"padding": padding, "strideH": strides, "strideW": strides}
    common |= {"dilationHFactor": 1, "dilationWFactor": 1, "fusedActivationFunction": activation}
    if depthwise:
        weights, axis, op = values(1, 3, 3, 8), 3, "DEPTHWISE_CONV_2D"
        options = schema.DepthwiseConv2DOptionsT(depthMultiplier=2, **common)
    else:
        weights, axis, op = values(8, 3, 3, 4), 0, "CONV_2D"
        options = schema.Conv2DOptionsT(**common)
    given = [IMAGE, Kernel(weights, axis), Bias(values(8, seed=8))]
    return one(op, given, [made], options, **{"step": 0.1, **more})


def dense(out: int, activation: int = 0, **more: Any) -> Make:
    given = [(1, 12), Kernel(values(out, 12)), Bias(values(out))]
    options = schema.FullyConnectedOptionsT(fusedActivationFunction=activation)
    return one("FULLY_CONNECTED", given, [(1, out)], options, **{"step": 0.1, **more})


def pool(op: str, **more: Any) -> Make:
    options = schema.Pool2DOptionsT(filterHeight=3, filterWidth=3, strideH=2, strideW=2, **more)
    return one(op, [IMAGE], [(1, 4, 5, 4)], options)


def of_two(op: str, options: Any, **more: Any) -> Make:
    return one(op, [IMAGE, IMAGE], [IMAGE], options, **more)


def alone(op: str, options: Any = None, **more: Any) -> Make:
    return one(op, [IMAGE], [IMAGE], options, **more)


def reduced(op: str, axes: tuple[int, ...], made: tuple[int, ...], **more: Any) -> Make:
    return one(op, [IMAGE, ints(*axes)], [made], schema.ReducerOptionsT(), **more)


ALL: tuple[Numbers, ...] = ("int8", "uint8", "int16")
TWO: tuple[Numbers, ...] = ("int8", "uint8")
SIGNED: tuple[Numbers, ...] = ("int8", "int16")
CASES: Mapping[str, tuple[Make, tuple[Numbers, ...]]] = {
    **{
        f"{'depthwise' if depthwise else 'conv'} {strides} {padding} {activation}": (
            conv(strides, padding, activation, depthwise=depthwise),
            ALL,
        )
        for depthwise in (False, True)
        for strides, padding, activation in [(1, SAME, 0), (2, SAME, RELU), (2, VALID, RELU6)]
    },
    "conv that saturates": (conv(1, SAME, step=0.01), TWO),
    "conv that saturates behind a RELU": (conv(1, SAME, RELU, step=0.01), TWO),
    "conv that is a RELU6 by its range": (
        conv(1, SAME, spans={"int8": (6 / 255, -128), "uint8": (6 / 255, 0)}, step=6 / 255),
        TWO,
    ),
    "transposed conv": (
        one(
            "TRANSPOSE_CONV",
            [ints(1, 8, 10, 3), Kernel(values(3, 3, 3, 2)), (1, 4, 5, 2), Bias(values(3))],
            [(1, 8, 10, 3)],
            schema.TransposeConvOptionsT(padding=SAME, strideH=2, strideW=2),
            step=0.1,
            version=3,
        ),
        ALL,
    ),
    "dense": (dense(5), ALL),
    "dense, RELU": (dense(5, RELU), ALL),
    "matmul": (
        one(
            "BATCH_MATMUL",
            [(1, 6, 4), (1, 4, 3)],
            [(1, 6, 3)],
            schema.BatchMatMulOptionsT(),
            step=0.1,
        ),
        SIGNED,
    ),
    "add": (of_two("ADD", schema.AddOptionsT(), step=0.05), ALL),
    "add that saturates": (of_two("ADD", schema.AddOptionsT(fusedActivationFunction=RELU)), ALL),
    "add channels": (one("ADD", [IMAGE, values(4)], [IMAGE], schema.AddOptionsT()), ALL),
    "sub": (of_two("SUB", schema.SubOptionsT(), step=0.05), ALL),
    "mul": (of_two("MUL", schema.MulOptionsT(), step=0.1), ALL),
    "mul that saturates": (of_two("MUL", schema.MulOptionsT()), ALL),
    "mul a number": (one("MUL", [IMAGE, values(1)], [IMAGE], schema.MulOptionsT()), ALL),
    "squared difference": (
        of_two("SQUARED_DIFFERENCE", schema.SquaredDifferenceOptionsT(), step=0.3),
        ("int8",),
    ),
    "maximum": (of_two("MAXIMUM", schema.MaximumMinimumOptionsT()), ALL),
    "minimum": (of_two("MINIMUM", schema.MaximumMinimumOptionsT()), ALL),
    "less": (of_two("LESS", schema.LessOptionsT(), dtype="bool"), ALL),
    "concatenation": (
        one("CONCATENATION", [IMAGE, IMAGE], [(1, 7, 9, 8)], schema.ConcatenationOptionsT(axis=3)),
        ALL,
    ),
    "concatenation of others": (
        one(
            "CONCATENATION",
            [IMAGE, IMAGE],
            [(1, 7, 9, 8)],
            schema.ConcatenationOptionsT(axis=3),
            step=0.02,
        ),
        ("uint8",),
    ),
    "pad": (
        one(
            "PAD",
            [IMAGE, ints([0, 0], [1, 2], [0, 3], [0, 4])],
            [(1, 10, 12, 8)],
            schema.PadOptionsT(),
        ),
        ALL,
    ),
    "mirror pad": (
        one(
            "MIRROR_PAD",
            [IMAGE, ints([0, 0], [1, 2], [0, 3], [0, 0])],
            [(1, 10, 12, 4)],
            schema.MirrorPadOptionsT(mode=1),
        ),
        ALL,
    ),
    "max pool": (pool("MAX_POOL_2D"), ALL),
    "average pool": (pool("AVERAGE_POOL_2D"), ALL),
    "average pool, RELU6": (pool("AVERAGE_POOL_2D", fusedActivationFunction=RELU6), ALL),
    "mean": (reduced("MEAN", (1, 2), (1, 4), step=0.01), ALL),
    "mean of channels": (reduced("MEAN", (3,), (1, 7, 9), step=0.01), ALL),
    "sum": (reduced("SUM", (1, 2), (1, 4), step=0.5), ALL),
    "greatest": (reduced("REDUCE_MAX", (1, 2), (1, 4)), ALL),
    "product": (reduced("REDUCE_PROD", (3,), (1, 7, 9), step=0.5), SIGNED),
    "reshape": (
        one("RESHAPE", [IMAGE, ints(1, 63, 4)], [(1, 63, 4)], schema.ReshapeOptionsT()),
        ALL,
    ),
    "transpose": (
        one("TRANSPOSE", [IMAGE, ints(0, 3, 1, 2)], [(1, 4, 7, 9)], schema.TransposeOptionsT()),
        ALL,
    ),
    "slice": (
        one(
            "SLICE",
            [IMAGE, ints(0, 1, 2, 1), ints(1, 3, -1, 2)],
            [(1, 3, 7, 2)],
            schema.SliceOptionsT(),
        ),
        ALL,
    ),
    "stride": (
        one(
            "STRIDED_SLICE",
            [IMAGE, ints(0, 1, 0, 0), ints(1, 7, 9, 4), ints(1, 2, 3, 1)],
            [(1, 3, 3, 4)],
            schema.StridedSliceOptionsT(),
        ),
        ALL,
    ),
    "split": (
        one("SPLIT", [ints(3), IMAGE], [(1, 7, 9, 2)] * 2, schema.SplitOptionsT(numSplits=2)),
        ALL,
    ),
    "pack": (
        one("PACK", [IMAGE, IMAGE], [(1, 2, 7, 9, 4)], schema.PackOptionsT(valuesCount=2, axis=1)),
        ALL,
    ),
    "tile": (one("TILE", [(1, 3, 4), ints(1, 2, 1)], [(1, 6, 4)], schema.TileOptionsT()), TWO),
    "gather": (
        one("GATHER", [IMAGE, ints(3, 0)], [(1, 7, 9, 2)], schema.GatherOptionsT(axis=3)),
        ALL,
    ),
    "reverse": (one("REVERSE_V2", [IMAGE, ints(1)], [IMAGE], schema.ReverseV2OptionsT()), ALL),
    "select": (
        one("SELECT_V2", [np.arange(4) % 2 == 0, IMAGE, IMAGE], [IMAGE], schema.SelectV2OptionsT()),
        ALL,
    ),
    **{
        f"{op} {half}": (
            one(
                op, [IMAGE, ints(10, 13)], [(1, 10, 13, 4)], kind(halfPixelCenters=half), version=3
            ),
            ALL,
        )
        for op, kind in [
            ("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT),
            ("RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT),
        ]
        for half in (False, True)
    },
    "depth to space": (
        one("DEPTH_TO_SPACE", [IMAGE], [(1, 14, 18, 1)], schema.DepthToSpaceOptionsT(blockSize=2)),
        TWO,
    ),
    "space to depth": (
        one(
            "SPACE_TO_DEPTH",
            [(1, 6, 4, 3)],
            [(1, 3, 2, 12)],
            schema.SpaceToDepthOptionsT(blockSize=2),
        ),
        TWO,
    ),
    "space to batch": (
        one(
            "SPACE_TO_BATCH_ND",
            [(1, 6, 4, 3), ints(2, 2), ints([0, 0], [0, 2])],
            [(4, 3, 3, 3)],
            schema.SpaceToBatchNDOptionsT(),
        ),
        TWO,
    ),
    **{op: (alone(op), ALL) for op in ("RELU", "RELU6")},
    **{op: (alone(op), TWO) for op in ("RELU_N1_TO_1", "RELU_0_TO_1")},
    "RELU that saturates": (alone("RELU", step=0.005), ALL),
    "leaky relu": (alone("LEAKY_RELU", schema.LeakyReluOptionsT(alpha=0.2)), ALL),
    "prelu": (one("PRELU", [IMAGE, values(1, 1, 4)], [IMAGE]), TWO),
    "hard swish": (alone("HARD_SWISH", schema.HardSwishOptionsT()), TWO),
    "elu": (alone("ELU"), ("int8",)),
    "gelu": (alone("GELU", schema.GeluOptionsT()), ALL),
    "abs": (alone("ABS", schema.AbsOptionsT()), SIGNED),
    "exp": (alone("EXP", schema.ExpOptionsT(), step=0.3), SIGNED),
    **{op: (alone(op, given_zero=-128), ("int8",)) for op in ("LOG", "SQRT", "RSQRT")},
    "logistic": (alone("LOGISTIC", spans=LOGISTIC), ALL),
    "tanh": (alone("TANH", spans=TANH), ALL),
    "softmax": (
        one("SOFTMAX", [(1, 12)], [(1, 12)], schema.SoftmaxOptionsT(beta=1), spans=LOGISTIC),
        ALL,
    ),
    "log softmax": (
        one(
            "LOG_SOFTMAX",
            [(1, 12)],
            [(1, 12)],
            schema.LogSoftmaxOptionsT(),
            spans={"int8": (16 / 256, 127), "uint8": (16 / 256, 255)},
        ),
        TWO,
    ),
    "unit length": (
        one("L2_NORMALIZATION", [(1, 12)], [(1, 12)], schema.L2NormOptionsT(), spans=TANH),
        TWO,
    ),
    "requantized": (alone("QUANTIZE", step=0.05), ALL),
    "requantized that saturates": (alone("QUANTIZE", step=0.01), ALL),
    "dequantized": (alone("DEQUANTIZE", dtype="float32"), ALL),
    "place of the least": (
        one(
            "ARG_MIN",
            [(1, 3, 5), ints(2)],
            [(1, 3)],
            schema.ArgMinOptionsT(outputType=schema.TensorType.INT32),
            dtype="int32",
        ),
        TWO,
    ),
    "gather places": (
        one(
            "GATHER_ND",
            [IMAGE, ints([[0, 1, 2], [0, 6, 8]])],
            [(1, 2, 4)],
            schema.GatherNdOptionsT(),
        ),
        ALL,
    ),
    "scatter": (
        one(
            "SCATTER_ND",
            [ints([0, 1], [0, 3], [0, 1]), (3, 4), ints(1, 5, 4)],
            [(1, 5, 4)],
            schema.ScatterNdOptionsT(),
            zero=0,
            given_zero=0,
        ),
        ("int8",),
    ),
    "replaced": (
        one(
            "DYNAMIC_UPDATE_SLICE",
            [IMAGE, (1, 2, 3, 4), ints(0, 4, 8, 0)],
            [IMAGE],
            schema.DynamicUpdateSliceOptionsT(),
        ),
        ALL,
    ),
    "unpack": (
        one("UNPACK", [(1, 3, 4)], [(1, 4)] * 3, schema.UnpackOptionsT(num=3, axis=1)),
        ALL,
    ),
    "split by sizes": (
        one(
            "SPLIT_V",
            [IMAGE, ints(3, -1, 2), ints(1)],
            [(1, 3, 9, 4), (1, 2, 9, 4), (1, 2, 9, 4)],
            schema.SplitVOptionsT(numSplits=3),
        ),
        ALL,
    ),
    "batch to space": (
        one(
            "BATCH_TO_SPACE_ND",
            [(4, 3, 3, 3), ints(2, 2), ints([0, 0], [0, 2])],
            [(1, 6, 4, 3)],
            schema.BatchToSpaceNDOptionsT(),
        ),
        ALL,
    ),
    "broadcast": (
        one(
            "BROADCAST_TO",
            [(1, 1, 4), ints(1, 3, 4)],
            [(1, 3, 4)],
            schema.BroadcastToOptionsT(),
            version=3,
        ),
        ALL,
    ),
    "expand": (
        one("EXPAND_DIMS", [(1, 4), ints(1)], [(1, 1, 4)], schema.ExpandDimsOptionsT()),
        ALL,
    ),
    "squeeze": (
        one("SQUEEZE", [(1, 1, 1, 4)], [(1, 4)], schema.SqueezeOptionsT(squeezeDims=ints(1, 2))),
        ALL,
    ),
    "opposite": (alone("NEG", schema.NegOptionsT(), zero=0, given_zero=0), SIGNED),
    "least": (reduced("REDUCE_MIN", (1, 2), (1, 4)), ALL),
    "numbers as they are stored": (alone("CAST", schema.CastOptionsT(), dtype="float32"), ALL),
    "place of the greatest": (
        one(
            "ARG_MAX",
            [(1, 3, 5), ints(2)],
            [(1, 3)],
            schema.ArgMaxOptionsT(outputType=schema.TensorType.INT64),
            dtype="int64",
        ),
        TWO,
    ),
}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (
            one(
                "SCATTER_ND",
                [ints([0, 1], [0, 3]), (2, 4), ints(1, 5, 4)],
                [(1, 5, 4)],
                schema.ScatterNdOptionsT(),
            ),
            "runtimes put the number 0 beside its places",
        ),
        (alone("NEG", schema.NegOptionsT()), "do not stand for their opposites"),
    ],
)
def test_operators_on_stored_numbers_are_left_where_these_mean_something_else(
    make: Make, why: str, tmp_path: Path
) -> None:
    with pytest.raises(Unliftable, match=why):
        lift(make(tmp_path / "m.tflite", "int8"))


def most_steps(case: str, numbers: Numbers) -> float:
    """Rounding: less than a step of 8 bits; functions and images in int16 have fewer digits."""
    fine = 100.0 if case.startswith("RESIZE_BILINEAR") else 2.5
    return fine if numbers == "int16" else 1.0


Computed = Mapping[str, tuple[Path, list[Array]]]


def compute(numbers: Numbers, folder: Path) -> Computed:
    """The file of each case, and what LiteRT computes of it; all in one process."""
    cases = {name: make for name, (make, types) in CASES.items() if numbers in types}
    paths = [make(folder / f"{at}.tflite", numbers) for at, make in enumerate(cases.values())]
    results = outputs("ai_edge_litert.interpreter", paths, folder)
    return dict(zip(cases, zip(paths, results, strict=True), strict=True))


def real(stored: Array, tensor: Tensor) -> Array:
    """What whole numbers of a tensor stand for."""
    if not is_quantized(tensor):
        return stored
    return np.asarray((stored.astype(np.float64) - tensor.zero_points[0]) * tensor.scales[0])


def fed(tensor: Tensor, generator: np.random.Generator) -> Array:
    """What `outputs` feeds, in real values."""
    low = 0 if tensor.dtype.startswith("u") else -128
    numbers = np.round(generator.standard_normal(tensor.shape) * 40) + low + 128
    return real(np.clip(numbers, low, low + 255), tensor).astype(np.float32)


def require_equal(case: str, numbers: Numbers, path: Path, expected: list[Array]) -> None:
    """Lifts a file and compares its results."""
    lifted, generator = lift(path), np.random.default_rng(1)
    tensors = lifted.graph.tensors
    given = [fed(tensors[index], generator) for index in lifted.graph.inputs]
    made = keras.tree.flatten(lifted.model(given if len(given) > 1 else given[0]))
    for index, ours, theirs in zip(lifted.graph.outputs, made, expected, strict=True):
        tensor = tensors[index]
        assert tuple(ours.shape) == theirs.shape
        apart = np.abs(np.asarray(ours, np.float64) - real(theirs, tensor)).max()
        step = tensor.scales[0] if is_quantized(tensor) else 1e-5
        assert apart <= most_steps(case, numbers) * step


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Computed:
    return compute("int8", tmp_path_factory.mktemp("int8"))


@pytest.mark.parametrize("case", [name for name, (_, types) in CASES.items() if "int8" in types])
def test_a_lifted_operator_on_int8_computes_what_litert_computes(int8: Computed, case: str) -> None:
    require_equal(case, "int8", *int8[case])


@pytest.mark.parametrize("numbers", ["uint8", "int16"])
def test_lifted_operators_on_other_numbers_compute_what_litert_computes(
    numbers: Numbers, tmp_path: Path
) -> None:
    for case, (path, expected) in compute(numbers, tmp_path).items():
        require_equal(case, numbers, path, expected)
