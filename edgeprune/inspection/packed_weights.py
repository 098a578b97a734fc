"""Weights that a file packs behind DECODE, for reports and findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from edgeprune.core.finding import Finding
from edgeprune.tflite.format.decode_operator import PackedTensor, packed_tensors
from edgeprune.tflite.format.graph import Graph, Operator
from edgeprune.tflite.format.packed_tensor import DECODE

PACKED = "packed"
"""The rule of a finding: a file with packed weights."""
UNREAD = "packed-unread"
"""The rule of a finding: weights in a coding that is not read, and so not checked, here."""


def packed_by_tensor(graph: Graph) -> Mapping[int, PackedTensor]:
    """What the main subgraph unpacks, by the index of the tensor; of all codings."""
    return {each.tensor.index: each for each in packed_tensors(graph.subgraphs[0])}


def packed_weight(operator: Operator, packed: Mapping[int, PackedTensor]) -> PackedTensor | None:
    """The packed tensor that an operator reads; None if it reads none."""
    return next((packed[index] for index in operator.inputs if index in packed), None)


def count_packed_zeros(each: PackedTensor) -> int:
    """Counts the values of a readable packed tensor that equal its zero point."""
    zero = int(each.tensor.zero_points[0]) if each.tensor.zero_points.size else 0
    return int(np.count_nonzero(each.values() == zero))


def packed_findings(graph: Graph) -> Iterator[Finding]:
    """That TFLite Micro alone reads the file; and one for every coding that is not read here."""
    packed = packed_by_tensor(graph)
    if packed:
        yield Finding(
            None,
            PACKED,
            f"{len(packed)} weights are packed behind {DECODE}: TFLite Micro unpacks them at every "
            "inference, with its resolver's AddDecode(); other runtimes refuse the file.",
            "For other runtimes: edgeprune densify MODEL.tflite -o PLAIN.tflite",
        )
    for each in packed.values():
        if not each.readable:
            coding = int(each.ancillary.data[0])
            yield Finding(
                each.operator.index,
                UNREAD,
                f"unpacks '{each.tensor.name}' from coding {coding}, which is not read here: its "
                "bounds are not checked, and TFLite Micro does not check them either",
                "Pack the weights with edgeprune encode from the plain file.",
            )
