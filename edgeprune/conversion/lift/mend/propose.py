"""Ranges of activations that are worth a try in place of those that a quantized file has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgeprune.conversion.int8.range_worker import least_error
from edgeprune.conversion.int8.ranges import Range
from edgeprune.conversion.lift.mend.rescale import Proposal
from edgeprune.conversion.lift.mend.watch import Span, Watched
from edgeprune.core.arrays import Array

_BINS = 1024
_STEPS = 255
_LEAST_GAIN = 0.05
"""By which share the squared error of a tensor's own values has to fall for its range to change."""


def proposals(
    groups: Sequence[tuple[int, ...]],
    spans: Mapping[int, Span],
    watched: Mapping[int, Watched],
) -> list[list[Proposal]]:
    """Ways to change ranges; each names the sets whose values would be nearer by themselves.

    A range may become narrower, so that its steps are finer, or wider, so that fewer values are
    cut; to the extremes of the values, or to the least error.

    Args:
      groups: as `groups.free_groups` gives them.
      spans: the range that each tensor has.
      watched: the values of each.
    """
    known = [group for group in groups if any(index in watched for index in group)]
    ways = [
        list(_proposed(known, spans, watched, wider=wider, least=least))
        for wider in (False, True)
        for least in (False, True)
    ]
    return [way for number, way in enumerate(ways) if way and way not in ways[:number]]


def _proposed(
    groups: Sequence[tuple[int, ...]],
    spans: Mapping[int, Span],
    watched: Mapping[int, Watched],
    *,
    wider: bool,
    least: bool,
) -> Iterator[Proposal]:
    for group in groups:
        old = spans[group[0]]
        seen = [watched[index] for index in group if index in watched]
        low, high = min(0.0, *(s.low for s in seen)), max(0.0, *(s.high for s in seen))
        values = np.concatenate([each.values for each in seen])
        if not wider:
            low, high, values = max(low, old[0]), min(high, old[1]), np.clip(values, *old)
        if not low < high:
            continue
        counts = np.histogram(values, _BINS, (low, high))[0]
        new = least_error(counts, low, high) if least else (low, high)
        if error_of(values, new) < (1 - _LEAST_GAIN) * error_of(values, old):
            yield group, Range(*new)


def error_of(values: Array, ends: Span) -> float:
    """The mean squared error of values in 256 steps between two ends, as far as it is expected."""
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    cut = np.clip(values, low, high) - values
    return float(np.mean(cut**2) + ((high - low) / _STEPS) ** 2 / 12)
