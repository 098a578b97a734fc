"""Reconstruction runs calls late and once, keeps little, and looks at a sample of positions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.pattern import Unstructured
from edgeprune.core.progress import no_progress
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.interface import predict
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.reconstruct import statistics, walk
from edgeprune.pruning.reconstruct.run import BATCH_SIZE, MAX_BATCH_SIZE, Run, batch_size
from edgeprune.pruning.reconstruct.solve import relative_error
from edgeprune.pruning.reconstruct.statistics import chosen_positions
from edgeprune.pruning.reconstruct.store import open_store
from edgeprune.pruning.reconstruct.walk import LayerProblem, visit_layers
from tests.support.architectures import build, samples
from tests.support.problems import correlated, problem_of

L = keras.layers


def counted(run: Run, ran: Counter[Any]) -> None:
    """Makes a run count how often it runs each call of each side."""

    def count(side: str, index: int, call: Any, values: Any) -> Any:
        ran[side, index] += 1
        return call.run(values)

    run._copy_calls = tuple(
        replace(call, run=partial(count, "copy", index, call))
        for index, call in enumerate(run._copy_calls)
    )
    run.calls = tuple(
        replace(call, run=partial(count, "dense", index, call))
        for index, call in enumerate(run.calls)
    )


def test_every_call_runs_once_a_batch_and_only_what_is_read_later_is_kept() -> None:
    model = build("residual")
    dense, copy = map_layers(model), map_layers(copy_model(model))
    ran: Counter[Any] = Counter()
    with open_store() as store:
        run = Run(dense, copy, samples(model, 150), store)
        counted(run, ran)
        changed: set[int] = set()
        for index, call in enumerate(run.calls):
            paths = run.direct_paths(index)
            if paths and paths[0] in dense.kernels:
                for _ in run.pairs(index, paths[0]):
                    pass
                later = {value for each in run.calls[index:] for value in each.inputs}
                earlier = {value for each in run.calls[:index] for value in each.outputs}
                sides = {("dense", value) for value in later & earlier}
                sides |= {("copy", value) for value in later & earlier & changed}
                kept: Any = store._kept
                assert {key[:2] for key in kept} == sides
                run.mark_changed(paths[0])
            if run.is_changed(index):
                changed |= set(call.outputs)
            run.advance(index)
        assert run.batches > 1
        assert set(ran.values()) == {run.batches}
        assert ("copy", len(run.calls) - 2) in ran
        assert ("dense", len(run.calls) - 1) not in ran


def test_batches_of_small_samples_are_larger() -> None:
    sizes = [batch_size([np.zeros((1, side, side, 3))]) for side in (224, 32, 8)]
    assert sizes == [BATCH_SIZE, 64, MAX_BATCH_SIZE]
    assert batch_size([np.zeros((5, 7)), np.zeros((5, 256, 8))]) == MAX_BATCH_SIZE


@pytest.mark.slow
def test_activations_in_half_precision_and_files_give_the_same_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build("cnn")
    x = samples(model, 48)
    made = plan(model, "ethos-u55", sparsity=0.6)
    whole = prune(model, made, x)
    monkeypatch.setattr(walk, "open_store", partial(open_store, memory_bytes=0))
    monkeypatch.setattr("edgeprune.pruning.reconstruct.store.MIN_FILE_BYTES", 0)
    halved = prune(model, made, x)
    new = samples(model, 64, seed=1)
    dense, one, other = (predict(network, new)[0] for network in (model, whole, halved))
    lost = np.square(one - dense).mean()
    assert np.square(other - one).mean() < 0.05 * lost
    assert np.square(other - dense).mean() == pytest.approx(lost, rel=0.05)


@pytest.mark.parametrize("fitted", [True, False])
def test_moments_behind_a_layer_follow_from_its_least_squares_problem(fitted: bool) -> None:
    inputs, dense, targets = correlated(2, 300, 2, 6, 8)
    problem = problem_of(inputs, targets + 3, with_bias=True)
    matrix = dense + np.random.default_rng(1).normal(size=dense.shape)
    outputs = np.einsum("pgn,grn->pgr", inputs, matrix.reshape(2, 4, 6)).reshape(300, 8)
    if fitted:
        outputs = outputs + problem.bias(matrix)
    before, after = walk._output_moments(problem, matrix, fitted=fitted)
    np.testing.assert_allclose(before.mean, targets.mean(0) + 3, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(before.variance, targets.var(0), rtol=1e-4)
    np.testing.assert_allclose(after.mean, outputs.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(after.variance, outputs.var(0), rtol=1e-4)


def test_a_batch_normalisation_behind_no_pruned_layer_keeps_the_moments_of_its_output() -> None:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((8, 8, 6))
    x = L.ReLU()(L.Conv2D(12, 1, name="pruned")(inputs))
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    model = keras.Model(inputs, L.BatchNormalization(name="norm")(x))
    model.get_layer("norm").moving_mean.assign(np.linspace(-0.2, 0.2, 12))
    copy = copy_model(model)
    given = np.random.default_rng(0).normal(size=(64, 8, 8, 6)).astype(np.float32)

    def visit(case: LayerProblem) -> Any:
        return case.solve(Unstructured(), 0.6).matrix

    visit_layers(map_layers(model), map_layers(copy), [given], ["pruned"], visit, no_progress)
    wanted, found = (predict(network, [given])[0] for network in (model, copy))
    assert np.abs(wanted - found).max() > 0.1
    np.testing.assert_allclose(found.mean((0, 1, 2)), wanted.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(found.std((0, 1, 2)), wanted.std((0, 1, 2)), rtol=1e-3)


def smooth_maps(images: int, side: int, channels: int) -> Any:
    """Maps `[images, side, side, channels]` whose neighbours are similar, as ReLU leaves them."""
    generator = np.random.default_rng(0)
    maps: Any = generator.normal(size=(images, side, side, channels))
    for axis in (1, 2):
        maps = maps + 2 * np.roll(maps, 1, axis) + np.roll(maps, 2, axis)
    mixing = generator.normal(size=(channels, channels)) / np.sqrt(channels)
    return np.maximum(maps @ mixing, 0).astype(np.float32)


def test_a_layer_solved_on_a_sample_of_positions_loses_little_more_on_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "MIN_POSITIONS", 0)
    maps = smooth_maps(40, 24, 24)
    dense: Any = np.random.default_rng(1).normal(size=(16, 24)).astype(np.float32)
    batches = maps.reshape(10, -1, 24)
    chosen = [chosen_positions(len(part), number, 10, 24) for number, part in enumerate(batches)]
    some = np.concatenate([part[at] for part, at in zip(batches, chosen, strict=True)])
    everything = batches.reshape(-1, 24)
    assert len(some) == 770 < len(everything) / 25
    problems = [
        problem_of(each[:, None], each @ dense.T, with_bias=True) for each in (everything, some)
    ]
    weights = np.ones(16)
    from_all, from_some = (
        LayerProblem("layer", "Dense", problem, dense, weights).solve(Unstructured(), 0.7)
        for problem in problems
    )
    lost = relative_error(problems[0], from_some.matrix, weights)
    assert lost < 1.05 * from_all.error
    # What the sample itself says, which plans show as the error to expect.
    assert from_some.error == pytest.approx(lost, rel=0.1)
