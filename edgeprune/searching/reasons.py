"""Why a file is the one to ship, or what stands in the way of all: one line each, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeprune.core.amounts import cost_text
from edgeprune.core.grid import brief
from edgeprune.searching.candidate import HalfAccuracy
from edgeprune.searching.front import name_of
from edgeprune.searching.known import Tried
from edgeprune.searching.limits import Limits


def why_shipped(chosen: Tried, references: Sequence[Tried], limits: Limits) -> str:
    """One line that says why a file is the one to ship, and what its second half says.

    Args:
      chosen: what is shipped.
      references: the dense models.
      limits: what is asked for.
    """
    parts = [
        _cost_of(chosen, references, limits),
        *_said_of_accuracy(chosen, limits),
        "" if limits.budget.needs_labels else "no limit of accuracy was asked for",
        doubt(chosen.outcome.accuracy, limits),
    ]
    return "; ".join(filter(None, parts))


def _cost_of(chosen: Tried, references: Sequence[Tried], limits: Limits) -> str:
    by = " by the cost table" if chosen.outcome.expected else ""
    text = f"{cost_text(chosen.cost, limits.unit)}{by}"
    others = [each for each in references if each.candidate != chosen.candidate]
    ratios = [_ratio(chosen, each) for each in others if each.cost > 0]
    return ", ".join([text, *dict.fromkeys(ratios)])


def _ratio(chosen: Tried, dense: Tried) -> str:
    """How much a file costs of a dense one, and whether a clock tells them apart at all."""
    low, high = chosen.outcome.cost_ci95 or (chosen.cost, chosen.cost)
    blurred = " (the clock does not tell them apart)" if low < dense.cost < high else ""
    return f"{chosen.cost / dense.cost:.2f} of dense {dense.route.numerics}{blurred}"


def _said_of_accuracy(chosen: Tried, limits: Limits) -> Iterator[str]:
    accuracy = chosen.outcome.accuracy
    if accuracy is None:
        yield "accuracy not measured"
        return
    lost = limits.drop(accuracy)
    if lost is None:
        yield f"{brief(accuracy.selected_on)} on the selecting half"
    else:
        yield f"{_lost(lost, limits)} on the half that selected it ({accuracy.samples[0]} samples)"
    other = limits.drop(accuracy, "reported_on")
    if other is not None:
        yield f"{_lost(other, limits)} on the other half ({accuracy.samples[1]} samples)"


def _lost(value: float, limits: Limits) -> str:
    return f"{'loses' if value >= 0 else 'gains'} {limits.difference(abs(value))}"


def doubt(accuracy: HalfAccuracy | None, limits: Limits) -> str:
    """What the half that did not select leaves open, or denies; empty if it agrees or is not there.

    Args:
      accuracy: of a file that keeps the limits on the selecting half.
      limits: what is asked for.
    """
    needed = limits.needed("reported_on", accuracy)
    if needed is None or accuracy is None or accuracy.ci95 is None or accuracy.reported_on is None:
        return ""
    low, high = accuracy.ci95
    between = f"95 % interval {low:.3f} to {high:.3f}"
    if high < needed:
        return f"on the other half it does not keep the limit of {needed:.3f} ({between})"
    if low < needed:
        return f"the {between} of the other half straddles the limit of {needed:.3f}"
    return ""


def why_none(found: Tried | None, limits: Limits, error: str = "") -> str:
    """One line that says what stands in the way where nothing keeps the limits.

    Args:
      found: what misses them by the least.
      limits: what is asked for.
      error: why a candidate failed, if nothing at all was evaluated in full.
    """
    if found is None:
        why = f": {error}" if error else " in the time that there was"
        return f"no file was evaluated in full{why}"
    lacks = "; ".join(each.text for each in limits.shortfalls(found.outcome))
    name = name_of(found.candidate, found.route)
    return f"nothing keeps the limits; the nearest, {name}, has {lacks}"
