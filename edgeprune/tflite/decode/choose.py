"""Which weights to pack, so that the file is smallest and the arena is large enough.

Exact: every set of weights is considered, or ruled out because it cannot be better or cannot fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgeprune.tflite.decode.arena import (
    Lifetime,
    lifetimes,
    needed_at_once,
    planned_bytes,
    unpacked,
)
from edgeprune.tflite.decode.weights import Weight
from edgeprune.tflite.format.graph import Subgraph

PERSISTENT_BYTES = 208
"""What a DECODE keeps in the arena for as long as the model lives, with 64-bit pointers.

Measured with TFLite Micro 0.dev20261023182759: 48 for two tensors, 64 for the operator, 96 for its
state; `tests/targets/test_tflm_decode.py` counts them.
"""
_MOST_STEPS = 100_000


@dataclass(frozen=True)
class Arena:
    """The arena of a file, and what it takes when weights of it are packed.

    `known` is what lies beside planned buffers: kept data and scratch buffers, in bytes.
    """

    buffers: tuple[Lifetime, ...]
    known: int = 0

    def bytes_with(self, weights: Iterable[Weight]) -> int:
        """Bytes of the whole arena with some weights packed."""
        chosen = tuple(weights)
        kept = PERSISTENT_BYTES * sum(len(weight.readers) for weight in chosen)
        return self.known + kept + planned_bytes((*self.buffers, *_unpacked(chosen)))

    def at_least(self, weight: Weight) -> int:
        """Bytes below which no arena with this weight packed can be, but for what DECODEs keep."""
        needed = needed_at_once(self.buffers)
        return self.known + max(
            buffer.size + max(needed.get(place, 0) for place in (buffer.first, buffer.last))
            for buffer in _unpacked([weight])
        )


def arena_of(subgraph: Subgraph, measured: int | None = None) -> Arena:
    """The arena of a file without packed weights.

    Args:
      subgraph: its main one.
      measured: bytes that an instrument counted; planned buffers alone if None.
    """
    buffers = lifetimes(subgraph)
    return Arena(buffers, 0 if measured is None else measured - planned_bytes(buffers))


def _unpacked(weights: Iterable[Weight]) -> tuple[Lifetime, ...]:
    return tuple(
        unpacked(weight.tensors[0], reader.index) for weight in weights for reader in weight.readers
    )


@dataclass(frozen=True)
class Choice:
    """The weights to pack; `exact` unless the search was ended before every set was ruled out."""

    weights: tuple[Weight, ...]
    exact: bool = True


def choose(weights: Sequence[Weight], arena: Arena, limit: int | None) -> Choice:
    """The set of weights that saves most within `limit` bytes of arena; all that save if None."""
    saving = [weight for weight in weights if not weight.refusal]
    if limit is None or arena.bytes_with(saving) <= limit:
        return Choice(tuple(saving))
    each = [w for w in saving if arena.at_least(w) + PERSISTENT_BYTES * len(w.readers) <= limit]
    items = sorted(each, key=lambda weight: -weight.saved_bytes / len(weight.readers))
    found, exact = best_set(
        [(weight.saved_bytes, PERSISTENT_BYTES * len(weight.readers)) for weight in items],
        limit - arena.known - max(needed_at_once(arena.buffers).values(), default=0),
        lambda chosen: arena.bytes_with(items[index] for index in chosen) <= limit,
    )
    kept = {items[index] for index in found}
    return Choice(tuple(weight for weight in saving if weight in kept), exact)


def best_set(
    items: Sequence[tuple[int, int]], room: int, fits: Callable[[tuple[int, ...]], bool]
) -> tuple[tuple[int, ...], bool]:
    """The set of most worth among those that fit, and whether no better one was left unlooked at.

    Args:
      items: worth and weight of each, the most worth for its weight first.
      room: the most weight that any fitting set can have.
      fits: whether a set, indices in order, really fits; the empty one must.
    """
    best: tuple[int, tuple[int, ...]] = (0, ())
    steps = 0
    # Depth first; each entry is the next item, what was taken, its worth and the room left.
    stack: list[tuple[int, tuple[int, ...], int, int]] = [(0, (), 0, room)]
    while stack and steps < _MOST_STEPS:
        steps += 1
        at, taken, worth, left = stack.pop()
        if worth + _most_worth(items[at:], left) <= best[0]:
            continue
        if at == len(items):
            best = (worth, taken) if fits(taken) else best
            continue
        stack.append((at + 1, taken, worth, left))
        gain, weight = items[at]
        if weight <= left:
            stack.append((at + 1, (*taken, at), worth + gain, left - weight))
    return best[1], not stack


def _most_worth(items: Sequence[tuple[int, int]], room: int) -> float:
    """What a room can hold at most, if the last item could be cut."""
    worth = 0.0
    for gain, weight in items:
        if weight > room:
            return worth + gain * room / weight
        worth, room = worth + gain, room - weight
    return worth
