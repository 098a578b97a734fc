"""What an operator's options say, in the names of the TFLite schema."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.graph import Graph, Operator
from edgeprune.tflite.text.words import (
    bytes_text,
    list_text,
    name_text,
    number_text,
    values_text,
)

_ENUMS: Mapping[str, type] = MappingProxyType(
    {
        "algorithm": schema.RngAlgorithm,
        "combiner": schema.CombinerType,
        "compareType": schema.StablehloComparisonType,
        "comparisonDirection": schema.StablehloComparisonDirection,
        "fusedActivationFunction": schema.ActivationFunctionType,
        "idxOutType": schema.TensorType,
        "inDataType": schema.TensorType,
        "kernelType": schema.LSTMKernelType,
        "keyDtype": schema.TensorType,
        "mode": schema.MirrorPadMode,
        "outDataType": schema.TensorType,
        "outType": schema.TensorType,
        "outputType": schema.TensorType,
        "padding": schema.Padding,
        "quantizedBiasType": schema.TensorType,
        "reduceFunction": schema.ReduceWindowFunction,
        "type": schema.LSHProjectionType,
        "valueDtype": schema.TensorType,
        "weightsFormat": schema.FullyConnectedOptionsWeightsFormat,
    }
)
"""By field of an options object, the names that its numbers stand for."""
_OF_SUBGRAPHS = frozenset({"branchSubgraphIndices", "calledComputations", "subgraph"})
_ALWAYS = frozenset({"padding"})
"""Fields that are written although they have the schema's default, which readers would look for."""


def options_text(operator: Operator, subgraphs: Sequence[str]) -> str:
    """The options that differ from the schema's defaults, as `name=value`; "" if there are none.

    Args:
      operator: any.
      subgraphs: the file's, as `subgraph_labels` gives them, for options that name one.
    """
    parts = [f"{_snake(name)}={text}" for name, text in _options(operator, subgraphs)]
    if operator.custom_options is not None:
        parts.append(f"custom_options={bytes_text(operator.custom_options)}")
    return ", ".join(parts)


def subgraph_labels(graph: Graph) -> tuple[str, ...]:
    """The subgraphs' names, with their place where a name is empty or not one's alone."""
    count = Counter(subgraph.name for subgraph in graph.subgraphs)
    return tuple(
        name_text(each.name) + ("" if each.name and count[each.name] == 1 else f"@{index}")
        for index, each in enumerate(graph.subgraphs)
    )


def _options(operator: Operator, subgraphs: Sequence[str]) -> Iterator[tuple[str, str]]:
    if operator.options is None:
        return
    default = vars(type(operator.options)())
    for name, value in vars(operator.options).items():
        if name in _ALWAYS or not _same(value, default[name]):
            yield name, _value_text(name, value, subgraphs)


def _same(value: Any, default: Any) -> bool:
    return value is None if default is None else bool(value == default)


def _value_text(name: str, value: Any, subgraphs: Sequence[str]) -> str:
    if name.endswith("SubgraphIndex") or name in _OF_SUBGRAPHS:
        if isinstance(value, int):
            return _label(subgraphs, value)
        return f"[{', '.join(_label(subgraphs, int(index)) for index in value)}]"
    if isinstance(value, bytes):
        return name_text(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, (np.ndarray, list)):
        return values_text(np.asarray(value)) if len(value) else list_text(())
    if isinstance(value, bool):
        return "true" if value else "false"
    return _enum_names(name).get(value) or number_text(value)


def _label(subgraphs: Sequence[str], index: int) -> str:
    return subgraphs[index] if 0 <= index < len(subgraphs) else f"missing subgraph {index}"


def _enum_names(name: str) -> Mapping[int, str]:
    enum = _ENUMS.get(name)
    if enum is None:
        return {}
    names = {value: label for label, value in vars(enum).items() if isinstance(value, int)}
    return {v: n.lower() for v, n in names.items()} if enum is schema.TensorType else names


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
