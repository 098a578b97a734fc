"""What `validate` asks of a file for the Edge TPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeprune.targets.checks import Check
from edgeprune.targets.edgetpu_model.compiler import COMPILER
from edgeprune.targets.edgetpu_model.compiler_log import CompilerLog
from edgeprune.targets.edgetpu_model.fit import streaming_time
from edgeprune.targets.edgetpu_model.opinion import Opinion

if TYPE_CHECKING:
    from edgeprune.profiles.facts import Limit

FITS = "fits on chip"


def checks(opinion: Opinion, limit: Limit) -> Iterator[Check]:
    """What is mapped, whether its parameters stay on the chip, and what flattening costs.

    Args:
      opinion: of the file.
      limit: the most bytes that parameters can have on the chip.
    """
    yield _check_mapped(opinion)
    if opinion.log is None:
        yield _check_fit(opinion, limit)
    else:
        yield _check_compiled_fit(opinion, opinion.log)
    yield from _check_flatten(opinion)


def _check_mapped(opinion: Opinion) -> Check:
    left = opinion.on_cpu
    message = f"on the CPU: {left}" if left else "every operator runs on the Edge TPU"
    if not opinion.mapped:
        message += ". Nothing runs on the Edge TPU: export the model in int8 for this device"
    if opinion.log:
        message += f" ({opinion.prediction})"
    name = "operators on the Edge TPU"
    ok = opinion.mapped > 0
    return Check(name, ok, opinion.mapped, opinion.operators, message, kind="placement")


def _check_fit(opinion: Opinion, limit: Limit) -> Check:
    ok = opinion.fit.state != "streams"
    message = opinion.fit.message if ok else f"{opinion.fit.message} (limit: {limit.source})"
    kept = opinion.estimate.kept_bytes
    return Check(FITS, ok, kept, limit.value, message, kind="memory")


def _check_compiled_fit(opinion: Opinion, log: CompilerLog) -> Check:
    """Constants of elementwise operators are streamed also where there is room; others are not."""
    ok = log.streamed_bytes <= log.remaining_bytes
    message = (
        f"{COMPILER} caches {log.cached_bytes} bytes and streams {log.streamed_bytes}, with "
        f"{log.remaining_bytes} left ({opinion.prediction})"
    )
    if not ok:
        message += f"; streaming adds {streaming_time(log.streamed_bytes)}. Remove channels"
    total = log.cached_bytes + log.streamed_bytes
    room = log.cached_bytes + log.remaining_bytes
    return Check(FITS, ok, total, room, message, kind="memory")


def _check_flatten(opinion: Opinion) -> Iterator[Check]:
    """Warns of the room that flattening takes; it fails nothing by itself."""
    traps = [o.stored for o in opinion.estimate.operators if o.placement.op == "RESHAPE"]
    notes = [stored.note for stored in traps if stored.kept]
    if notes:
        total = sum(stored.kept for stored in traps)
        yield Check("flatten", True, total, None, ". ".join(notes), kind="memory")
