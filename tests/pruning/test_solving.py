from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.core.mask import make_mask
from edgeprune.core.pattern import Block, NofM, Pattern, Unstructured
from edgeprune.pruning.reconstruct import refit as refitting
from edgeprune.pruning.reconstruct import solve as solving
from edgeprune.pruning.reconstruct.gram import WholeGram
from edgeprune.pruning.reconstruct.refit import refit, solve_parts
from tests.support.problems import PATTERNS, correlated, problem_of


@pytest.mark.parametrize("width", [6, 80], ids=["whole gram", "factored gram"])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kept_part", [0.3, 0.8])
def test_the_refit_is_the_least_squares_solution_on_the_kept_columns(
    width: int, with_bias: bool, count: int, kept_part: float
) -> None:
    inputs, dense, targets = correlated(0, 60, count, width, 4 * count)
    noisy = targets + np.random.default_rng(1).normal(size=targets.shape)
    problem = problem_of(inputs, noisy, with_bias=with_bias)
    mask = np.random.default_rng(2).random(dense.shape) < (kept_part if width < 60 else 0.2)
    damped = solving._damped(problem, dense)
    pull = solving.DAMPING * np.array([gram.diagonal.mean() for gram in problem.grams])
    found = refit(damped, mask, dense)
    biases = problem.bias(found)
    for row in range(len(dense)):
        group, kept = row // 4, np.flatnonzero(mask[row])
        x, y = inputs[:, group][:, kept], noisy[:, row]
        if with_bias:
            x, y = x - x.mean(0), y - y.mean()
        # The pull towards the dense weights, written as more equations.
        extra = np.sqrt(pull[group] * len(x))
        x = np.concatenate([x, extra * np.eye(len(kept))])
        y = np.concatenate([y, extra * dense[row, kept]])
        expected = np.linalg.lstsq(x, y, rcond=None)[0]
        np.testing.assert_allclose(found[row, kept], expected, rtol=1e-3, atol=1e-4)
        assert not found[row, ~mask[row]].any()
        bias = (noisy[:, row] - inputs[:, group] @ found[row]).mean() if with_bias else 0.0
        assert biases[row] == pytest.approx(bias, abs=1e-4)


def test_errors_are_the_mean_squares_that_they_stand_for() -> None:
    inputs, dense, targets = correlated(0, 90, 2, 5, 6)
    matrix = dense + np.random.default_rng(1).normal(size=dense.shape) * 0.3
    problem = problem_of(inputs, targets, with_bias=True)
    outputs = np.einsum("pgn,grn->pgr", inputs, matrix.reshape(2, 3, 5)).reshape(90, 6)
    left = targets - outputs
    np.testing.assert_allclose(problem.errors(matrix), left.var(axis=0), rtol=1e-4)


@pytest.mark.parametrize(("width", "positions"), [(40, 200), (90, 60)])
def test_conjugate_gradients_find_what_solving_at_once_finds(
    width: int, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, dense, targets = correlated(3, positions, 1, width, 8)
    problem = solving._damped(problem_of(inputs, targets), dense)
    mask = make_mask(np.abs(dense), Unstructured(), 0.5)
    at_once = refit(problem, mask, dense)
    monkeypatch.setattr(refitting, "EXACT_WORK", 0)
    stepwise = refit(problem, mask, dense)
    assert not stepwise[~mask].any()
    np.testing.assert_allclose(stepwise, at_once, atol=0.02 * np.abs(at_once).max())
    change = problem.errors(stepwise).sum() - problem.errors(at_once).sum()
    assert abs(change) < 1e-4 * problem.energy.sum()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    pattern_and_sparsity=st.sampled_from(PATTERNS),
    rows=st.sampled_from([4, 8, 12]),
    width=st.sampled_from([4, 8, 32]),
)
def test_no_solution_is_worse_than_magnitude_with_refitted_weights(
    seed: int, pattern_and_sparsity: tuple[Pattern, float], rows: int, width: int
) -> None:
    pattern, sparsity = pattern_and_sparsity
    inputs, dense, targets = correlated(seed, 40, 1, width, rows)
    problem = problem_of(inputs, targets, with_bias=True)
    row_weights = np.random.default_rng(seed).uniform(0.1, 2, rows)
    solution = solving.solve_layer(problem, dense, row_weights, pattern, sparsity)
    mask = make_mask(np.abs(dense), pattern, sparsity)
    plain = refit(solving._damped(problem, dense), mask, dense)
    assert solution.error <= solving.relative_error(problem, plain, row_weights)
    assert not solution.matrix[~solution.mask].any()
    # A mask with the pattern is the one that is made when its own entries are the scores.
    again = make_mask(solution.mask.astype(float), pattern, sparsity)
    np.testing.assert_array_equal(again, solution.mask)


