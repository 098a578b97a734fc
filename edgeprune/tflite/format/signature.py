"""The named inputs and outputs of a .tflite file, in one order for everybody.

A file lists its input tensors in whatever order the converter left them; their names in the
signature are the model's own. Arrays go in and out in the order of the signature, or of the file
where it has no signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.core.data import InputSpec
from edgeprune.tflite.format.file import Graph


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
    named = graph.signatures[0].inputs if len(graph.signatures) == 1 else {}
    return _ports(graph, graph.inputs, named)


def output_ports(graph: Graph) -> tuple[Port, ...]:
    """The outputs of the main subgraph."""
    named = graph.signatures[0].outputs if len(graph.signatures) == 1 else {}
    return _ports(graph, graph.outputs, named)


def _ports(graph: Graph, tensors: tuple[int, ...], named: Mapping[str, int]) -> tuple[Port, ...]:
    if sorted(named.values()) != sorted(tensors):
        named = {graph.tensors[index].name: index for index in tensors}
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
