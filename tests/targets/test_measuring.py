from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import TargetError
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.latency import latency, speedup
from edgeprune.targets.measurement import Measurement
from edgeprune.targets.measuring import default_target, measure
from tests.support.remainders import quantized_decoded

TIMES = st.lists(st.lists(st.floats(0.01, 100), min_size=5, max_size=12), min_size=1, max_size=4)


@given(TIMES)
def test_the_interval_holds_the_extremes_at_most(rounds: list[list[float]]) -> None:
    found = latency(rounds)
    samples = np.concatenate([np.array(process) for process in rounds])
    assert found.median is not None
    assert found.p90 is not None
    assert found.ci95 is not None
    assert samples.min() <= found.ci95[0] <= found.ci95[1] <= samples.max()
    assert found.median <= found.p90
    assert found.runs == len(samples)


@given(TIMES)
def test_a_model_is_not_faster_than_itself(rounds: list[list[float]]) -> None:
    found = speedup(rounds, rounds)
    assert found.median == 1
    assert not found.significant
    assert str(found).startswith("no significant difference")


def test_statistics_of_rounds_worked_by_hand() -> None:
    found = latency([[1.0, 2.0, 3.0], [4.0, 10.0]])
    assert (found.median, found.mean, found.runs) == (3.0, 4.0, 5)
    assert found.p90 == pytest.approx(4 + 0.6 * (10 - 4))


def test_the_interval_is_over_processes_before_rounds() -> None:
    """Of two processes, each steady, one in four resamples has the first only, or the second."""
    assert latency([[1.0] * 5, [3.0] * 5]).ci95 == (1.0, 3.0)
    assert latency([[1.0] * 5, [1.0] * 5]).ci95 == (1.0, 1.0)


def test_a_speedup_is_the_median_of_the_ratios_within_rounds() -> None:
    """2, 4 and 3; the ratio of the medians would be 20 / 10 = 2."""
    assert speedup([[20.0, 20.0, 30.0]], [[10.0, 5.0, 10.0]]).median == 3.0


def noisy(scale: float, shifts: list[float], seed: int) -> list[list[float]]:
    """Rounds of several processes; every process has a bias of its own."""
    generator = np.random.default_rng(seed)
    return [(scale * shift * generator.normal(1, 0.01, 25)).tolist() for shift in shifts]


def test_a_real_gain_is_significant() -> None:
    found = speedup(noisy(2.0, [1, 1.01, 0.99, 1], 1), noisy(1.0, [1, 1, 1.01, 0.99], 2))
    assert found.significant
    assert found.ci95[0] < 2 < found.ci95[1]
    assert str(found).startswith("2.0")


def test_processes_that_disagree_hide_a_small_gain() -> None:
    """One process by itself would call this 2 % gain certain; the next one denies it."""
    found = speedup(noisy(1.0, [1.04, 0.98, 1.05, 0.99], 1), noisy(1.0, [1, 1, 1, 1], 2))
    assert not found.significant


def test_statistics_do_not_depend_on_chance() -> None:
    rounds = noisy(1.0, [1, 1.02], 3)
    assert latency(rounds) == latency(rounds)


def measurement(**facts: Any) -> Measurement:
    return Measurement("m.tflite", "edge-tpu", "host", "LiteRT 2.3.0", False, 100, 50, **facts)


def test_what_is_missing_is_null_and_never_zero() -> None:
    content = measurement().to_json()
    missing = ("latency_ms", "instructions", "cycles", "ops_on_device", "ops_on_cpu")
    assert all(content[key] is None for key in missing)
    assert content["memory"] == {}


def test_the_json_has_the_keys_of_the_contract() -> None:
    rounds = noisy(1.0, [1, 1], 0)
    content = measurement(latency_ms=latency(rounds), speedup=speedup(rounds, rounds)).to_json()
    assert {"model", "device", "target", "runtime", "simulated", "latency_ms", "instructions"} <= (
        content.keys()
    )
    assert content.keys() >= {"cycles", "memory", "ops_on_device", "ops_on_cpu", "size_bytes"}
    assert content["latency_ms"].keys() == {"median", "p90", "ci95", "runs", "mean"}
    assert content["speedup"]["significant"] is False


def test_an_unknown_target_names_the_known_ones() -> None:
    with pytest.raises(TargetError, match="Unknown target 'gpu'.*Known: host, arm64-emulated"):
        measure(["m.tflite"], "edge-tpu", target="gpu")


def test_no_other_instrument_is_taken_where_the_own_one_is_not_there() -> None:
    edge_tpu = load_profile("edge-tpu")
    assert default_target(edge_tpu.model_copy(update={"targets": ("elsewhere",)})) is None
    assert default_target(load_profile("xnnpack-arm64")) is None
    assert default_target(load_profile("xnnpack-x86")) == "host"
    assert default_target(edge_tpu) == "edgetpu-model"


def test_a_compiler_is_given_the_operators_that_no_runtime_has(tmp_path: Path) -> None:
    path = quantized_decoded(tmp_path / "m.tflite")
    (compiled,) = measure([path], "ethos-u55", target="vela")
    assert any("Mystery" in warning for warning in compiled.warnings)
    assert (tmp_path / "m_vela.tflite").is_file()
    (run,) = measure([path], "ethos-u55", target="tflm")
    assert run.model == str(path)
    assert run.size_bytes == path.stat().st_size
    assert run.conditions.endswith("without Mystery and what comes after")
