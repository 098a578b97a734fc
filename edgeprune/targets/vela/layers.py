"""From the compiler's per-layer table to the file's own operators, and why one gained nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeprune.core.pattern import NofM
from edgeprune.targets.measurement import LayerCost
from edgeprune.targets.vela.compiler import Compiled, TableRow
from edgeprune.tflite.format.file import Graph, Operator
from edgeprune.tflite.n_of_m import READERS, PatternFit, nonzero_weights, pattern_fit

HARDWARE_PATTERN = NofM(2, 4)
SPARSE_FAMILY = "ethos-u85"
"""The NPUs that skip 2:4. Source: weight formats in ethos_u85.cpp of ethos-u-vela 5.2.0."""
SKIPPED = 0.75
"""A layer with fewer multiplications than this fraction of its own skips 2:4, which halves them.

Not exactly half, since a transposed convolution is computed as several, cropped at the edges.
"""
DENSE_LOOKING = 0.3
"""With fewer zeros than this a weight is called dense and not a broken pattern."""
WAITING = 1.05
"""A layer whose cycles are more than this multiple of its NPU cycles waits for a memory."""


@dataclass(frozen=True)
class CompiledLayer:
    """An operator of the file with what the compiler made of it.

    `operator` is None for what no operator was found to, such as copies between memories.
    """

    operator: Operator | None
    rows: tuple[TableRow, ...]

    @property
    def npu(self) -> bool:
        """Whether the NPU computes it."""
        return all(row.npu for row in self.rows)

    @property
    def cycles(self) -> int:
        """Cycles until the layer is done."""
        return sum(row.cycles for row in self.rows)

    @property
    def npu_cycles(self) -> int:
        """Cycles that the NPU computes."""
        return sum(row.npu_cycles for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiplications that the NPU makes."""
        return sum(row.macs for row in self.rows)


def group_rows(rows: Sequence[TableRow], graph: Graph) -> tuple[CompiledLayer, ...]:
    """Puts the rows of the table that stem from one operator together.

    A row is named after the tensor that it computes. One whose tensor is in the file ends what the
    compiler made of that tensor's operator; the ones before it, of the same kind, lead up to it.
    """
    layers: list[CompiledLayer] = []
    leading: list[TableRow] = []
    waiting = _by_output(graph)
    for row in rows:
        current = layers[-1].operator if layers else None
        if not leading and current is not None and row.name == _output_name(graph, current):
            layers[-1] = CompiledLayer(current, (*layers[-1].rows, row))
        elif waiting.get(row.name):
            alike = [each for each in leading if each.original == row.original]
            layers += [CompiledLayer(None, (each,)) for each in leading if each not in alike]
            layers.append(CompiledLayer(waiting[row.name].pop(0), (*alike, row)))
            leading = []
        else:
            leading.append(row)
    return (*layers, *(CompiledLayer(None, (row,)) for row in leading))


def _by_output(graph: Graph) -> dict[str, list[Operator]]:
    found: dict[str, list[Operator]] = {}
    for operator in graph.operators:
        found.setdefault(_output_name(graph, operator), []).append(operator)
    return found


def _output_name(graph: Graph, operator: Operator) -> str:
    return graph.tensors[operator.outputs[0]].name if operator.outputs else ""


def layer_costs(compiled: Compiled, graph: Graph) -> tuple[LayerCost, ...]:
    """Cycles of every layer, where it runs, and what is to be said of its zeros."""
    return tuple(
        LayerCost(
            name=layer.rows[-1].name,
            op=layer.operator.op if layer.operator else layer.rows[0].operation,
            where="NPU" if layer.npu else "CPU",
            cycles=layer.cycles if layer.npu else None,
            note="; ".join(_notes(layer, compiled, graph)),
        )
        for layer in group_rows(compiled.rows, graph)
    )


def _notes(layer: CompiledLayer, compiled: Compiled, graph: Graph) -> Iterator[str]:
    if not layer.npu:
        yield compiled.fallbacks.get(layer.rows[-1].name, "the compiler gives no reason")
        return
    if compiled.configuration.family == SPARSE_FAMILY and layer.operator is not None:
        yield from _about_zeros(layer, layer.operator, graph)
    if layer.cycles > WAITING * layer.npu_cycles:
        memory = _slowest_memory(layer)
        yield f"waits for {memory}: the NPU computes {layer.npu_cycles} of {layer.cycles} cycles"


def _slowest_memory(layer: CompiledLayer) -> str:
    slowest = max(layer.rows, key=lambda row: row.cycles - row.npu_cycles)
    return max(slowest.access_cycles, key=lambda memory: slowest.access_cycles[memory])


def _about_zeros(layer: CompiledLayer, operator: Operator, graph: Graph) -> Iterator[str]:
    """Whether the NPU skips 2:4 zeros in a layer, and why not."""
    if operator.op == "DEPTHWISE_CONV_2D":
        yield "no 2:4: depthwise, an output sees one input channel and 2:4 takes four"
        return
    weight = nonzero_weights(graph.subgraphs[0], operator) if operator.op in READERS else None
    if weight is None:
        return
    tensor, nonzero = weight
    outputs = tensor.shape[0]
    positions = math.prod(graph.tensors[operator.outputs[0]].shape) // outputs
    if layer.macs < SKIPPED * positions * nonzero.size:
        yield "2:4: half of the multiplications are skipped"
        return
    found = pattern_fit(tensor.name, nonzero, HARDWARE_PATTERN)
    yield f"no 2:4: {_reason(found, tensor.shape[-1])}"


def _reason(found: PatternFit, channels: int) -> str:
    if found.whole:
        return "its zeros are 2:4, but the compiler found the layer no faster so"
    if channels % HARDWARE_PATTERN.m:
        return f"{channels} input channels, not a multiple of {HARDWARE_PATTERN.m}"
    if found.sparsity < DENSE_LOOKING:
        return "the weights are dense"
    return (
        f"{found.misfits} of {found.groups} groups of four input channels hold more than two "
        "weights that are not zero"
    )
