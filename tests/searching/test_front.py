"""What of a search is on the front, what is shipped, and what is said where nothing is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.searching.assemble import Facts, fronts_of, trials_of
from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import Candidate, Finished, HalfAccuracy, Outcome, Stage, Task
from edgeprune.searching.front import pareto, to_ship
from edgeprune.searching.known import Tried
from edgeprune.searching.limits import Limits
from edgeprune.searching.result import Front
from tests.support.pretended_search import phone_space, route_space

DENSE = HalfAccuracy(0.80, 0.81, (0.79, 0.83), (1000, 1010), "Keras")
CHANNELS = route_space("int8-channels", "int8", (0.5,))


def tried(
    cost: float,
    accuracy: float | None = 0.8,
    *,
    reported: float | None = None,
    ci95: tuple[float, float] | None = None,
    size: int = 1000,
    failed: tuple[str, ...] = (),
) -> Tried:
    found = None
    if accuracy is not None:
        other = accuracy if reported is None else reported
        found = HalfAccuracy(accuracy, other, ci95, (1000, 1010), "LiteRT")
    outcome = Outcome(cost, accuracy=found, size_bytes=size, sha256="a", failed_checks=failed)
    candidate = Candidate("phone", "int8-channels", cost=round(cost / 1e4, 4))
    return Tried(CHANNELS, candidate, Stage.ONE_SHOT, outcome, 0.5, accuracy)


def limits(**budget: float) -> Limits:
    return Limits(Budget(**budget), "instructions", DENSE)  # type: ignore[arg-type]


costs_and_accuracies = st.lists(
    st.tuples(st.integers(1, 9).map(float), st.integers(0, 9).map(lambda n: n / 10)), max_size=12
)


@given(costs_and_accuracies)
def test_a_point_is_on_the_front_if_and_only_if_no_other_is_cheaper_or_as_cheap_and_better(
    pairs: list[tuple[float, float]],
) -> None:
    found = pareto([tried(*pair) for pair in pairs], limits())
    expected = sorted(
        {
            (cost, accuracy)
            for cost, accuracy in pairs
            if not any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in pairs)
        }
    )
    assert [(each.cost, each.accuracy) for each in found] == expected


def test_the_cheapest_that_keeps_the_drop_on_the_selecting_half_is_shipped() -> None:
    points = [tried(10, 0.78), tried(20, 0.79), tried(30, 0.80)]
    assert to_ship(points, limits(max_drop=0.01)) == 1
    assert to_ship(points, limits(max_drop=0.02)) == 0
    assert to_ship(points, limits(min_accuracy=0.795)) == 2
    assert to_ship(points, limits(max_drop=0.01, max_cost=15)) is None
    assert to_ship(points, limits()) == 0


def test_a_file_whose_checks_failed_is_on_no_front() -> None:
    assert pareto([tried(1, 0.9, failed=("it crashes",))], limits()) == ()


def test_a_dearer_file_stays_on_the_front_where_the_cheaper_one_is_too_large() -> None:
    large, small = tried(1, 0.8, size=3000), tried(2, 0.8, size=1000)
    assert pareto([large, small], limits()) == (large,)
    found = pareto([large, small], limits(max_bytes=2000))
    assert found == (large, small)
    assert to_ship(found, limits(max_bytes=2000)) == 1


def finished(candidate: Candidate, outcome: Outcome | None, stage: Stage) -> Finished:
    return Finished(Task(0, candidate, stage), outcome, "" if outcome else "a layer is too wide")


def front(budget: Budget, *found: Finished, dense: HalfAccuracy | None = DENSE) -> Front:
    space = phone_space(budget)
    facts = Facts(space, dense, fraction=True, command=lambda *_: "make it")
    return fronts_of(facts, found)[0]


FLOAT = finished(
    Candidate("phone", "float32"),
    Outcome(7.6e6, accuracy=DENSE, size_bytes=1 << 20, sha256="f"),
    Stage.ONE_SHOT,
)


def pruned(cost: float, accuracy: float, ci95: tuple[float, float] = (0.77, 0.82)) -> Finished:
    half = HalfAccuracy(accuracy, accuracy, ci95, (1000, 1010), "LiteRT 2.1.6")
    outcome = Outcome(cost * 2.56e6, accuracy=half, size_bytes=100_000, sha256="p", reached=0.6)
    return finished(Candidate("phone", "int8-channels", cost=cost), outcome, Stage.ONE_SHOT)


def test_the_reason_names_cost_both_halves_and_an_interval_that_straddles_the_budget() -> None:
    found = front(Budget(max_drop=0.01), FLOAT, pruned(0.5, 0.795))
    assert found.ship == 0
    assert found.verdict() == (
        "Ship front/01-phone-int8-channels-1280000.tflite: 1.28 M instructions, "
        "0.17 of dense float32; loses 0.50 points on the half that selected it (1000 samples); "
        "loses 1.50 points on the other half (1010 samples); the 95 % interval 0.770 to 0.820 of "
        "the other half straddles the limit of 0.800."
    )


@pytest.mark.parametrize(("high", "blurred"), [(7.7e6, True), (7.5e6, False)])
def test_a_clock_that_does_not_tell_a_file_from_the_dense_one_is_told(
    high: float, blurred: bool
) -> None:
    timed = pruned(0.5, 0.795)
    assert timed.outcome is not None
    outcome = replace(timed.outcome, cost_ci95=(1.0e6, high))
    found = front(Budget(max_drop=0.01), FLOAT, replace(timed, outcome=outcome))
    told = "0.17 of dense float32 (the clock does not tell them apart)"
    assert (told in found.reason) is blurred
    assert found.points[0].to_json()["cost_ci95"] == [1.0e6, high]
    assert "cost_ci95" not in found.references[0].to_json()
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_a_half_that_denies_the_budget_is_told() -> None:
    found = front(Budget(max_drop=0.01), FLOAT, pruned(0.5, 0.795, (0.75, 0.79)))
    assert "on the other half it does not keep the limit of 0.800" in found.reason


def test_nothing_within_the_budget_gives_the_nearest_and_what_stands_in_the_way() -> None:
    budget = Budget(max_drop=0.01, max_cost=1.0e6)
    found = front(budget, FLOAT, pruned(0.5, 0.795), pruned(0.35, 0.60))
    assert found.ship is None
    assert found.nearest is not None
    assert found.nearest.name == "phone int8-channels, cost 0.5"
    assert "1.28 M instructions where 1 M instructions are allowed" in found.reason
    assert found.verdict().startswith("Nothing to ship for phone: nothing keeps the limits")


def test_without_any_file_the_first_failure_is_the_reason() -> None:
    failed = finished(Candidate("phone", "int8-channels", cost=0.5), None, Stage.INSTRUMENT)
    found = front(Budget(max_drop=0.01), failed)
    assert (found.points, found.ship, found.nearest) == ((), None, None)
    assert found.reason == "no file was evaluated in full: a layer is too wide"
    assert [each.why for each in found.attempts] == ["failed: a layer is too wide"]


def test_points_have_exactly_the_keys_of_the_contract() -> None:
    point = front(Budget(), FLOAT, pruned(0.5, 0.795)).points[0].to_json()
    assert point == {
        "file": "front/01-phone-int8-channels-1280000.tflite",
        "device": "phone",
        "route": "int8-channels",
        "sparsity": 0.6,
        "epochs": 0,
        "accuracy": {"selected_on": 0.795, "reported_on": 0.795, "ci95": [0.77, 0.82]},
        "drop": pytest.approx(0.005),
        "cost": 1.28e6,
        "size_bytes": 100_000,
        "command": "make it",
    }


def test_every_candidate_says_at_which_stage_it_fell_out_and_why() -> None:
    low = HalfAccuracy(0.6, None, None, (250, 0), "LiteRT")
    part = finished(Candidate("phone", "sparse", cost=0.3), Outcome(2e5, accuracy=low), Stage.PART)
    dear = finished(Candidate("phone", "sparse", cost=0.6), Outcome(4.6e6), Stage.INSTRUMENT)
    found = front(Budget(max_drop=0.01), FLOAT, pruned(0.5, 0.795), part, dear)
    told = {each.name: (each.stage, each.why) for each in found.attempts}
    assert told["phone sparse, cost 0.6"] == (
        "instrument",
        "beaten by phone int8-channels, cost 0.5, 1.28 M instructions",
    )
    stage, why = told["phone sparse, cost 0.3"]
    assert stage == "part of the samples"
    assert why.startswith("not taken further: accuracy 0.600 on the selecting half, 19.00 points")


def test_of_a_metric_of_which_less_is_better_the_drop_is_what_it_grew_by() -> None:
    budget = Budget(max_drop=0.1)
    dense = HalfAccuracy(0.5, 0.6, None, (10, 10), "Keras")
    found = Limits(budget, "ms", dense, minimize=True, fraction=False)
    assert found.needed("selected_on") == pytest.approx(0.6)
    assert found.drop(HalfAccuracy(0.7, 0.7, None, (10, 10), "LiteRT")) == pytest.approx(0.2)
    worse = Outcome(1.0, accuracy=HalfAccuracy(0.7, 0.7, None, (10, 10), "LiteRT"))
    assert [each.text for each in found.shortfalls(worse)] == [
        "0.7 on the selecting half, 0.1 short of 0.6"
    ]


def test_trials_count_full_ones_without_the_dense_files() -> None:
    failed = finished(Candidate("phone", "sparse", cost=0.5), None, Stage.INSTRUMENT)
    dear = finished(Candidate("phone", "sparse", cost=0.6), Outcome(4.6e6), Stage.INSTRUMENT)
    found = trials_of(phone_space(), [FLOAT, pruned(0.5, 0.795), failed, dear])
    assert (found.done, found.dropped, found.failed) == (1, 1, 1)


def test_a_file_that_ran_on_some_samples_is_held_against_the_dense_model_on_those() -> None:
    """Those of half precision run on a few: there the dense model may be better or worse."""
    few = HalfAccuracy(0.70, 0.70, (0.6, 0.8), (256, 256), "emulated", dense=(0.705, 0.72))
    half = Candidate("phone", "float16-channels", cost=0.5)
    kept = finished(half, Outcome(2e6, accuracy=few, sha256="h"), Stage.ONE_SHOT)
    found = front(Budget(max_drop=0.01), FLOAT, kept)
    assert found.shipped is not None
    assert found.shipped.name == "phone float16-channels, cost 0.5"
    assert found.shipped.drop == pytest.approx(0.005)
    better = pruned(0.7, 0.79)
    assert len(front(Budget(), FLOAT, kept, better).points) == 3
