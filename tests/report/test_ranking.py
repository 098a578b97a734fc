from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.report.ranking import cost_change, cost_of, rank
from edgeprune.targets.latency import Latency
from edgeprune.targets.measurement import Measurement

NUMBERS = st.one_of(st.none(), st.integers(1, 10**9))


def measurement(device: str = "d", *, simulated: bool = False, **facts: Any) -> Measurement:
    return Measurement("m.tflite", device, "t", "r", simulated, 1, 1, **facts)


def timed(median: float | None, **facts: Any) -> Measurement:
    return measurement(latency_ms=Latency(median, None, None, 10, mean=5.0), **facts)


MEASUREMENTS = st.builds(
    lambda device, simulated, stand_in, ms, instructions, cycles: Measurement(
        *("m.tflite", device, "t", "r", simulated, 1, 1),
        latency_ms=None if ms is None else Latency(ms, None, None, 1),
        instructions=instructions,
        cycles=cycles,
        stand_in=stand_in,
    ),
    st.sampled_from("abc"),
    st.booleans(),
    st.booleans(),
    NUMBERS,
    NUMBERS,
    NUMBERS,
)


@given(st.lists(MEASUREMENTS))
def test_numbers_of_different_kinds_are_never_put_into_one_order(found: list[Measurement]) -> None:
    rankings = rank([(m, m, "") for m in found])
    for ranking in rankings:
        kinds = {(e.cost.unit, e.pruned.simulated) for e in ranking.entries}
        assert len(kinds) == 1
        assert not any(entry.pruned.stand_in for entry in ranking.entries)
        values = [entry.cost.value for entry in ranking.entries]
        assert values == sorted(values)
        assert ranking.kind in ranking.title
        if ranking.unit == "cycles":
            assert len({entry.pruned.device for entry in ranking.entries}) == 1
    ranked = sum(len(ranking.entries) for ranking in rankings)
    assert ranked == sum(cost_of(m) is not None and not m.stand_in for m in found)


def test_times_of_different_number_formats_are_ranked_apart() -> None:
    quick, slow = timed(1.0), timed(9.0)
    pairs = [(quick, quick, "int8"), (slow, slow, "float32")]
    titles = [ranking.title for ranking in rank(pairs)]
    assert titles == ["Latency, ms of float32 (measured)", "Latency, ms of int8 (measured)"]


def test_every_number_has_its_unit() -> None:
    assert cost_change(timed(2.0), timed(1.5)) == "2.000 → 1.500 ms"
    counted = [measurement(instructions=n) for n in (200_000_000, 100_000_000)]
    assert cost_change(*counted) == "200.0 M → 100.0 M instructions"
    assert cost_change(measurement(cycles=10**6), measurement(cycles=10**5)) == (
        "1 M → 0.1 M cycles"
    )
    assert cost_change(timed(2.0), counted[0]) == "-"
    assert cost_change(None, counted[0]) == "-"


def test_an_average_is_taken_where_no_median_is_known() -> None:
    cost = cost_of(timed(None))
    assert cost is not None
    assert str(cost) == "5.000 ms"
    assert str(timed(None).latency_ms) == "5.000 ms on average"


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({}, "measured"),
        ({"simulated": True}, "simulated"),
        ({"stand_in": True}, "measured on a proxy"),
    ],
)
def test_a_kind_says_what_was_measured_where(facts: dict[str, Any], kind: str) -> None:
    assert measurement(**facts).kind == kind
