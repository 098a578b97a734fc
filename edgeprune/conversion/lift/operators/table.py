"""All entries by the operator's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras

from edgeprune.conversion.lift.operators.binary import binary, squared_difference
from edgeprune.conversion.lift.operators.convolution import convolution, depthwise
from edgeprune.conversion.lift.operators.deconvolution import transposed_convolution
from edgeprune.conversion.lift.operators.joining import (
    broadcast_to,
    concatenation,
    pack,
    tile,
    unpack,
)
from edgeprune.conversion.lift.operators.matrix import (
    batch_matmul,
    embedding_lookup,
    fully_connected,
)
from edgeprune.conversion.lift.operators.padding import mirror_pad, pad
from edgeprune.conversion.lift.operators.pooling import average_pool, max_pool, reduction
from edgeprune.conversion.lift.operators.resizing import resize
from edgeprune.conversion.lift.operators.shaping import (
    batch_to_space,
    depth_to_space,
    expand_dims,
    reshape,
    space_to_batch,
    space_to_depth,
    squeeze,
    transpose,
)
from edgeprune.conversion.lift.operators.slicing import (
    gather,
    part,
    reverse,
    split,
    split_by_sizes,
    strided_part,
)
from edgeprune.conversion.lift.operators.spectrum import (
    complex_abs,
    imaginary_part,
    real_part,
    real_spectrum,
)
from edgeprune.conversion.lift.operators.unary import (
    arg_max,
    as_it_is,
    by_activation,
    by_layer,
    by_operation,
    cast,
    cumulative_sum,
    gelu,
    l2_normalization,
    leaky_relu,
    log_softmax,
    one_hot,
    prelu,
    select,
    softmax,
    top_k,
)
from edgeprune.conversion.lift.site import Site

Lift: TypeAlias = Callable[[Site], Any]
"""Gives a Keras tensor or a `Live` value, or a list with one for each output."""

LIFTS: Mapping[str, Lift] = {
    "ABS": by_operation("abs"),
    "ADD": binary("add"),
    "ARG_MAX": arg_max,
    "AVERAGE_POOL_2D": average_pool,
    "BATCH_MATMUL": batch_matmul,
    "BATCH_TO_SPACE_ND": batch_to_space,
    "BROADCAST_TO": broadcast_to,
    "CAST": cast,
    "CEIL": by_operation("ceil"),
    "COMPLEX_ABS": complex_abs,
    "CONCATENATION": concatenation,
    "CONV_2D": convolution,
    "COS": by_operation("cos"),
    "CUMSUM": cumulative_sum,
    "DEPTHWISE_CONV_2D": depthwise,
    "DEPTH_TO_SPACE": depth_to_space,
    "DEQUANTIZE": as_it_is,
    "DIV": binary("divide"),
    "ELU": by_activation("elu"),
    "EMBEDDING_LOOKUP": embedding_lookup,
    "EQUAL": binary("equal"),
    "EXP": by_operation("exp"),
    "EXPAND_DIMS": expand_dims,
    "FLOOR": by_operation("floor"),
    "FLOOR_DIV": binary("floor_divide"),
    "FLOOR_MOD": binary("mod"),
    "FULLY_CONNECTED": fully_connected,
    "GATHER": gather,
    "GELU": gelu,
    "GREATER": binary("greater"),
    "GREATER_EQUAL": binary("greater_equal"),
    "HARD_SWISH": by_activation("hard_silu"),
    "IMAG": imaginary_part,
    "L2_NORMALIZATION": l2_normalization,
    "LEAKY_RELU": leaky_relu,
    "LESS": binary("less"),
    "LESS_EQUAL": binary("less_equal"),
    "LOG": by_operation("log"),
    "LOGICAL_AND": binary("logical_and"),
    "LOGICAL_NOT": by_operation("logical_not"),
    "LOGICAL_OR": binary("logical_or"),
    "LOGISTIC": by_activation("sigmoid"),
    "LOG_SOFTMAX": log_softmax,
    "MAXIMUM": binary("maximum"),
    "MAX_POOL_2D": max_pool,
    "MEAN": reduction("mean"),
    "MINIMUM": binary("minimum"),
    "MIRROR_PAD": mirror_pad,
    "MUL": binary("multiply"),
    "NEG": by_operation("negative"),
    "NOT_EQUAL": binary("not_equal"),
    "ONE_HOT": one_hot,
    "PACK": pack,
    "PAD": pad,
    "PADV2": pad,
    "POW": binary("power"),
    "PRELU": prelu,
    "QUANTIZE": as_it_is,
    "REAL": real_part,
    "REDUCE_MAX": reduction("max"),
    "REDUCE_MIN": reduction("min"),
    "REDUCE_PROD": reduction("prod"),
    "RELU": by_layer(lambda name: keras.layers.ReLU(name=name)),
    "RELU6": by_layer(lambda name: keras.layers.ReLU(6.0, name=name)),
    "RELU_0_TO_1": by_layer(lambda name: keras.layers.ReLU(1.0, name=name)),
    "RELU_N1_TO_1": by_activation("hard_tanh"),
    "RESHAPE": reshape,
    "RESIZE_BILINEAR": resize("bilinear"),
    "RESIZE_NEAREST_NEIGHBOR": resize("nearest"),
    "REVERSE_V2": reverse,
    "RFFT2D": real_spectrum,
    "ROUND": by_operation("round"),
    "RSQRT": by_operation("rsqrt"),
    "SELECT": select,
    "SELECT_V2": select,
    "SIGN": by_operation("sign"),
    "SIN": by_operation("sin"),
    "SLICE": part,
    "SOFTMAX": softmax,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "SPACE_TO_DEPTH": space_to_depth,
    "SPLIT": split,
    "SPLIT_V": split_by_sizes,
    "SQRT": by_operation("sqrt"),
    "SQUARE": by_operation("square"),
    "SQUARED_DIFFERENCE": squared_difference,
    "SQUEEZE": squeeze,
    "STRIDED_SLICE": strided_part,
    "SUB": binary("subtract"),
    "SUM": reduction("sum"),
    "TANH": by_activation("tanh"),
    "TILE": tile,
    "TOPK_V2": top_k,
    "TRANSPOSE": transpose,
    "TRANSPOSE_CONV": transposed_convolution,
    "UNPACK": unpack,
}
"""What each operator becomes. Those that work on constants alone are in `folding` too."""
