"""Files that store weights sparsely, for instruments that would read them wrongly."""

from __future__ import annotations

from edgeprune.tflite.format.file import Graph


def sparse_refusal(graph: Graph, restored: str, misread: str) -> str:
    """Why an instrument must not get a file that stores weights sparsely; empty if it may.

    Args:
      graph: the file.
      restored: what is wrong with weights that DENSIFY restores.
      misread: what the instrument would make of weights that it reads itself.
    """
    found = _sparse_weight(graph)
    if found is None:
        return ""
    name, by_operator = found
    return (
        f"weight '{name}' is stored sparsely {restored if by_operator else misread}. Make the file "
        "dense first: edgeprune densify MODEL.tflite -o DENSE.tflite"
    )


def _sparse_weight(graph: Graph) -> tuple[str, bool] | None:
    """The first weight of a file that is stored sparsely, in any subgraph.

    Returns:
      Its name and whether DENSIFY restores it; None if everything is dense.
    """
    for subgraph in graph.subgraphs:
        restored = {
            index
            for operator in subgraph.operators
            if operator.op == "DENSIFY"
            for index in operator.inputs[:1]
        }
        for tensor in subgraph.tensors:
            if tensor.sparse or tensor.index in restored:
                return tensor.name, tensor.index in restored
    return None
