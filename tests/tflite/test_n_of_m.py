from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeprune.conversion.convert import export
from edgeprune.core.mask import make_mask
from edgeprune.core.pattern import NofM, Unstructured
from edgeprune.inspection.pattern_check import check_pattern
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.n_of_m import pattern_fit, pattern_fits
from tests.support.architectures import build, samples
from tests.support.small_nets import chain, two_of_four
from tests.support.tflite_builder import Array

U85 = load_profile("ethos-u85")
PATTERN = NofM(2, 4)
SHAPES = st.tuples(*(st.integers(1, high) for high in (5, 3, 3, 13)))


def slow_misfits(nonzero: Array, n: int, m: int) -> int:
    """Counts groups with more than n, one weight after the other."""
    misfits = 0
    for position in np.ndindex(*nonzero.shape[:-1]):
        kept = 0
        for channel in range(nonzero.shape[-1]):
            kept = kept * (channel % m > 0) + int(nonzero[position][channel])
            if channel % m == m - 1 or channel == nonzero.shape[-1] - 1:
                misfits += kept > n
    return misfits


@given(SHAPES.flatmap(lambda shape: arrays.arrays(np.bool_, shape)), st.integers(1, 3))
def test_misfits_are_counted_as_by_hand(nonzero: Array, n: int) -> None:
    found = pattern_fit("w", nonzero, NofM(n, 4))
    assert found.misfits == slow_misfits(nonzero, n, 4)
    assert found.sparsity == pytest.approx(1 - nonzero.mean())
    assert found.whole == (found.misfits == 0)


@given(st.integers(0, 99), st.integers(1, 8), st.integers(1, 6))
def test_a_mask_of_the_pattern_always_fits(seed: int, rows: int, groups: int) -> None:
    scores = np.random.default_rng(seed).random((rows, groups * 4))
    assert pattern_fit("w", make_mask(scores, PATTERN, 0.5), PATTERN).whole


def test_unstructured_zeros_are_not_taken_for_a_lost_pattern() -> None:
    scores = np.random.default_rng(0).random((64, 576))
    for sparsity in (0.0, 0.3, 0.5, 0.7, 0.8, 0.9):
        assert not pattern_fit("w", make_mask(scores, Unstructured(), sparsity), PATTERN).lost


def weights_with(broken: int) -> Array:
    """2:4 weights of which some groups have a third weight that is not zero."""
    weights = two_of_four((32, 1, 1, 64))
    for group in weights.reshape(-1, 4)[:broken]:
        group[np.flatnonzero(group == 0)[0]] = 1
    return weights


def test_a_file_that_lost_a_group_fails_and_the_weight_is_named(tmp_path: Path) -> None:
    whole = chain(tmp_path / "whole.tflite", [("CONV_2D", weights_with(0))])
    broken = chain(tmp_path / "broken.tflite", [("CONV_2D", weights_with(3))])
    (good,) = check_pattern(tflite_file.read(whole), U85)
    (bad,) = check_pattern(tflite_file.read(broken), U85)
    assert good.ok
    assert good.message.startswith("1 of 1 weights hold the pattern")
    assert not bad.ok
    assert "w0 (3 of 512 groups)" in bad.message


def test_a_dense_file_is_no_broken_one_and_other_devices_are_not_asked(tmp_path: Path) -> None:
    dense = np.ones((8, 1, 1, 16), np.int8)
    graph = tflite_file.read(chain(tmp_path / "m.tflite", [("CONV_2D", dense)]))
    (check,) = check_pattern(graph, U85)
    assert check.ok
    assert check.message.startswith("0 of 1 weights")
    assert not list(check_pattern(graph, load_profile("ethos-u55")))


def test_depthwise_weights_are_not_read_in_groups(tmp_path: Path) -> None:
    layers = [("DEPTHWISE_CONV_2D", np.ones((1, 3, 3, 16), np.int8))]
    assert not pattern_fits(tflite_file.read(chain(tmp_path / "m.tflite", layers)), PATTERN)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "mobilenet_v2", "conv1d", "every_kind"])
def test_two_of_four_survives_folding_and_quantization(name: str, tmp_path: Path) -> None:
    """Every layer that the plan prunes is 2:4 in the file, with batch normalisation folded in."""
    model = build(name)
    made = plan(model, U85)
    path = tmp_path / "m.tflite"
    export(prune_one_shot(model, made), U85, path, x=samples(model, 16), plan=made)
    graph = tflite_file.read(path)
    assert sum(found.whole for found in pattern_fits(graph, PATTERN)) >= len(made.pruned) > 0
    assert [check.ok for check in check_pattern(graph, U85)] == [True]
