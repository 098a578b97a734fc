"""What a plan says of a file that is not lifted wholly: islands, remainder, parts of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprune.core.plan import Plan
from edgeprune.core.plan_verdict import Island

if TYPE_CHECKING:
    from edgeprune.conversion.lift.lifted import Lifted


def with_islands(plan: Plan, lifted: Lifted | None) -> Plan:
    """The plan with the islands of the file that it is for; itself where there are none."""
    if lifted is None or not lifted.obstacles:
        return plan
    from edgeprune.conversion.lift.parts import parts_of  # imports Keras

    parts = parts_of(lifted.model)
    rows = [row.model_copy(update={"part": parts.get(row.path)}) for row in plan.layers]
    islands = [Island(ops=each.operators, reason=each.reason) for each in lifted.islands]
    if lifted.remainder is not None:
        islands.append(Island(ops=lifted.remainder.operators, reason=lifted.remainder.reason))
    return plan.model_copy(update={"layers": tuple(rows), "islands": tuple(islands)})
