"""The Edge TPU model beside what edgetpu_compiler made of files of google-coral/test_data."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from edgeprune.targets.edgetpu_model.estimate import Estimate, estimate
from edgeprune.tflite.format.file import read
from tests.conftest import SHARED_DATA

FOLDER = SHARED_DATA / "edgetpu"
with (FOLDER / "pairs.csv").open(encoding="utf-8") as file:
    PAIRS = {row["name"].removesuffix(".tflite"): row for row in csv.DictReader(file)}
SOFTMAX_HELPER = 48256
UNEXPLAINED = {"test_data__split_concat": 192}
"""Bytes that no rule explains: one-hot matrices that join channels."""


def _estimate(name: str) -> Estimate:
    return estimate(read(FOLDER / f"{name}.tflite"))


@pytest.mark.parametrize("name", PAIRS)
def test_parameter_bytes_are_those_of_the_compiled_file(name: str) -> None:
    found = _estimate(name)
    helpers = sum("SOFTMAX over 1001 classes" in note for note in found.notes())
    explained = helpers * SOFTMAX_HELPER + UNEXPLAINED.get(name, 0)
    assert found.kept_bytes == int(PAIRS[name]["cached_bytes"]) - explained
    assert found.streamed_bytes == int(PAIRS[name]["streamed_bytes"])


@pytest.mark.parametrize("name", PAIRS)
def test_operators_are_mapped_and_left_as_in_the_compiled_file(name: str) -> None:
    found = _estimate(name)
    for column, mapped in (("ops_mapped", True), ("ops_left_on_cpu", False)):
        counts = Counter(p.op for p in found.placements if p.mapped == mapped)
        expected = (pair.rsplit(":", 1) for pair in PAIRS[name][column].split())
        assert counts == {op: int(count) for op, count in expected}


@pytest.mark.parametrize(
    ("name", "compiled", "ratio"),
    [
        ("test_data__mobilenet_v1_0.25_128_quant", 21568, 0.990),
        ("test_data__mobilenet_v1_0.5_160_quant", 117088, 1.006),
        ("test_data__deeplabv3_mnv2_dm05_pascal_quant", 1279736, 0.697),
    ],
)
def test_cycles_are_as_near_to_the_compilers_estimate_as_was_found(
    name: str, compiled: int, ratio: float
) -> None:
    assert _estimate(name).cycles / compiled == pytest.approx(ratio, abs=6e-4)
