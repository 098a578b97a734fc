"""The front of a search: what nothing beats in cost and accuracy, and what to ship of it.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.searching.candidate import Candidate
from edgeprune.searching.known import Tried
from edgeprune.searching.limits import Limits
from edgeprune.searching.space import RouteSpace


def name_of(candidate: Candidate, route: RouteSpace) -> str:
    """What a candidate is called among others: `phone int8-channels, cost 0.42, 4 epochs`."""
    if route.dense:
        return f"{candidate.device} dense {route.numerics}"
    return ", ".join(filter(None, [f"{candidate.device} {candidate.route}", how(candidate)]))


def how(candidate: Candidate) -> str:
    """How much of a candidate is pruned, and what else is done to it; empty if nothing is said."""
    words = [
        f"cost {candidate.cost:g}" if candidate.cost is not None else "",
        f"sparsity {candidate.sparsity:g}" if candidate.sparsity else "",
        f"{candidate.epochs} epochs" if candidate.epochs else "",
        candidate.activation if candidate.activation != "keep" else "",
        f"{candidate.padding} padding" if candidate.padding != "keep" else "",
    ]
    return ", ".join(filter(None, words))


def pareto(full: Sequence[Tried], limits: Limits) -> tuple[Tried, ...]:
    """What no other beats, the cheapest first; files whose checks failed are left out.

    One beats another if it costs no more and is as accurate, and one of both is better. Where bytes
    are limited, a file within the limit is beaten by such files alone. Of equals the first stays.

    Args:
      full: of one front.
      limits: what is asked for.
    """
    sound = [each for each in full if not each.outcome.failed_checks]
    order = sorted(sound, key=lambda each: (each.cost, -_accuracy(each)))
    found: list[Tried] = []
    for each in order:
        if not any(_as_good(other, each, limits) for other in found):
            found.append(each)
    return tuple(found)


def _as_good(other: Tried, than: Tried, limits: Limits) -> bool:
    """Whether what costs no more makes another one useless."""
    small = limits.small_enough(other.outcome) or not limits.small_enough(than.outcome)
    return small and _accuracy(other) >= _accuracy(than)


def _accuracy(found: Tried) -> float:
    """0 for all where accuracy is not known."""
    return found.accuracy or 0.0


def to_ship(points: Sequence[Tried], limits: Limits) -> int | None:
    """The number of the cheapest that keeps every limit; None if none does.

    Args:
      points: the front, the cheapest first.
      limits: what is asked for.
    """
    kept = (n for n, each in enumerate(points) if not limits.shortfalls(each.outcome))
    return next(kept, None)


def nearest(full: Sequence[Tried], limits: Limits) -> Tried | None:
    """What misses the limits by the least, in sum over them; None if there is no sound file."""
    return min(
        (each for each in full if not each.outcome.failed_checks),
        key=lambda each: sum(lack.weight for lack in limits.shortfalls(each.outcome)),
        default=None,
    )
