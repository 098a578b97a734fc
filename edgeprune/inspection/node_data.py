"""What is known of a file's operators as node data for Model Explorer.

Its format has one value a node, so there is a document for each kind of value: zeros, kernel, cost,
error. A node is named by its first output, which all of Model Explorer's readers of .tflite files
know; by its number, which the default reader takes too, where that name is not its alone.

Source: node_data_builder.py in the package ai-edge-model-explorer 0.1.34 (`ModelNodeData`,
`GraphNodeData`), and the identifiers that its builtin adapter for flatbuffers gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from edgeprune.conversion.check_written import layer_of
from edgeprune.core.layer_noise import LayerNoise, noise_in
from edgeprune.core.terms import Numerics
from edgeprune.inspection.inspect_file import Inspection
from edgeprune.profiles.encoding import runtimes_of
from edgeprune.profiles.kernel_costs import costs_of
from edgeprune.profiles.operations import operations_by_index
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.checks import numerics
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.metadata import read_beside

Value = float | str
_UNNAMED: Final = "main"
"""What Model Explorer calls a main subgraph without a name."""
_PALE, _STRONG = "#ffffff", "#2563a8"
_KERNEL_COLORS: Mapping[str, str] = MappingProxyType(
    {
        "dense": "#c3cad2",
        "direct sparse": "#4dabf7",
        "sparse convolution": "#4dabf7",
        "dense after DENSIFY": "#ffd8a8",
        "dense after DECODE": "#ffd8a8",
        "wrong": "#ff8787",
    }
)


@dataclass(frozen=True)
class NodeData:
    """One kind of value for the operators of a file's main subgraph.

    `values` is by index of the operator; operators that nothing is known of are not in it.
    """

    kind: str
    """Short, for names of files: zeros, kernel, cost or error."""
    title: str
    """What Model Explorer calls it."""
    values: Mapping[int, Value]
    falls: bool = False
    """Whether low values are what to look at."""

    def to_json(self, graph: Graph) -> dict[str, Any]:
        """Returns a `ModelNodeData` document: values by graph and node, and their colours."""
        keys = _node_keys(graph)
        results = {keys[index]: _result(value) for index, value in self.values.items()}
        data: dict[str, Any] = {"results": results, "name": self.title}
        if not any(isinstance(value, str) for value in self.values.values()):
            stops = (_STRONG, _PALE) if self.falls else (_PALE, _STRONG)
            data["gradient"] = [{"stop": i, "bgColor": color} for i, color in enumerate(stops)]
        return {graph.subgraphs[0].name or _UNNAMED: data}


def node_data(
    graph: Graph, inspection: Inspection, profile: DeviceProfile | None
) -> tuple[NodeData, ...]:
    """Everything that is known of the operators of a file, the zeros first.

    Other kinds without a value are left out.

    Args:
      graph: the file.
      inspection: what `inspect` says of it.
      profile: the device, narrowed to a route, whose cost table is asked; None for none.
    """
    zeros = {row.index: row.sparsity for row in inspection.ops if row.sparsity is not None}
    kernels = {row.index: row.kernel for row in inspection.ops}
    noise = _errors(graph, noise_in(read_beside(graph.path)))
    error = "signal to noise in int8, dB, with the error of all layers before"
    more = (
        NodeData("kernel", "kernel", kernels),
        *(_costs(graph, inspection, profile) if profile is not None else ()),
        NodeData("error", error, noise, falls=True),
    )
    first = NodeData("zeros", "fraction of zeros in the weights", zeros)
    return (first, *(each for each in more if each.values))


def _costs(graph: Graph, inspection: Inspection, profile: DeviceProfile) -> tuple[NodeData, ...]:
    """Expected instructions of every operator that runs on dense kernels, by the cost table."""
    table, runtime = costs_of(profile), runtimes_of(profile)[0]
    costs = table.of(runtime) if table is not None else None
    # A file of mixed formats is in none that a table has.
    known = costs.in_format(cast("Numerics", numerics(graph))) if costs is not None else None
    if known is None or table is None:
        return ()
    skipping = {row.index for row in inspection.ops if row.sparse}
    operations = operations_by_index(graph.tensors, graph.operators)
    values = {
        index: known.of_one(operation)
        for index, operation in operations.items()
        if index not in skipping
    }
    return (NodeData("cost", f"expected instructions ({runtime} on {table.core})", values),)


def _errors(graph: Graph, noise: Sequence[LayerNoise]) -> Mapping[int, float]:
    """Signal-to-noise ratios by the operator that gives the value of a layer."""
    ratios = {row.layer: row.snr_db for row in noise if row.snr_db is not None}
    paths = tuple(ratios)
    layers = {
        operator.index: layer_of(graph.tensors[operator.outputs[0]].name, paths)
        for operator in graph.operators
        if operator.outputs and operator.outputs[0] >= 0
    }
    return {index: ratios[layer] for index, layer in layers.items() if layer in ratios}


def _node_keys(graph: Graph) -> Mapping[int, str]:
    """The key of every operator: the name of its first output, or its number."""
    count = Counter(tensor.name for tensor in graph.tensors)
    return {
        operator.index: _key(graph, operator.index, operator.outputs, count)
        for operator in graph.operators
    }


def _key(graph: Graph, index: int, outputs: Sequence[int], count: Mapping[str, int]) -> str:
    name = graph.tensors[outputs[0]].name if outputs and outputs[0] >= 0 else ""
    alone = name and count[name] == 1 and not name.isdigit()
    return name if alone else str(index)


def _result(value: Value) -> dict[str, Any]:
    if isinstance(value, str):
        return {"value": value, "bgColor": _KERNEL_COLORS[value]}
    return {"value": value}
