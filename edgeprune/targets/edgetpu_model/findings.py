"""What `inspect` says of a file for the Edge TPU: padding that costs room, and the flatten trap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgeprune.core.finding import Finding
from edgeprune.targets.edgetpu_model.mapping import place
from edgeprune.targets.edgetpu_model.parameters import flatten_cost, flatten_note, shape_of
from edgeprune.targets.edgetpu_model.storage import most_outputs_in
from edgeprune.tflite.format.file import Graph, Operator, Subgraph


def edge_tpu_findings(graph: Graph) -> Iterator[Finding]:
    """Yields the findings about the operators that the Edge TPU compiler maps, and those it cannot.

    Operators that stay on the CPU only because they depend on another are not named again.
    """
    main = graph.subgraphs[0]
    for placement in place(graph):
        operator = main.operators[placement.index]
        if placement.mapped:
            yield from _about_padding(main, operator)
            yield from _about_flatten(main, operator)
        elif not placement.behind_cut:
            yield Finding(
                operator.index,
                "edge-tpu-cpu",
                f"Edge TPU: {operator.op} stays on the CPU: {placement.reason}.",
                "Replace it, or move it to the end of the network: what depends on it stays on "
                "the CPU too.",
            )


def _about_padding(main: Subgraph, operator: Operator) -> Iterator[Finding]:
    """Names outputs that are stored with others that only fill up."""
    shape = shape_of(main, operator)
    if shape is None or shape.stored_outputs == shape.outputs:
        return
    full = replace(shape, outputs=shape.stored_outputs)
    if shape.kind == "depthwise":
        less = shape.outputs // 4 * 4
    else:
        less = most_outputs_in(shape.stored_outputs)
    counts = f"{less} or {full.outputs}" if less else f"{full.outputs}"
    yield Finding(
        operator.index,
        "edge-tpu-padding",
        f"Edge TPU: {shape.outputs} outputs are stored as {full.outputs}, in {shape.bytes} bytes.",
        f"{counts} outputs leave no room unused.",
    )


def _about_flatten(main: Subgraph, operator: Operator) -> Iterator[Finding]:
    """Names a RESHAPE that becomes an identity matrix."""
    if flatten_cost(main, operator):
        what, _, remedy = flatten_note(main, operator).partition("; ")
        message = f"Edge TPU: {what}."
        yield Finding(operator.index, "edge-tpu-flatten", message, f"{remedy.capitalize()}.")
