"""The named inputs and outputs of a .tflite file, in one order for everybody.

A file lists its input tensors in whatever order the converter left them; their names in the
signature are the model's own. Arrays go in and out in the order of the first signature that names
just these tensors of the main subgraph, or of the file where none does. Signatures over other
subgraphs name nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeprune.core.data import InputSpec
from edgeprune.tflite.format.graph import Graph, Signature


@dataclass(frozen=True)
class Port:
    """An input or output: its name, the tensor behind it, its shape and TFLite type."""

    name: str
    tensor: int
    shape: tuple[int, ...]
    """With the batch axis; -1 for an axis whose length is set at run time."""
    dtype: str


def input_ports(graph: Graph) -> tuple[Port, ...]:
    """The inputs of the main subgraph."""
    return _ports(graph, graph.inputs, [each.inputs for each in _of_main(graph)])


def output_ports(graph: Graph) -> tuple[Port, ...]:
    """The outputs of the main subgraph."""
    return _ports(graph, graph.outputs, [each.outputs for each in _of_main(graph)])


def _of_main(graph: Graph) -> list[Signature]:
    return [signature for signature in graph.signatures if signature.subgraph == 0]


def _ports(
    graph: Graph, tensors: tuple[int, ...], sides: Sequence[Mapping[str, int]]
) -> tuple[Port, ...]:
    own = {graph.tensors[index].name: index for index in tensors}
    named = next((side for side in sides if sorted(side.values()) == sorted(tensors)), own)
    return tuple(
        Port(name, index, graph.tensors[index].shape_signature, graph.tensors[index].dtype)
        for name, index in named.items()
    )


def signature_specs(graph: Graph) -> tuple[InputSpec, ...]:
    """What data for the file has to look like: real values where the file takes quantized ones.

    A first axis that is fixed and not 1 is no batch axis: such an input takes whole tensors.
    """
    return tuple(
        InputSpec(
            port.name,
            tuple(None if size < 0 else size for size in _sample_shape(port)),
            _real_type(graph, port),
        )
        for port in input_ports(graph)
    )


def _sample_shape(port: Port) -> tuple[int, ...]:
    return port.shape[1:] if port.shape[:1] in ((1,), (-1,)) else port.shape


def _real_type(graph: Graph, port: Port) -> str:
    quantized = graph.tensors[port.tensor].scales.size > 0
    return "float32" if quantized or port.dtype == "float16" else port.dtype
