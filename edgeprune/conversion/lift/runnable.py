"""The part of a file that can be run, for the lift: all that comes before its remainder."""

from __future__ import annotations

import weakref
from contextlib import ExitStack

from edgeprune.conversion.lift.lifted import KeptRemainder, Obstacle
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.remainder import find_remainder, without_remainder

_NO_KERNEL = "no runtime here has it; with what reads its results it stays as it is, not run"


def runnable_part(graph: Graph) -> tuple[Graph, KeptRemainder | None]:
    """A file without its remainder, in a folder of its own; itself where it has none.

    Returns:
      The file to lift, which is there while the remainder is held; and the remainder.

    Raises:
      TfliteError, OutputError: as `without_remainder`.
    """
    found = find_remainder(graph)
    if found is None:
        return graph, None
    unknown = tuple(Obstacle(each.index, each.op, _NO_KERNEL) for each in found.unknown)
    kept = KeptRemainder(graph.path, tuple(each.index for each in found.operators), unknown)
    held = ExitStack()
    runnable = held.enter_context(without_remainder(graph))
    weakref.finalize(kept, held.close)
    return runnable, kept
