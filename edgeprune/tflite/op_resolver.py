"""Which methods of TFLite Micro's operator resolver a file needs.

Source: micro_mutable_op_resolver.h in tensorflow/lite/micro of tflite-micro, whose methods are
named after the operators, with the exceptions below.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.format.packed_tensor import DECODE

_EXCEPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "BATCH_MATMUL": "AddBatchMatMul",
        "CUMSUM": "AddCumSum",
        "PADV2": "AddPadV2",
        "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    }
)
_CUSTOM: Mapping[str, str] = MappingProxyType(
    {
        DECODE: "AddDecode",
        "CIRCULAR_BUFFER": "AddCircularBuffer",
        "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
        "ethos-u": "AddEthosU",
    }
)


def method_of(op: str, *, custom: bool = False) -> str | None:
    """The method that adds an operator; None for a custom one that the resolver does not know.

    Args:
      op: the builtin's name (`CONV_2D`), or the code of a custom operator.
      custom: which of both it is.
    """
    if custom:
        return _CUSTOM.get(op)
    parts = op.split("_")
    return _EXCEPTIONS.get(op) or "Add" + "".join(
        part if part[:1].isdigit() else part.capitalize() for part in parts
    )


def methods_of(graph: Graph) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The methods that a file needs, each once, in the order of first use; and unknown customs."""
    used = {
        (operator.op, operator.custom): method_of(operator.op, custom=operator.custom)
        for subgraph in graph.subgraphs
        for operator in subgraph.operators
    }
    known = tuple(dict.fromkeys(method for method in used.values() if method))
    return known, tuple(op for (op, _), method in used.items() if method is None)
