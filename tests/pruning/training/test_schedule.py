from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.core.errors import InputError
from edgeprune.pruning.training.schedule import (
    ConstantSparsity,
    LinearDecay,
    PolynomialDecay,
    Schedule,
)

FRACTIONS = st.floats(0, 0.99)
STEPS = st.integers(0, 5000)


@st.composite
def polynomials(draw: st.DrawFn) -> PolynomialDecay:
    begin = draw(STEPS)
    return PolynomialDecay(
        draw(FRACTIONS),
        draw(FRACTIONS),
        begin,
        begin + draw(st.integers(1, 5000)),
        power=draw(st.floats(0.5, 5)),
        frequency=draw(st.integers(1, 300)),
    )


@given(polynomials(), STEPS)
def test_a_polynomial_stays_between_its_ends(schedule: PolynomialDecay, step: int) -> None:
    low, high = sorted([schedule.initial_sparsity, schedule.final_sparsity])
    assert low - 1e-12 <= schedule.sparsity_at(step) <= high + 1e-12


@given(polynomials())
def test_a_polynomial_begins_and_ends_where_it_says(schedule: PolynomialDecay) -> None:
    for step in (0, schedule.begin_step):
        assert schedule.sparsity_at(step) == pytest.approx(schedule.initial_sparsity)
    for step in (schedule.end_step, schedule.end_step + 1000):
        assert schedule.sparsity_at(step) == pytest.approx(schedule.final_sparsity)


@given(polynomials(), STEPS, STEPS)
def test_a_rising_polynomial_never_falls(schedule: PolynomialDecay, a: int, b: int) -> None:
    low, high = sorted([a, b])
    change = schedule.sparsity_at(high) - schedule.sparsity_at(low)
    assert change * (schedule.final_sparsity - schedule.initial_sparsity) >= -1e-12


@given(polynomials())
def test_pruning_steps_are_those_a_loop_finds(schedule: PolynomialDecay) -> None:
    due, step = set(), schedule.begin_step
    while step <= schedule.end_step:
        due.add(step)
        step += schedule.frequency
    around = range(max(0, schedule.begin_step - 3), schedule.end_step + 400)
    assert {s for s in around if schedule.should_prune(s)} == due


def test_the_cubic_schedule_has_the_values_of_its_paper() -> None:
    schedule = PolynomialDecay(0.5, 0.8, 0, 1000)
    assert schedule(0) == (True, 0.5)
    assert schedule(500)[0] is True
    assert schedule(500)[1] == pytest.approx(0.8 - 0.3 / 8)
    assert schedule(501)[0] is False
    assert schedule(1000) == (True, 0.8)
    assert schedule(1100) == (False, 0.8)


def test_linear_decay_is_a_straight_line() -> None:
    schedule = LinearDecay(0.2, 0.6, 100, 300, frequency=50)
    assert [schedule.sparsity_at(s) for s in (0, 100, 200, 300, 999)] == pytest.approx(
        [0.2, 0.2, 0.4, 0.6, 0.6]
    )
    assert [s for s in range(400) if schedule.should_prune(s)] == [100, 150, 200, 250, 300]


def test_a_constant_schedule_can_run_without_end() -> None:
    schedule = ConstantSparsity(0.7, 200)
    assert [s for s in range(600) if schedule.should_prune(s)] == [200, 300, 400, 500]
    assert schedule(10**6) == (True, 0.7)
    assert ConstantSparsity(0.7, 200, 400)(500) == (False, 0.7)


@pytest.mark.parametrize(
    ("make", "arguments", "named"),
    [
        (ConstantSparsity, (1.0, 0), "target_sparsity"),
        (ConstantSparsity, (float("nan"), 0), "target_sparsity"),
        (ConstantSparsity, (0.5, -1), "begin_step"),
        (ConstantSparsity, (0.5, 10, 5), "end_step"),
        (ConstantSparsity, (0.5, 0, -1, 0), "frequency"),
        (PolynomialDecay, (0.5, 0.8, 0, -1), "end_step"),
        (PolynomialDecay, (0.5, 0.8, 5, 5), "end_step"),
        (PolynomialDecay, (-0.1, 0.8, 0, 5), "initial_sparsity"),
        (PolynomialDecay, (0.1, 1.8, 0, 5), "final_sparsity"),
        (PolynomialDecay, (0.1, 0.8, 0, 5, 0), "power"),
        (LinearDecay, (0.1, 0.8, 9, 5), "end_step"),
    ],
)
def test_wrong_arguments_are_named(make: Any, arguments: tuple[float, ...], named: str) -> None:
    with pytest.raises(InputError, match=named):
        make(*arguments)


@pytest.mark.parametrize(
    "schedule",
    [ConstantSparsity(0.5, 0), PolynomialDecay(0.1, 0.9, 0, 10), LinearDecay(0.1, 0.9, 0, 10)],
)
def test_a_schedule_is_made_again_from_its_configuration(schedule: Schedule) -> None:
    assert type(schedule)(**schedule.get_config()) == schedule


@given(
    begin=st.integers(0, 20),
    length=st.integers(1, 50),
    frequency=st.integers(1, 70),
    jumps=st.lists(st.integers(1, 7), max_size=30),
)
@settings(deadline=None, max_examples=60)
def test_no_run_past_its_end_misses_the_final_sparsity(
    begin: int, length: int, frequency: int, jumps: list[int]
) -> None:
    schedule = PolynomialDecay(0.1, 0.9, begin, begin + length, frequency=frequency)
    step, sparsity = 0, 0.0
    for jump in [*jumps, 80]:
        if schedule.is_due(step, step + jump):
            sparsity = schedule.sparsity_at(step + jump)
        step += jump
    assert sparsity == 0.9


def test_schedules_scale_to_another_final_sparsity() -> None:
    assert PolynomialDecay(0.25, 0.5, 0, 9).with_final_sparsity(0.75) == PolynomialDecay(
        0.375, 0.75, 0, 9
    )
    assert LinearDecay(0.8, 0.4, 0, 9).with_final_sparsity(0.5) == LinearDecay(0.5, 0.5, 0, 9)
    assert ConstantSparsity(0.4, 2).with_final_sparsity(0.6) == ConstantSparsity(0.6, 2)

    class Mine(Schedule):
        def sparsity_at(self, step: int) -> float:
            return 0.5 if step else 0.0

        def should_prune(self, step: int) -> bool:
            return step == 3

    assert Mine().is_due(2, 3)
    assert not Mine().is_due(3, 9)
    with pytest.raises(InputError, match="Mine: this schedule cannot end at another"):
        Mine().with_final_sparsity(0.5)