@pytest.mark.parametrize(("width", "positions"), [(40, 200), (90, 60)])
def test_a_wide_layer_in_32_bits_is_solved_as_well_as_in_64(
    width: int, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, dense, targets = correlated(4, positions, 1, width, 8)
    problem = problem_of(inputs, targets, with_bias=True)
    double = solving.solve_layer(problem, dense, np.ones(8), NofM(2, 4), 0.5)
    monkeypatch.setattr(solving, "WIDE", width)
    single = solving.solve_layer(problem, dense, np.ones(8), NofM(2, 4), 0.5)
    assert single.error == pytest.approx(double.error, rel=0.05, abs=1e-4)


def test_admm_finds_a_much_better_mask_where_inputs_are_correlated() -> None:
    inputs, dense, targets = correlated(5, 2000, 1, 64, 32)
    problem = problem_of(inputs, targets)
    for pattern, sparsity in (PATTERNS[0], PATTERNS[1], PATTERNS[3]):
        solution = solving.solve_layer(problem, dense, np.ones(32), pattern, sparsity)
        mask = make_mask(np.abs(dense), pattern, sparsity)
        plain = refit(solving._damped(problem, dense), mask, dense)
        assert solution.error < 0.8 * solving.relative_error(problem, plain, np.ones(32))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 12),
    width=st.integers(1, 14),
    repeats=st.sampled_from([1, 2, 3]),
    small=st.sampled_from([0, 3, 100]),
    together=st.sampled_from([1, 200, 1 << 20]),
)
def test_parts_of_a_matrix_are_inverted_as_one_after_the_other(
    seed: int, rows: int, width: int, repeats: int, small: int, together: int
) -> None:
    generator = np.random.default_rng(seed)
    factor = generator.normal(size=(width, width))
    matrix = factor @ factor.T + np.eye(width)
    right = generator.normal(size=(rows * repeats, width))
    mask = np.repeat(generator.random((rows, width)) < generator.random((rows, 1)), repeats, axis=0)
    mask = mask[generator.permutation(len(mask))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refitting, "SMALL", small)
        patch.setattr(refitting, "TOGETHER", together)
        found = solve_parts(WholeGram(matrix), right, mask)
    expected = np.zeros(mask.shape)
    for row, chosen in enumerate(mask):
        part = np.ix_(chosen, chosen)
        expected[row, chosen] = np.linalg.inv(matrix[part]) @ right[row, chosen]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("pattern", [Unstructured(), Block(2, 1)], ids=str)
@pytest.mark.parametrize(
    ("width", "positions"), [(40, 2000), (120, 100)], ids=["whole gram", "factored gram"]
)
def test_errors_along_rising_sparsities_are_near_those_of_solving_each_by_itself(
    width: int, positions: int, pattern: Pattern
) -> None:
    inputs, dense, _ = correlated(6, positions, 1, width, 32)
    inputs = np.maximum(inputs, 0)
    problem = problem_of(inputs, inputs[:, 0] @ dense.T, with_bias=True)
    row_weights = np.random.default_rng(0).uniform(0.1, 2, 32)
    sparsities = (0.0, 0.3, 0.5, 0.75, 0.9)
    found = solving.errors_along(problem, dense, row_weights, pattern, sparsities)
    assert found[0] == 0
    for sparsity, error in zip(sparsities[1:], found[1:], strict=True):
        alone = solving.solve_layer(problem, dense, row_weights, pattern, sparsity).error
        mask = make_mask(np.abs(dense), pattern, sparsity)
        plain = refit(solving._damped(problem, dense), mask, dense)
        assert error < 0.85 * solving.relative_error(problem, plain, row_weights)
        # Fewer positions than columns can be fitted to almost nothing, by any good mask.
        assert alone * 0.9 <= error <= alone * 1.12 + (0.05 if positions < width else 0)
