"""Rounds of a search: what is tried next, on one worker and on several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import Candidate, Finished, Stage
from edgeprune.searching.known import Known
from edgeprune.searching.refine import CLOSE, ENOUGH, FINALISTS, GAP, front_of
from edgeprune.searching.rounds import current_round, next_tasks
from edgeprune.searching.space import CHANNEL_COSTS, FrontKey, Space, candidates
from tests.support.pretended_search import (
    DENSE_COST,
    FRONT,
    Formula,
    alone,
    phone_space,
    route_space,
    together,
)

TABLES = {"sparse": 0.8, "int8-channels": 1.1}


def searched(formula: Formula) -> Known:
    """What one worker knows at the end of a search."""
    expected = formula.expected(candidates(formula.space))
    return Known(formula.space, expected, alone(formula.space, formula, expected))


def in_full(known: Known) -> list[Finished]:
    return [
        each
        for each in known.finished
        if each.task.stage >= Stage.ONE_SHOT and each.task.candidate.cost is not None
    ]


def test_the_first_round_is_the_references_that_run_here_and_two_counted_costs_of_each_kind() -> (
    None
):
    formula = Formula(phone_space(), error=TABLES)
    tasks = next_tasks(formula.space, formula.expected(candidates(formula.space)), [])
    assert [(task.candidate.route, task.candidate.cost, task.stage) for task in tasks] == [
        ("float32", None, Stage.ONE_SHOT),
        ("float16-arithmetic", None, Stage.INSTRUMENT),
        ("int8", None, Stage.ONE_SHOT),
        ("int8-channels", 0.8, Stage.INSTRUMENT),
        ("int8-channels", 0.33, Stage.INSTRUMENT),
        ("sparse", 0.5, Stage.INSTRUMENT),
        ("sparse", 0.28, Stage.INSTRUMENT),
    ]


def test_a_dense_model_that_runs_on_an_emulated_core_is_judged_once_the_boundary_is_found() -> None:
    known = searched(Formula(phone_space(), error=TABLES))
    (judged,) = [
        each.task.round
        for each in known.finished
        if each.task.candidate.route == "float16-arithmetic" and each.task.stage is Stage.ONE_SHOT
    ]
    assert known.cheapest is not None
    boundary = {
        each.task.round
        for each in known.finished
        if each.task.candidate == known.cheapest.candidate and each.task.stage is Stage.ONE_SHOT
    }
    assert max(boundary) < judged


def test_it_is_judged_at_once_where_nothing_cheaper_keeps_the_accuracy() -> None:
    dense = {"float32": 0.8, "float16-arithmetic": 0.8, "int8": 0.5}
    known = searched(Formula(phone_space(), error=TABLES, dense=dense))
    (judged,) = [
        each.task.round
        for each in known.finished
        if each.task.candidate.route == "float16-arithmetic" and each.task.stage is Stage.ONE_SHOT
    ]
    assert judged == 1


@pytest.mark.parametrize("int8", [0.796, 0.791])
def test_what_runs_on_an_emulated_core_is_judged_only_where_nothing_cheaper_will_do(
    int8: float,
) -> None:
    dense = {"float32": 0.8, "float16-arithmetic": 0.8, "int8": int8}
    known = searched(Formula(phone_space(), error=TABLES, dense=dense))
    costs = [
        each.outcome.cost
        for each in in_full(known)
        if each.task.candidate.route == "float16-channels" and each.outcome is not None
    ]
    assert max(costs, default=0.0) < DENSE_COST["int8"]


def test_of_one_kind_of_route_the_cheapest_tells_what_the_others_lose() -> None:
    known = searched(Formula(phone_space(), error=TABLES))
    parts = {each.task.candidate.route for each in known.finished if each.task.stage is Stage.PART}
    assert parts == {"int8-channels", "sparse"}
    assert not [
        each
        for each in known.finished
        if each.task.candidate.route == "float16-channels" and each.task.stage > Stage.PART
    ]


def test_a_route_that_may_win_by_what_another_of_its_kind_lost_is_evaluated() -> None:
    cheap = Formula(phone_space(), error=TABLES, prices={**DENSE_COST, "float16-arithmetic": 2e6})
    known = searched(cheap)
    assert known.cheapest is not None
    assert known.cheapest.candidate.route == "float16-channels"


def test_a_route_whose_tables_say_that_it_costs_far_more_than_dense_int8_is_never_tried() -> None:
    known = searched(Formula(phone_space(), error={"sparse": 2.0}))
    assert not [each for each in known.finished if each.task.candidate.route == "sparse"]


def test_that_route_is_tried_where_dense_int8_does_not_keep_the_accuracy() -> None:
    formula = Formula(phone_space(), error={"sparse": 2.0}, loss={"int8": 0.5})
    broken = replace(formula, dense={"float32": 0.8, "float16-arithmetic": 0.8, "int8": 0.5})
    known = searched(broken)
    assert [each for each in known.finished if each.task.candidate.route == "sparse"]
    assert known.cheapest is not None
    assert known.cheapest.candidate.route != "int8-channels"


def test_costs_near_the_boundary_of_the_budget_are_bisected_to_three_percent() -> None:
    known = searched(Formula(phone_space(), error=TABLES))
    assert known.cheapest is not None
    assert known.floor == pytest.approx(0.79)
    family = [each for each in known.family(known.cheapest.route) if each.stage is Stage.ONE_SHOT]
    lost = [each for each in family if each.level < known.cheapest.level]
    assert all(not known.accurate(each) for each in lost)
    assert known.cheapest.cost / lost[0].cost < 1.035
    # the formula's own answer: dense int8 loses 0.0016, so that 0.0084 are left
    assert known.cheapest.level == pytest.approx(1 / (1 + 0.0084 / 0.02), rel=0.03)


def test_a_budget_that_is_kept_by_all_that_is_tried_first_is_followed_further_down() -> None:
    known = searched(Formula(phone_space(Budget(max_drop=0.2)), error=TABLES))
    assert known.cheapest is not None
    assert known.cheapest.level < 0.12


def test_neighbours_on_the_front_are_near_each_other_in_cost() -> None:
    known = searched(Formula(phone_space(), error=TABLES))
    front = [each for each in front_of(known.full) if each.cost <= DENSE_COST["int8"]]
    assert len(front) > 10
    assert all(high.cost / low.cost <= GAP for high, low in pairwise(front))


LUCKY = 0.65


class Lucky(Formula):
    """Of the int8 files, one of those tried first keeps more than the dense one by chance."""

    def accuracy(self, candidate: Candidate) -> float:
        found = super().accuracy(candidate)
        lucky = candidate.route == "int8-channels" and candidate.cost == LUCKY
        return self.dense["float32"] - 0.0005 if lucky else found


def test_levels_above_a_cheap_file_that_hardly_loses_are_tried_though_the_next_one_is_worse() -> (
    None
):
    assert LUCKY in CHANNEL_COSTS
    known = searched(Lucky(phone_space(), error=TABLES))
    route = next(each for each in known.space.routes if each.route == "int8-channels")
    levels = [each.level for each in known.family(route) if each.level >= LUCKY]
    assert levels[0] == 1.0
    assert levels[-1] == LUCKY
    assert len(levels) > 3
    assert levels[0] / levels[1] <= CLOSE**2
    assert all(above / below <= ENOUGH for above, below in pairwise(levels))


def test_few_candidates_are_evaluated_in_full() -> None:
    known = searched(Formula(phone_space(), error=TABLES))
    assert len(in_full(known)) <= 16
    assert Counter(each.task.stage for each in known.finished)[Stage.PART] <= 6


def test_of_three_that_are_trained_one_is_the_cheapest_that_keeps_the_accuracy() -> None:
    known = searched(Formula(phone_space(epochs=4), error=TABLES))
    trained = [each for each in known.finished if each.task.stage is Stage.TRAINED]
    assert len(trained) == FINALISTS
    assert known.cheapest is not None
    assert known.cheapest.candidate.epochs == 4
    # the formula's own answer: training leaves a fifth of what is lost
    assert 1 <= known.cheapest.level * (1 + 5 * 0.0084 / 0.02) < 1.12


def test_training_takes_a_cheaper_activation_where_the_tables_say_that_it_is_cheaper() -> None:
    formula = Formula(phone_space(epochs=4), error=TABLES)
    expected = {
        each.key: formula.cost(each) * (0.9 if each.activation == "hard-swish" else 1.0)
        for each in candidates(formula.space)
    }
    finished = alone(formula.space, formula, expected)
    chosen = {
        each.task.candidate.activation for each in finished if each.task.stage is Stage.TRAINED
    }
    assert chosen == {"hard-swish"}


@pytest.mark.parametrize("trials", [0, 1, 3, 7])
def test_no_more_candidates_are_evaluated_in_full_than_were_allowed(trials: int) -> None:
    known = searched(Formula(phone_space(trials=trials), error=TABLES))
    assert len(in_full(known)) == trials
    assert len(known.references) == 3


def test_candidates_that_fail_for_good_are_not_tried_again() -> None:
    formula = Formula(phone_space(), fails=lambda each: (each.cost or 1.0) < 0.7)
    known = searched(formula)
    keys = [each.task.candidate.key for each in known.finished if each.outcome is None]
    assert keys
    assert len(set(keys)) == len(keys)
    assert known.cheapest is not None
    assert known.cheapest.level == pytest.approx(0.72, abs=0.03)


def test_a_metric_of_which_less_is_better_is_searched_the_other_way() -> None:
    space = replace(phone_space(), minimize=True)
    formula = Formula(space, error=TABLES, sign=-1.0)
    known = searched(formula)
    usual = searched(Formula(phone_space(), error=TABLES))
    assert known.cheapest is not None
    assert usual.cheapest is not None
    assert known.cheapest.candidate == usual.cheapest.candidate


def test_devices_of_different_cores_are_searched_in_fronts_of_their_own() -> None:
    other = FrontKey("counter", "cortex-a53", "instructions")
    first = phone_space()
    second = tuple(replace(each, device="board", front=other) for each in first.routes)
    space = replace(first, routes=(*first.routes, *second))
    formula = Formula(space, error=TABLES)
    expected = formula.expected(candidates(space))
    finished = alone(space, formula, expected)
    fronts = [Known(space.of_front(key), expected, finished) for key in (FRONT, other)]
    found = [[each.candidate.cost for each in front_of(known.full)] for known in fronts]
    assert found[0] == found[1]
    assert len({each.task.key for each in finished}) == len(finished)


def test_without_labels_what_is_tried_first_is_evaluated_and_nothing_is_refined() -> None:
    space = phone_space(Budget())
    formula = Formula(space, error=TABLES, labels=False)
    known = searched(formula)
    assert {each.task.candidate.cost for each in in_full(known)} <= {
        value for route in space.pruned for value in route.values
    }
    assert in_full(known)


def test_a_front_without_an_instrument_asks_it_nothing() -> None:
    tables = FrontKey(None, "cortex-a76", "instructions")
    space = phone_space()
    space = replace(space, routes=tuple(replace(each, front=tables) for each in space.routes))
    known = searched(Formula(space))
    assert not [each for each in known.finished if each.task.stage is Stage.INSTRUMENT]
    assert known.cheapest is not None


def test_a_dense_model_of_a_device_without_dense_routes_is_told_from_its_pruned_ones() -> None:
    dense = replace(route_space("latency", "int8"), values=(0.0,))
    space = replace(phone_space(), routes=(dense, route_space("latency", "int8", (0.8, 0.5))))
    known = searched(Formula(space, loss={"latency": 0.02}))
    assert [each.candidate for each in known.references] == [
        Candidate("phone", "latency", sparsity=0.0)
    ]
    assert known.cheapest is not None
    assert known.cheapest.candidate.cost is not None


LOSSES = st.dictionaries(
    st.sampled_from(["int8-channels", "float16-channels", "sparse"]), st.floats(0.001, 0.2)
)
ERRORS = st.dictionaries(
    st.sampled_from(["int8-channels", "float16-channels", "sparse"]), st.floats(0.7, 1.4)
)
SPACES = st.builds(
    phone_space,
    st.sampled_from([Budget(max_drop=0.01), Budget(max_drop=0.05), Budget(min_accuracy=0.7)]),
    st.sampled_from([0, 4]),
    st.sampled_from([None, 2, 6]),
)


@settings(max_examples=4, deadline=None)
@given(SPACES, LOSSES, ERRORS, st.integers(0, 1000), st.integers(2, 4))
def test_several_workers_finish_what_one_finishes_and_nothing_twice(
    space: Space, loss: Mapping[str, float], error: Mapping[str, float], seed: int, workers: int
) -> None:
    formula = Formula(space, loss=loss, error=error)
    expected = formula.expected(candidates(space))
    one = alone(space, formula, expected)
    several = together(space, formula, expected, seed, workers)
    assert len({(each.task.candidate, each.task.stage) for each in several}) == len(several)
    assert {each.task.key: each for each in several} == {each.task.key: each for each in one}
    assert current_round(space, expected, several) == ()
