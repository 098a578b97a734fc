from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.report.ranking import cost_change, rank
from edgeprune.targets.inference_cost import cost_of, ranking_costs
from edgeprune.targets.latency import Latency
from edgeprune.targets.measurement import Measurement
from edgeprune.targets.modelled_cycles import ModelledCycles

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
    small = [measurement(cycles=n) for n in (1590, 1050)]
    assert cost_change(*small) == "1,590 → 1,050 cycles"
    assert cost_change(timed(2.0), counted[0]) == "-"
    assert cost_change(None, counted[0]) == "-"


def counted(instructions: int, big: int, *, core: Any = "neoverse-n1", **facts: Any) -> Measurement:
    """A count with the modelled cycles of a big and a little core."""
    cores = {"neoverse-n1": big, "cortex-a55": 3 * big}
    modelled: Any = {
        name: ModelledCycles(cycles, 1.0, {"l1": 0, "l2": 0, "l3": 0})
        for name, cycles in cores.items()
    }
    facts = {"modelled_cycles": modelled, "cycles_core": core, "simulated": True, **facts}
    return measurement(instructions=instructions, **facts)


def test_devices_are_ranked_by_modelled_cycles_of_the_core_that_their_profiles_name() -> None:
    """The counts say that `a` is cheaper, the cycles that `b` is; `little` is of another core."""
    pairs = [
        (counted(900, 500, device="a"), counted(300, 200, device="a"), ""),
        (counted(900, 500, device="b"), counted(400, 100, device="b"), ""),
        (
            counted(900, 500, device="little", core="cortex-a55"),
            counted(500, 250, device="little", core="cortex-a55"),
            "",
        ),
        (
            counted(900, 500, device="none", core=None),
            counted(200, 90, device="none", core=None),
            "",
        ),
    ]
    found = rank(pairs)
    assert [(r.title, [e.pruned.device for e in r.entries]) for r in found] == [
        ("Modelled cycles of cortex-a55 (simulated)", ["little"]),
        ("Modelled cycles of neoverse-n1 (simulated)", ["b", "a"]),
        ("Instructions (simulated)", ["none", "a", "b", "little"]),
    ]
    first = found[1].entries[0]
    assert (first.change, first.gain) == (
        "500 → 100 modelled cycles",
        "5.00x by modelled cycles",
    )
    assert found[0].entries[0].gain == "2.00x by modelled cycles"
    assert found[2].entries[0].change == "900 → 200 instructions"


def test_files_are_ranked_by_the_best_number_that_all_of_them_have() -> None:
    everything = {"latency_ms": Latency(2.0, None, None, 1), "cycles": 7}
    best = [counted(3, 5, **everything), counted(30, 50, **everything)]

    def ranked(*measurements: Measurement) -> list[tuple[float, str]]:
        return [(cost.value, cost.ranked_by) for cost in ranking_costs(measurements)]

    assert ranked(*best) == [(2.0, "latency_ms"), (2.0, "latency_ms")]
    compiled = counted(3, 5, cycles=7)
    assert ranked(compiled, best[1]) == [(7, "cycles"), (7, "cycles")]
    modelled = counted(3, 5)
    assert ranked(modelled, best[1]) == [(5, "modelled_cycles"), (50, "modelled_cycles")]
    without = counted(4, 6, core=None)
    assert ranked(modelled, without) == [(3, "instructions"), (4, "instructions")]
    assert ranked(modelled, measurement(instructions=2))[1] == (2, "instructions")
    assert ranked(modelled, timed(1.0)) == []
    assert ranked() == []


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
