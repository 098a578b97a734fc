"""Scales of int8 files that a few values far out have taken from all others."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.core.activation_tail import ActivationTail, tails_in
from edgeprune.core.arrays import Array
from edgeprune.core.finding import Finding
from edgeprune.inspection.inspect_file import inspect
from edgeprune.inspection.scale_findings import RULE, scale_findings
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import read_beside
from tests.support.tflite_builder import dense_net

RNG = np.random.default_rng(0)


def network(kernel: Array) -> keras.Model:
    """A Dense layer `[in, out]` behind a relu on 64 places."""
    inputs = keras.Input((64,))
    dense = keras.layers.Dense(kernel.shape[1], use_bias=False, name="dense")
    model = keras.Model(inputs, dense(keras.layers.ReLU(name="relu")(inputs)))
    dense.set_weights([kernel])
    return model


def suspicious(path: Path) -> list[Finding]:
    return [finding for finding in inspect(path).findings if finding.rule == RULE]


def exported(folder: Path, kernel: Array, x: Array, device: str = "ethos-u85") -> Path:
    path = folder / "m.tflite"
    export(network(kernel), device, path, x=[x.astype(np.float32)])
    return path


@pytest.mark.slow
@pytest.mark.parametrize("device", ["ethos-u85", "cortex-m-tflm"])
def test_ordinary_weights_and_samples_are_not_suspicious(tmp_path: Path, device: str) -> None:
    kernel = RNG.normal(size=(64, 32)) * (RNG.uniform(size=(64, 32)) < 0.1)
    path = exported(tmp_path, kernel, RNG.normal(size=(80, 64)), device)
    assert [tail.tensor.split("/")[1] for tail in tails_in(read_beside(path))] == ["relu_1"]
    assert suspicious(path) == []


@pytest.mark.slow
def test_one_weight_far_out_is_named_with_its_range_and_quantile(tmp_path: Path) -> None:
    kernel = RNG.uniform(-1, 1, size=(64, 32))
    kernel[5, 7] = 1000.0
    (finding,) = suspicious(exported(tmp_path, kernel, RNG.normal(size=(80, 64))))
    assert "of FULLY_CONNECTED" in finding.message
    assert "values up to 1e+03" in finding.message
    assert finding.op is not None
    assert "--numerics float32" in finding.remedy


@pytest.mark.slow
def test_an_outlier_among_the_samples_is_found_in_the_activation(tmp_path: Path) -> None:
    kernel = RNG.uniform(-1, 1, size=(64, 32))
    x = RNG.uniform(0, 1, size=(80, 64))
    x[40, 3] = 1e4
    found = suspicious(exported(tmp_path, kernel, x))
    assert any("relu" in finding.message and "1e+04" in finding.message for finding in found)
    assert all("--data" in finding.remedy for finding in found)


@pytest.mark.slow
@pytest.mark.parametrize(("times", "found"), [(99.0, 0), (101.0, 1)])
def test_a_range_is_suspicious_from_a_hundred_times_the_quantile_on(
    tmp_path: Path, times: float, found: int
) -> None:
    path = exported(tmp_path, RNG.uniform(-1, 1, size=(64, 32)), RNG.normal(size=(80, 64)))
    graph = read(path)
    made = graph.tensors[graph.subgraphs[0].operators[-1].outputs[0]].name
    assert len(list(scale_findings(graph, [ActivationTail(made, -1.0, times, 1.0)]))) == found
    assert not list(scale_findings(graph, [ActivationTail("of another file", -1.0, times, 1.0)]))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_that_scale_nothing_are_not_divided_by(tmp_path: Path, scale: float) -> None:
    # The fuzzer made one of them 0, as which every value is 0 and so is their quantile.
    weights = RNG.integers(-127, 128, (24, 64)).astype(np.int8)
    path = dense_net(tmp_path / "m.tflite", weights, "int8", per_channel=True)
    draft = load(path)
    (tensor,) = [t for t in draft.model.subgraphs[0].tensors if len(t.quantization.scale) > 1][:1]
    tensor.quantization.scale = np.full(24, scale, np.float32)
    write(draft, path)
    assert suspicious(path) == []
