"""Checks of packed weights: what they unpack to, and which runtimes read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgeprune.core.errors import TfliteError
from edgeprune.targets.checks import Case, Check
from edgeprune.targets.tflm.packing import plain_path
from edgeprune.tflite.format.decode_operator import PackedTensor, holds_packed, packed_tensors
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.format.packed_tensor import DECODE, pack_values

_NAME = "packed weights"


def check_packing(graph: Graph, plain: Graph) -> Iterator[Check]:
    """Whether packed weights unpack to those of the plain file; nothing without packed weights.

    Where `OUT.plain.tflite` is not beside the file, they are packed again and compared.

    Args:
      graph: the file.
      plain: the same with its weights unpacked.
    """
    if not holds_packed(graph):
        return
    found = [each for subgraph in graph.subgraphs for each in packed_tensors(subgraph)]
    unread = [each.tensor.name for each in found if not each.readable]
    if unread:
        message = (
            f"{', '.join(unread)}: in a coding that is not read here, and whose bounds nobody "
            "checks. Pack the weights with edgeprune encode from the plain file"
        )
        yield Check(_NAME, False, len(unread), 0, message, kind="storage")
        return
    beside = plain_path(graph.path)
    unequal = _unequal_to(plain, beside) if beside.exists() else _unequal_again(found)
    other = f"{beside.name} beside it" if beside.exists() else "themselves, packed again"
    words = (
        f"bit for bit equal to {other}"
        if not unequal
        else f"other bits than {other}: {unequal[0]}. Write both files again with edgeprune export"
    )
    message = f"{len(found)} weights unpack to {words}" if not unequal else f"weights have {words}"
    yield Check(_NAME, not unequal, len(unequal), 0, message, kind="storage")


def check_readers(case: Case, runtimes: Sequence[str]) -> Iterator[Check]:
    """Says of runtimes that read plain files alone that they got the unpacked form of a file.

    That is a failed check on a device that TFLite Micro does not run on.
    """
    if case.profile.tflm is None and case.profile.packing is None:
        message = (
            f"weights are packed behind {DECODE}, which none of the device's runtimes has. Make "
            "them plain first: edgeprune densify MODEL.tflite -o PLAIN.tflite"
        )
        yield Check("packed", False, "packed", "plain", message, kind="storage")
        return
    for runtime in runtimes:
        message = (
            f"{runtime} has no {DECODE} and cannot run the packed file, which is no fault: TFLite "
            f"Micro runs it. What {case.graph.path.name} unpacks to was run in its place"
        )
        yield Check(f"reads ({runtime})", True, "unpacked", None, message, kind="storage")


def _unequal_to(plain: Graph, beside: Path) -> list[str]:
    """Names of constants of the unpacked file that differ from those of the plain one."""
    try:
        wanted = read(beside)
    except TfliteError as error:
        return [str(error)]
    found = [tensor for subgraph in plain.subgraphs for tensor in subgraph.tensors]
    right = [tensor for subgraph in wanted.subgraphs for tensor in subgraph.tensors]
    if len(found) != len(right):
        return [f"{len(found)} tensors, not {len(right)}"]
    return [
        one.name or f"tensor {one.index}"
        for one, other in zip(found, right, strict=True)
        if one.shape != other.shape or not np.array_equal(one.data, other.data)
    ]


def _unequal_again(found: Sequence[PackedTensor]) -> list[str]:
    """Names of tensors that would be packed into other bytes."""
    unlike = {each.key: each for each in found}
    return [each.tensor.name for each in unlike.values() if not _packs_to_itself(each)]


def _packs_to_itself(each: PackedTensor) -> bool:
    tensor = each.tensor
    again = pack_values(each.values(), tensor.zero_points, tensor.quantized_dimension)
    same = np.array_equal(again.mask, each.packed.mask)
    return same and np.array_equal(again.ancillary, each.packed.ancillary)
