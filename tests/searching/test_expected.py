"""Costs that are expected before anything is made rank candidates as their plans do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.errors import ModelError
from edgeprune.planning.plan_model import plan
from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import Candidate
from edgeprune.searching.expected import ExpectedCosts
from edgeprune.searching.subject import Subject, open_subject
from tests.support.islands import two_parts

PHONE = "android-phone"


def network() -> Any:
    keras.utils.set_random_seed(0)
    layers: list[Any] = [keras.Input((16, 16, 3), name="x")]
    for filters, kind in ((32, "relu"), (64, "relu"), (64, "swish")):
        layers.append(keras.layers.Conv2D(filters, 3, padding="same", activation=kind))
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)]
    return keras.Sequential(layers)


@pytest.fixture(scope="module")
def subject() -> Subject:
    x = np.random.default_rng(0).normal(size=(40, 16, 16, 3)).astype(np.float32)
    devices = [PHONE, "edge-tpu", "ethos-u85", "cortex-m-tflm"]
    return open_subject(network(), x, devices, budget=Budget())


def expected(subject: Subject, *candidates: Candidate, unit: str = "cycles") -> list[float]:
    costs = ExpectedCosts(subject)
    found = [costs.of(each, unit) for each in candidates]
    assert None not in found
    return [each for each in found if each is not None]


def test_without_a_table_multiplications_tell_and_what_is_removed_is_less(subject: Subject) -> None:
    routes = subject.profile("edge-tpu").offered
    name = next(route.name for route in routes if not route.dense)
    dense, light, heavy, within = expected(
        subject,
        Candidate("edge-tpu", name, sparsity=0.0),
        Candidate("edge-tpu", name, sparsity=0.3),
        Candidate("edge-tpu", name, sparsity=0.6),
        Candidate("edge-tpu", name, cost=0.25),
    )
    pixels = 16 * 16
    weights = 9 * (3 * 32 + 32 * 64 + 64 * 64)
    assert dense == pixels * weights + 64 * 4
    assert [light / dense, heavy / dense, within / dense] == pytest.approx([0.7, 0.4, 0.25])


def test_a_pattern_with_a_sparsity_of_its_own_keeps_what_it_says(subject: Subject) -> None:
    profile = subject.profile("ethos-u85")
    name = next(route.name for route in profile.offered if route.fixed)
    dense, fixed = expected(
        subject, Candidate("ethos-u85", name, sparsity=0.0), Candidate("ethos-u85", name)
    )
    assert fixed == dense / 2


def test_where_size_tells_it_is_that_of_the_weights_in_their_number_format(
    subject: Subject,
) -> None:
    costs = ExpectedCosts(subject)
    int8, float32 = (
        costs.of(Candidate(PHONE, route, sparsity=0.0), "bytes")
        for route in ("int8-channels", "float32-channels")
    )
    assert int8 is not None
    assert float32 == 4 * int8
    assert int8 == subject.model.count_params()


def test_a_model_is_converted_once_and_one_that_cannot_be_is_told_of(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def convert(model: Any, _: Any) -> Any:
        asked.append(model)
        raise ModelError("an operator that TensorFlow does not convert")

    monkeypatch.setattr("edgeprune.planning.converted.convert_to_draft", convert)
    costs = ExpectedCosts(subject)
    with pytest.raises(ModelError, match="does not convert"):
        costs.of(Candidate(PHONE, "int8"), "instructions")
    for cost in (0.3, 0.5):
        changed = Candidate(PHONE, "int8-channels", cost=cost, activation="hard-swish")
        assert costs.of(changed, "instructions") is None
    assert len(asked) == 2


def test_a_file_with_an_island_costs_what_its_own_operators_do(tmp_path: Path) -> None:
    file = two_parts(tmp_path / "two.tflite", channels=64)
    x = np.zeros((8, 4, 4, 3), np.float32)
    subject = open_subject(str(file), x, [PHONE], budget=Budget())
    routes = [route.name for route in subject.profile(PHONE).offered if not route.dense]
    assert "float32-channels" in routes
    assert "int8-channels" not in routes
    dense, half = expected(
        subject,
        Candidate(PHONE, "float32"),
        Candidate(PHONE, "float32-channels", cost=0.5),
        unit="instructions",
    )
    assert half == dense / 2


@pytest.mark.slow
def test_costs_by_the_table_rank_routes_and_costs_as_their_plans_do(subject: Subject) -> None:
    asked = [
        Candidate(PHONE, route, cost=cost)
        for route, cost in (
            ("int8-channels", 0.8),
            ("float32-channels", 0.5),
            ("int8-channels", 0.4),
        )
    ]
    planned = []
    for each in asked:
        made = plan(
            subject.model, PHONE, route=each.route, cost=each.cost, look_around=False
        ).expected
        assert made is not None
        planned.append(made.pruned)
    found = expected(subject, *asked, unit="instructions")
    assert np.argsort(found).tolist() == np.argsort(planned).tolist()
    # A plan stays within its cost; channels go by sixteens, so that it may stay well below.
    assert all(
        0.7 * told <= cost <= 1.001 * told for told, cost in zip(found, planned, strict=True)
    )


@pytest.mark.slow
def test_zeros_of_a_network_that_sparse_kernels_do_not_run_cost_as_much_as_none(
    subject: Subject,
) -> None:
    dense, sparse = expected(
        subject,
        Candidate(PHONE, "float32"),
        Candidate(PHONE, "sparse", cost=0.5),
        unit="instructions",
    )
    assert sparse == dense
