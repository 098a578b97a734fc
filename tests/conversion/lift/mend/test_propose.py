"""Ranges that are worth a try."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.conversion.lift.mend.propose import error_of, proposals
from edgeprune.conversion.lift.mend.watch import Watched
from edgeprune.core.arrays import Array


def watched(values: Array) -> Watched:
    low, high = float(values.min()), float(values.max())
    return Watched(low, high, values, np.empty((2, 0)))


def test_steps_that_are_too_coarse_become_finer_to_the_extremes_of_the_values() -> None:
    values = np.linspace(-1, 2, 5000)
    ways = proposals([(7,)], {7: (-10.0, 10.0)}, {7: watched(values)})
    assert len(ways) == 1  # all that may be tried comes to the same
    ((group, ends),) = ways[0]
    assert group == (7,)
    assert (ends.low, ends.high) == pytest.approx((-1, 2))


def test_a_range_that_fits_is_left_alone() -> None:
    values = np.linspace(-1, 2, 5000)
    assert proposals([(7,)], {7: (-1.02, 2.01)}, {7: watched(values)}) == []


def test_values_that_the_old_range_cuts_may_get_a_wider_one() -> None:
    values = np.linspace(0, 8, 5000)
    ways = proposals([(7,)], {7: (0.0, 4.0)}, {7: watched(values)})
    assert [ends.high for way in ways for _, ends in way] == pytest.approx([8.0])


def test_one_value_far_out_may_be_cut_for_the_steps_of_all_others() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 40_000), [60.0]])
    ways = proposals([(7,)], {7: (-60.0, 60.0)}, {7: watched(values)})
    highs = [way[0][1].high for way in ways]
    assert max(highs) == pytest.approx(60)
    assert min(highs) < 58


def test_a_set_gets_one_range_that_holds_the_values_of_all() -> None:
    seen = {3: watched(np.linspace(-1, 0.5, 5000)), 4: watched(np.linspace(0, 2, 5000))}
    spans = dict.fromkeys((3, 4, 5), (-9.0, 9.0))
    ((group, ends),) = proposals([(3, 4, 5)], spans, seen)[0]
    assert group == (3, 4, 5)
    assert (ends.low, ends.high) == pytest.approx((-1, 2))


def test_what_keras_does_not_have_is_left_out() -> None:
    assert proposals([(3,)], {3: (-9.0, 9.0)}, {}) == []


def test_the_expected_error_is_that_of_rounding_and_of_what_is_cut() -> None:
    values = np.random.default_rng(1).uniform(-1, 3, 100_000)
    low, high = -0.5, 2.0
    step = (high - low) / 255
    held = np.clip(np.rint(values / step) * step, low, high)
    assert error_of(values, (low, high)) == pytest.approx(np.mean((held - values) ** 2), rel=0.01)
