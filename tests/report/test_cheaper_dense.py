"""Dense files in other number formats beside the file that would be shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.files import Artifact
from edgeprune.report.accuracies import AccuracyRow
from edgeprune.report.baseline import Baseline
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.one_device import with_drop
from edgeprune.report.report import Report
from edgeprune.targets.checks import Check, Verdict
from edgeprune.targets.inference_cost import InferenceCost
from edgeprune.targets.latency import Latency, Speedup
from edgeprune.targets.measurement import Measurement
from edgeprune.targets.modelled_cycles import ModelledCycles

DENSE = Artifact(Path("out/dense-float32.tflite"), "d" * 64, 200 << 10, 100 << 10)
PRUNED = Artifact(Path("out/phone.tflite"), "p" * 64, 50 << 10, 40 << 10)
HALF = Artifact(Path("out/dense-float16-arithmetic.tflite"), "h" * 64, 100 << 10, 90 << 10)
GOOD = Verdict("phone.tflite", "phone", (Check("runs", True, None, None, "it runs", kind="runs"),))


def counted(instructions: int | None, **facts: Any) -> Measurement:
    given = {"instructions": instructions, "speedup": None, **facts}
    return Measurement("m.tflite", "phone", "arm64-emulated", "LiteRT 2.1.6", True, 1, 1, **given)


def half(*measurements: Measurement, artifact: Artifact = HALF, accuracy: Any = 0.99) -> Baseline:
    return Baseline("float16-arithmetic", artifact, measurements, accuracy, 359)


def phone(*baselines: Baseline, dense: int = 700_000, pruned: int = 500_000) -> DeviceReport:
    ratio = dense / pruned
    speedup = Speedup(ratio, (ratio * 0.999, ratio * 1.001), of="instructions")
    own = Baseline("float32", DENSE, (counted(dense),), 0.99, 359)
    return DeviceReport(
        *("phone", "it skips zeros"),
        numerics="float32",
        artifact=PRUNED,
        dense_artifact=DENSE,
        verdict=GOOD,
        dense=(counted(dense),),
        pruned=(counted(pruned, speedup=speedup),),
        accuracy=(0.99, 0.985),
        baselines=(own, *baselines),
    )


def shipped(device: DeviceReport) -> tuple[Path | None, str]:
    ship = device.ship
    assert ship is not None
    return ship.artifact, ship.reason


def test_a_dense_file_that_needs_fewer_instructions_is_shipped_in_place_of_the_pruned_one() -> None:
    device = phone(half(counted(400_000)))
    file, reason = shipped(device)
    assert file == HALF.path
    assert reason.startswith(
        "dense float16-arithmetic needs fewer instructions than the pruned file "
        "(0.4 M against 0.5 M); accuracy 0.990; 100 KiB; beside it the pruned file: 1.40x"
    )
    content = Report("m.keras", (device,)).to_json()
    assert content["ship"] == content["devices"][0]["ship"]
    assert content["ship"] == {"artifact": str(HALF.path), "reason": reason}


@pytest.mark.parametrize(
    ("limit", "file"), [(0.005, PRUNED.path), (0.01, HALF.path), (0.1, HALF.path)]
)
def test_a_dense_file_that_loses_more_than_a_person_allows_is_not_shipped(
    limit: float, file: Path
) -> None:
    dense = AccuracyRow("float dense", 0.99, (0.98, 1.0), 359, "LiteRT")
    pruned = replace(dense, name="float pruned", change=-0.001, change_ci95=(-0.002, 0.0))
    device = phone(half(counted(400_000), accuracy=0.98))
    found = with_drop(replace(device, accuracies=(dense, pruned)), limit)
    assert shipped(found)[0] == file


@pytest.mark.parametrize(
    "other",
    [
        half(counted(503_000)),
        half(counted(400_000, stand_in=True)),
        half(replace(counted(400_000), runtime="LiteRT 2.3.0")),
        half(counted(None, memory={"arena_bytes": 1})),
        half(counted(400_000), accuracy=0.96),
        half(counted(400_000), accuracy=None),
        half(counted(400_000), artifact=replace(HALF, sha256=DENSE.sha256)),
        half(),
    ],
    ids=["dearer", "proxy", "other runtime", "no cost", "worse", "unknown", "same file", "nothing"],
)
def test_the_pruned_file_stays_where_no_dense_one_is_proven_cheaper_and_as_accurate(
    other: Baseline,
) -> None:
    file, reason = shipped(phone(other))
    assert file == PRUNED.path
    assert "float16" not in reason


@pytest.mark.parametrize(("size", "file"), [(100, PRUNED.path), (40, HALF.path)])
def test_of_files_that_cost_the_same_the_smaller_one_is_shipped(size: int, file: Path) -> None:
    device = phone(half(counted(501_000), artifact=replace(HALF, size_bytes=size << 10)))
    assert shipped(device)[0] == file
    assert "float16-arithmetic needs as many instructions as the pruned file" in shipped(device)[1]


def test_where_pruning_gains_nothing_the_cheapest_dense_file_is_shipped() -> None:
    device = phone(half(counted(400_000)), dense=500_000, pruned=900_000)
    file, reason = shipped(device)
    assert file == HALF.path
    assert "fewer instructions than dense float32 (0.4 M against 0.5 M)" in reason


@pytest.mark.parametrize(("fastest", "file"), [(1.05, PRUNED.path), (0.9, HALF.path)])
def test_a_dense_file_is_faster_only_where_the_intervals_of_both_times_are_apart(
    fastest: float, file: Path
) -> None:
    def timed(low: float, **facts: Any) -> Measurement:
        time = Latency(low + 0.05, low + 0.1, (low, low + 0.1), 10)
        return counted(None, latency_ms=time, **facts)

    device = replace(
        phone(half(timed(fastest - 0.1))),
        dense=(timed(2.0),),
        pruned=(timed(1.0, speedup=Speedup(2.0, (1.9, 2.1))),),
    )
    assert shipped(device)[0] == file
    assert "time" in shipped(device)[1]


def test_modelled_cycles_decide_where_the_profile_ranks_by_them() -> None:
    def modelled(cycles: int, **facts: Any) -> Measurement:
        found = ModelledCycles(cycles, 0.99, {"l1": 1, "l2": 0, "l3": 0})
        core = {"modelled_cycles": {"neoverse-n1": found}, "cycles_core": "neoverse-n1"}
        return counted(700_000, **{**core, **facts})

    pair = (modelled(300_000), modelled(200_000, speedup=Speedup(1.4, (1.4, 1.4), "instructions")))
    device = replace(phone(half(modelled(150_000))), dense=pair[:1], pruned=pair[1:])
    words = "fewer modelled cycles of neoverse-n1 than the pruned file (0.15 M against 0.2 M)"
    assert words in shipped(device)[1]


def test_of_a_devices_routes_the_one_whose_file_costs_least_is_shipped() -> None:
    other = Artifact(Path("out/phone-int8.tflite"), "8" * 64, 50 << 10, 40 << 10)
    quick = replace(phone(pruned=300_000), artifact=other, name="phone-int8")
    report = Report("m.keras", (phone(half(counted(400_000))), quick))
    assert report.ship is not None
    assert (report.ship.artifact, report.ship.cost) == (
        other.path,
        InferenceCost(300_000, "instructions"),
    )
    assert report.shipping("phone") is quick
    failed = DeviceReport("phone", "it skips zeros", error="does not convert")
    assert Report("m.keras", (failed, phone())).shipping("phone").artifact == PRUNED
    assert Report("m.keras", (failed,)).shipping("phone") is failed
