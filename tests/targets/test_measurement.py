"""How measurements and verdicts print; what instruments measure is tested beside each."""

from __future__ import annotations

import pickle
from typing import Any

from edgeprune.targets.checks import Check, Verdict
from edgeprune.targets.latency import Latency, Speedup
from edgeprune.targets.measurement import LayerCost, Measurement, Measurements
from tests.support.printing import HOSTILE, check_printed


def measured(target: str = "host", **facts: Any) -> Measurement:
    common = {"simulated": False, "size_bytes": 2048, "gzip_bytes": 1024}
    return Measurement("m.tflite", "phone", target, "LiteRT 2.3.0", **{**common, **facts})


SLOW = measured(latency_ms=Latency(2.0, 2.5, (1.875, 2.125), 100))
FAST = measured(
    latency_ms=Latency(1.0, 1.5, (0.9, 1.1), 100),
    speedup=Speedup(2.0, (1.9, 2.2)),
    conditions="1 thread",
    warnings=("The machine was busy.",),
)


def test_a_latency_prints_with_unit_source_rounds_and_spread() -> None:
    check_printed(
        FAST,
        "phone: measured by host, LiteRT 2.3.0",
        *("median ms", "1.000", "0.900 to 1.100", "p90 ms", "1.500", "rounds", "100"),
        *("2.00x [1.90, 2.20]", "2048", "1024", "1 thread", "The machine was busy."),
    )


def test_what_takes_microseconds_is_not_printed_as_nothing() -> None:
    quick = measured(latency_ms=Latency(0.000461, 0.0102, (0.00042, 0.00051), 100))
    check_printed(quick, "0.000461", "0.000420 to 0.000510", "0.010200")
    counted = measured("arm64-emulated", simulated=True, instructions=4_735)
    check_printed(counted, "M instructions", "0.004735")


def test_an_average_alone_prints_as_such() -> None:
    check_printed(
        measured("adb", latency_ms=Latency(None, None, None, 50, mean=2.05)),
        "2.050 ms on average over 50 rounds",
    )


def test_counts_print_as_simulated_and_never_in_milliseconds() -> None:
    counted = measured("arm64-emulated", simulated=True, instructions=200_000_000, stand_in=True)
    check_printed(counted, "simulated on a proxy by arm64-emulated", "M instructions", "200.000")
    assert " ms" not in str(counted)


def test_cycles_print_with_memory_and_operators() -> None:
    compiled = measured(
        "vela",
        simulated=True,
        cycles=123_456,
        npu_cycles=1000,
        memory={"sram_bytes": 77},
        ops_on_device=30,
        ops_on_cpu=1,
        layers=(LayerCost(HOSTILE, "CONV_2D", "NPU"),),
    )
    check_printed(
        compiled, "simulated by vela", "123456", "NPU 1000", "sram 77", "30, 1", "`layers`"
    )


def test_measurements_print_as_one_table_for_each_target() -> None:
    counted = measured("vela", simulated=True, cycles=5)
    both = Measurements([SLOW, FAST, counted])
    check_printed(both, "phone: measured by host", "2.000", "1.000", "phone: simulated by vela")
    assert str(both).count("median ms") == 1
    assert both._repr_html_().count("<table>") == 2
    assert str(Measurements()) == ""


def test_measurements_are_a_tuple() -> None:
    both = Measurements([SLOW, FAST])
    first, second = both
    assert (first, second) == both == (SLOW, FAST)
    assert isinstance(both, tuple)
    assert (both[1], both[-2:], len(both)) == (FAST, (SLOW, FAST), 2)
    assert hash(Measurements([1])) == hash((1,))  # type: ignore[list-item]
    assert pickle.loads(pickle.dumps(both)) == both  # noqa: S301 (its own bytes)
    assert repr(both) == repr((SLOW, FAST))


def test_a_verdict_prints_every_check_with_value_limit_and_meaning() -> None:
    checks = (
        Check("runs (LiteRT)", True, None, None, "allocates and invokes", kind="runs"),
        Check("outputs", False, 0.123456, 0.05, f"differs in {HOSTILE}", kind="outputs"),
    )
    verdict = Verdict("m.tflite", "phone", checks)
    check_printed(
        verdict,
        *("m.tflite for phone: FAILED", "runs (LiteRT) passed", "allocates and invokes"),
        *("outputs FAILED", "0.123", "0.05", "differs in block/"),
    )
    assert '<strong class="bad">FAILED</strong>' in verdict._repr_html_()
    assert "passed" in str(Verdict("m.tflite", "phone", ())).splitlines()[0]
