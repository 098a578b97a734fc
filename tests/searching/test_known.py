"""What finished tasks tell of a front: estimates between what was evaluated."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import Finished, Stage, Task
from edgeprune.searching.known import Known, interpolate
from edgeprune.searching.space import Space, candidates
from tests.support.pretended_search import Formula, phone_space


def known_of(space: Space, *stages: tuple[str, float, Stage], tables: bool = True) -> Known:
    """The references, and candidates of routes by their cost and stage."""
    formula = Formula(space, error={"int8-channels": 1.25, "int8": 1.25})
    tasks = [
        Task(0, each, Stage.ONE_SHOT) for route in space.references for each in route.tried_first()
    ]
    routes = {route.route: route for route in space.pruned}
    tasks += [Task(0, routes[name].at(cost), stage) for name, cost, stage in stages]
    expected = formula.expected(candidates(space)) if tables else {}
    return Known(space, expected, [Finished(task, formula.evaluate(task)) for task in tasks])


@given(
    st.lists(
        st.tuples(st.floats(0.05, 1), st.floats(-1, 1)),
        min_size=2,
        max_size=5,
        unique_by=lambda point: round(math.log(point[0]), 2),
    ),
    st.integers(0, 4),
)
def test_a_value_at_a_known_level_is_that_value(
    points: list[tuple[float, float]], which: int
) -> None:
    falling = sorted(points, reverse=True)
    level, value = falling[which % len(falling)]
    assert interpolate(falling, level) == pytest.approx(value, abs=1e-6)


def test_values_go_with_the_logarithm_of_the_level_and_on_beyond_the_last_one() -> None:
    points = [(1.0, 0.8), (0.5, 0.7)]
    assert interpolate(points, math.sqrt(0.5)) == pytest.approx(0.75)
    assert interpolate(points, 0.25) == pytest.approx(0.6)
    assert interpolate(points[:1], 0.5) is None


def test_a_cost_by_the_table_is_corrected_by_what_the_nearest_measured_file_was_off() -> None:
    known = known_of(phone_space(), ("int8-channels", 0.8, Stage.INSTRUMENT))
    route = next(each for each in known.space.pruned if each.route == "int8-channels")
    assert known.expected[route.at(0.65).key] == pytest.approx(0.65 * 2.56e6 * 1.25)
    assert known.cost_of(route, route.at(0.65)) == pytest.approx(0.65 * 2.56e6)


def test_a_cost_that_no_table_tells_lies_between_those_of_its_neighbours() -> None:
    known = known_of(phone_space(), ("int8-channels", 0.5, Stage.ONE_SHOT), tables=False)
    route = next(each for each in known.space.pruned if each.route == "int8-channels")
    assert known.cost_of(route, route.at(0.7)) == pytest.approx(0.7 * 2.56e6)


def test_a_route_that_was_not_judged_is_taken_to_lose_what_another_of_its_kind_loses() -> None:
    known = known_of(phone_space(), ("int8-channels", 0.5, Stage.ONE_SHOT))
    routes = {each.route: each for each in known.space.pruned}
    half = routes["float16-channels"].at(0.5)
    assert known.accuracy_of(routes["float16-channels"], half) == pytest.approx(0.8 - 0.02)
    assert known.accuracy_of(routes["sparse"], routes["sparse"].at(0.5)) is None


@pytest.mark.parametrize(
    ("budget", "floor"),
    [
        (Budget(max_drop=0.02), 0.79),
        (Budget(min_accuracy=0.75), 0.75),
        (Budget(max_drop=0.02, min_accuracy=0.795), 0.795),
        (Budget(max_bytes=1000), None),
    ],
)
def test_the_lowest_accuracy_within_a_budget_is_counted_from_the_dense_float_model(
    budget: Budget, floor: float | None
) -> None:
    known = Known(phone_space(budget), {}, (), dense_accuracy=0.81)
    assert known.floor == (None if floor is None else pytest.approx(floor))
