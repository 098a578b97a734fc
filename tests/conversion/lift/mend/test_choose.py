"""Which parts of a change are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.mend.choose import (
    best_parts,
    is_better,
    judging_outputs,
    sample_errors,
)
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.file import read
from tests.support.quantized_networks import QuantizedNet


def test_errors_are_those_of_each_sample_and_their_mean_is_that_of_all() -> None:
    random = np.random.default_rng(0)
    wanted = [random.normal(size=(6, 4)), random.normal(size=(6, 2, 3)) * 50]
    found = [each + random.normal(size=each.shape) for each in wanted]
    errors = sample_errors(found, wanted)
    assert errors.shape == (6,)
    shares = [np.sum((a - b) ** 2) / np.sum(b**2) for a, b in zip(found, wanted, strict=True)]
    assert float(errors.mean()) == pytest.approx(float(np.mean(shares)))


def test_outputs_are_nearer_where_the_gain_is_more_than_chance() -> None:
    before = np.random.default_rng(0).uniform(0.5, 1.5, 100)
    assert is_better(before * 0.9, before)
    assert not is_better(before, before)
    assert not is_better(before * 1.1, before)
    noise = np.tile([0.3, -0.3], 50)
    assert not is_better(before + noise - 0.01, before)


def test_outputs_that_are_not_finite_are_no_better() -> None:
    assert not is_better(np.array([0.0, np.nan]), np.ones(2))
    assert not is_better(np.array([0.0, np.inf]), np.ones(2))


def test_outputs_that_are_numbers_of_classes_judge_nothing(tmp_path: Path) -> None:
    net = QuantizedNet("int8")
    x = net.activation("image", 1, 4, low=-1, high=1)
    scores = net.activation("scores", 1, 4, low=-2, high=2)
    net.operator("QUANTIZE", [x], [scores], 2)
    best = net.tensor("best", (1,), "int32")
    axis = net.constant("axis", np.array(1, np.int32))
    options = schema.ArgMaxOptionsT(outputType=schema.TensorType.INT32)
    net.operator("ARG_MAX", [scores, axis], [best], 2, options)
    net.save(tmp_path / "m.tflite", [x], [best, scores])
    assert judging_outputs(read(tmp_path / "m.tflite")) == [1]


def measure_of(gains: dict[str, float]) -> tuple[list[list[str]], Array, object]:
    asked: list[list[str]] = []
    before = np.linspace(1, 2, 20)

    def measure(parts: Sequence[str]) -> Array:
        asked.append(list(parts))
        return before * (1 - sum(gains[part] for part in parts))

    return asked, before, measure


def test_all_parts_are_kept_where_they_help_together() -> None:
    asked, before, measure = measure_of({"a": 0.3, "b": -0.1, "c": 0.1})
    kept, errors = best_parts("abc", before, measure)  # type: ignore[arg-type]
    assert kept == ["a", "b", "c"]
    assert asked == [["a", "b", "c"]]
    np.testing.assert_allclose(errors, before * 0.7)


def test_a_part_that_harms_is_found_in_halves() -> None:
    _, before, measure = measure_of({"a": 0.05, "b": 0.05, "c": -0.8, "d": 0.05})
    kept, errors = best_parts("abcd", before, measure)  # type: ignore[arg-type]
    assert kept == ["a", "b", "d"]
    np.testing.assert_allclose(errors, before * 0.85)


def test_nothing_is_kept_where_nothing_helps_and_not_all_subsets_are_tried() -> None:
    asked, before, measure = measure_of({str(n): -0.1 for n in range(40)})
    kept, errors = best_parts([str(n) for n in range(40)], before, measure)  # type: ignore[arg-type]
    assert kept == []
    assert errors is before
    assert len(asked) == 12
