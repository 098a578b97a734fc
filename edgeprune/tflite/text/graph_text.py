"""The graph of a .tflite file as text, one operator a line.

    description MLIR Converted.
    metadata min_runtime_version: 16 bytes #1e0b3f0a
    signature serving_default of main: (x=serving_default_x:0) -> (output_0=y:0)

    subgraph main
      inputs serving_default_x:0 <float32[1,16]>
      outputs y:0
      y:0 <float32[1,4]> = FULLY_CONNECTED {fused_activation_function=RELU} (...

What a tensor is stands where it first appears. Nothing is in the text that can change while the
graph stays the same: no indices, buffers, positions in the file, nor the file's own name. So
`diff` of two files shows what was done to one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from edgeprune.tflite.format.decode_operator import PackedTensor, packed_tensors
from edgeprune.tflite.format.graph import Graph, Operator, Signature, Subgraph
from edgeprune.tflite.text.options import options_text, subgraph_labels
from edgeprune.tflite.text.tensors import TensorTexts
from edgeprune.tflite.text.words import bytes_text, name_text

_LEFT_OUT = "-"


def graph_text(graph: Graph) -> Iterator[str]:
    """Yields the lines, without ends: description, metadata, signatures, then each subgraph.

    Every line is ASCII without anything that steers a terminal: names with other characters are in
    quotes, with JSON's escapes. A tensor's name is followed by `#2`, `#3`, ... where one that
    appears before it has the same.
    """
    names = subgraph_labels(graph)
    labels = [_labels(subgraph) for subgraph in graph.subgraphs]
    if graph.description:
        yield f"description {name_text(graph.description)}"
    for name in sorted(graph.metadata):
        yield f"metadata {name_text(name)}: {bytes_text(graph.metadata[name])}"
    for signature in graph.signatures:
        yield _signature_text(signature, names[signature.subgraph], labels[signature.subgraph])
    texts = TensorTexts()
    for name, subgraph, tensors in zip(names, graph.subgraphs, labels, strict=True):
        yield ""
        yield f"subgraph {name}"
        for line in _subgraph_lines(subgraph, names, _Namer(subgraph, tensors, texts)):
            yield f"  {line}"


class _Namer:
    """Writes a subgraph's tensors: with what they are the first time, then by name."""

    def __init__(self, subgraph: Subgraph, labels: Mapping[int, str], texts: TensorTexts) -> None:
        self._subgraph = subgraph
        self._labels = labels
        self._texts = texts
        self._packed: Mapping[int, PackedTensor] = {
            found.tensor.index: found for found in packed_tensors(subgraph)
        }
        self._said: set[int] = set()

    def write(self, indices: Iterable[int]) -> str:
        """The tensors of these indices, with commas between them."""
        return ", ".join(map(self._one, indices))

    def names(self, indices: Iterable[int]) -> str:
        """The names alone of the tensors of these indices."""
        return ", ".join(self._labels[index] for index in indices)

    def rest(self) -> Iterator[str]:
        """The tensors that were not written yet."""
        for tensor in self._subgraph.tensors:
            if tensor.index not in self._said:
                yield self._one(tensor.index)

    def _one(self, index: int) -> str:
        if index < 0:
            return _LEFT_OUT
        label = self._labels[index]
        if index in self._said:
            return label
        self._said.add(index)
        text = self._texts.text(self._subgraph.tensors[index], self._packed.get(index))
        return f"{label} {text}"


def _labels(subgraph: Subgraph) -> Mapping[int, str]:
    """A name for each tensor; equal ones are numbered in the order in which they appear."""
    labels: dict[int, str] = {}
    used: Counter[str] = Counter()
    for index in _appearing(subgraph):
        if index >= 0 and index not in labels:
            name = name_text(subgraph.tensors[index].name)
            used[name] += 1
            labels[index] = name if used[name] == 1 else f"{name}#{used[name]}"
    return labels


def _appearing(subgraph: Subgraph) -> Iterator[int]:
    yield from subgraph.inputs
    yield from subgraph.outputs
    for operator in subgraph.operators:
        yield from (*operator.outputs, *operator.inputs, *operator.intermediates)
    yield from range(len(subgraph.tensors))


def _subgraph_lines(subgraph: Subgraph, names: Sequence[str], namer: _Namer) -> Iterator[str]:
    yield f"inputs {namer.write(subgraph.inputs)}".rstrip()
    yield f"outputs {namer.names(subgraph.outputs)}".rstrip()
    for operator in subgraph.operators:
        yield _operator_text(operator, names, namer)
    for tensor in namer.rest():
        yield f"not used: {tensor}"


def _operator_text(operator: Operator, names: Sequence[str], namer: _Namer) -> str:
    made = namer.write(operator.outputs)
    name = f"custom {name_text(operator.op)}" if operator.custom else operator.op
    version = f" v{operator.version}" if operator.version != 1 else ""
    options = options_text(operator, names)
    said = f" {{{options}}}" if options else ""
    head = f"{made} = " if made else ""
    taken = namer.write(operator.inputs)
    beside = namer.write(operator.intermediates)
    return f"{head}{name}{version}{said} ({taken})" + (f" beside ({beside})" if beside else "")


def _signature_text(signature: Signature, subgraph: str, labels: Mapping[int, str]) -> str:
    takes, gives = (
        ", ".join(f"{name_text(name)}={labels[index]}" for name, index in side.items())
        for side in (signature.inputs, signature.outputs)
    )
    return f"signature {name_text(signature.key)} of {subgraph}: ({takes}) -> ({gives})"
