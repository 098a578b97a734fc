"""Which methods of TFLite Micro's operator resolver a file needs.

Source: micro_mutable_op_resolver.h in tensorflow/lite/micro of tflite-micro, whose methods are
named after the operators, with the exceptions below.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgeprune.core.runtime import Runtime
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.format.packed_tensor import DECODE
from edgeprune.tflite.op_versions import op_versions

PROBED = Runtime("TFLM", "0.dev20261023182759")
"""The build whose operators are known."""

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
    """The methods that a file needs, each once, in the order of first use; and operators without.

    The latter are custom operators that the resolver does not know, and builtin ones for which
    TensorFlow Lite Micro has no kernel, such as DENSIFY.
    """
    used = {
        (operator.op, operator.custom): _known_method(operator.op, operator.custom)
        for subgraph in graph.subgraphs
        for operator in subgraph.operators
    }
    known = tuple(dict.fromkeys(method for method in used.values() if method))
    return known, tuple(op for (op, _), method in used.items() if method is None)


def resource_variables(graph: Graph) -> int:
    """How many variables a file keeps between inferences, as networks for streams do."""
    found = {
        (operator.options.container, operator.options.sharedName)
        for subgraph in graph.subgraphs
        for operator in subgraph.operators
        if operator.op == "VAR_HANDLE" and operator.options is not None
    }
    return len(found)


def _known_method(op: str, custom: bool) -> str | None:
    kernels = op_versions().get(str(PROBED))
    lacking = not custom and kernels is not None and op not in kernels
    return None if lacking else method_of(op, custom=custom)
