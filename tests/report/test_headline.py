"""What is shown as the gain of a device, and what is said to ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.files import Artifact
from edgeprune.core.outlook import Outlook
from edgeprune.core.pattern import Block
from edgeprune.core.plan import LayerPlan, Plan
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.headline import Expected, expected_by, gain_of, what_to_ship
from edgeprune.report.report import Report
from edgeprune.targets.checks import Check, Verdict
from edgeprune.targets.latency import Latency, Speedup
from edgeprune.targets.measurement import Measurement

EXPECTED = Expected("instructions", 200e6, 133e6, "cost table", "LiteRT")
INSTALL = "`edgeprune targets install arm64-emulated`"
DENSE = Artifact(Path("out/dense-float32.tflite"), "d" * 64, 200 << 10, 100 << 10)
PRUNED = Artifact(Path("out/phone.tflite"), "p" * 64, 50 << 10, 40 << 10)
GOOD = Verdict("phone.tflite", "phone", (Check("runs", True, None, None, "it runs", kind="runs"),))


def measurement(**facts: Any) -> Measurement:
    return Measurement("m.tflite", "phone", "arm64-emulated", "LiteRT 2.1.6", True, 1, 1, **facts)


def counted(ratio: float, **facts: Any) -> tuple[Measurement, Measurement]:
    speedup = Speedup(ratio, (ratio * 0.999, ratio * 1.001), of="instructions")
    return measurement(instructions=100), measurement(instructions=50, speedup=speedup, **facts)


def test_without_its_instrument_a_device_shows_what_is_expected_and_what_would_measure_it() -> None:
    gain = gain_of(None, None, EXPECTED, INSTALL)
    assert gain.text == f"expected 1.50x (cost table), not measured: {INSTALL}"
    assert (gain.factor, gain.proven) == (None, None)
    assert gain_of(None, None, None, INSTALL).text == f"not measured: {INSTALL}"
    assert gain_of(None, None, None, "").text == "-"


def test_its_own_instrument_gives_the_gain_and_is_named() -> None:
    gain = gain_of(*counted(1.49), EXPECTED, "")
    assert (gain.text, gain.factor) == ("1.49x by instructions (arm64-emulated)", 1.49)
    assert gain.proven == "gain"
    assert gain_of(*counted(0.8), None, "").proven == "loss"
    assert gain_of(*counted(1.0), None, "").proven is None


def test_a_computer_that_is_not_the_device_gives_none() -> None:
    gain = gain_of(*counted(0.89, stand_in=True), EXPECTED, INSTALL)
    assert "0.89" not in gain.text
    assert gain.text.startswith("expected 1.50x")


def packed_file(flash: int, arena: int, **code: int) -> Measurement:
    memory = {"flash_bytes": flash, "arena_bytes": arena, "plain_arena_bytes": 30_000, **code}
    return measurement(memory=memory)


@pytest.mark.parametrize(
    ("packed", "proven", "words"),
    [
        (packed_file(150_000, 90_000, code_bytes=14_000), "gain", "14000 bytes of code among it"),
        (packed_file(290_000, 30_500, code_bytes=14_000), "gain", "500 bytes more arena"),
        (packed_file(310_000, 30_500, code_bytes=14_000), "loss", "0.97x less flash"),
        (packed_file(250_000, 90_000, code_bytes=14_000), "loss", "60000 bytes more arena"),
        (packed_file(150_000, 30_500), "loss", "which is not known"),
    ],
)
def test_a_packed_file_gains_only_what_code_and_arena_leave(
    packed: Measurement, proven: str, words: str
) -> None:
    dense = measurement(memory={"flash_bytes": 300_000, "arena_bytes": 30_000})
    gain = gain_of(dense, packed, None, "")
    assert gain.proven == proven
    assert words in gain.text
    assert gain.text.startswith("no gain: ") is (proven == "loss")
    shipped = what_to_ship(gain, None, DENSE, PRUNED, "measured by tflm")
    assert shipped.artifact == (PRUNED.path if proven == "gain" else DENSE.path)


def test_an_instrument_of_memory_alone_gives_the_gain_in_memory() -> None:
    dense, pruned = (measurement(memory={"arena_bytes": n, "flash_bytes": 2 * n}) for n in (30, 20))
    gain = gain_of(dense, pruned, None, "")
    assert gain.text == "1.50x less arena, 1.50x less flash (arm64-emulated)"
    assert gain.proven == "gain"


def plan_of(*rows: LayerPlan, instructions: Any = ()) -> Plan:
    outlook = Outlook(gains=True, reason="it fits", instructions=instructions)
    return Plan(device="d", model="m", goal="latency", asked=0.8, layers=rows, network=outlook)


def test_what_is_expected_comes_from_the_runtime_that_would_be_measured() -> None:
    row = LayerPlan(
        path="pw", kind="Conv2D", shape=(1, 1, 8, 8), pattern=Block(2, 1), sparsity=0.8, reason="r"
    )
    table = (("tflite-runtime", 300.0, 200.0), ("LiteRT", 200.0, 100.0))
    made = plan_of(row, instructions=table)
    found = [expected_by(made, names) for names in (["LiteRT"], ["TFLM", "tflite-runtime"])]
    assert [expected.gain if expected else None for expected in found] == [2.0, 1.5]
    assert expected_by(made, ["TFLM"]) is None
    assert expected_by(plan_of(instructions=table), ["LiteRT"]) is None


@pytest.mark.parametrize(
    ("ratio", "accuracy", "pruned_bytes", "file", "said"),
    [
        (1.49, (0.99, 0.98), 50, PRUNED.path, "1.49x by instructions (arm64-emulated); accuracy"),
        (1.49, (0.99, 0.9), 50, None, "loses accuracy"),
        (1.49, None, 50, PRUNED.path, "accuracy not measured"),
        (1.0, (0.99, 0.99), 50, PRUNED.path, "smaller, not faster"),
        (1.0, (0.99, 0.99), 199, DENSE.path, "pruning gains nothing here"),
        (0.5, (0.99, 0.99), 50, DENSE.path, "pruning gains nothing here"),
    ],
)
def test_what_to_ship_follows_gain_accuracy_and_size(
    ratio: float, accuracy: Any, pruned_bytes: int, file: Path | None, said: str
) -> None:
    pruned = Artifact(PRUNED.path, PRUNED.sha256, pruned_bytes << 10, 1)
    ship = what_to_ship(gain_of(*counted(ratio), None, ""), accuracy, DENSE, pruned, "by X")
    assert ship.artifact == file
    assert said in ship.reason
    assert f"200 → {pruned_bytes} KiB; by X" in ship.reason


def phone(*pair: Measurement, **facts: Any) -> DeviceReport:
    dense, pruned = pair or (None, None)
    return DeviceReport(
        *("phone", "it skips zeros"),
        numerics="float32",
        artifact=PRUNED,
        dense_artifact=DENSE,
        verdict=GOOD,
        dense=(dense,) if dense else (),
        pruned=(pruned,) if pruned else (),
        accuracy=(0.99, 0.985),
        **facts,
    )


def test_without_the_instrument_nothing_is_shipped_and_every_form_says_expected() -> None:
    device = phone(expected=EXPECTED, not_measured=INSTALL)
    report = Report("m.keras", (device,))
    content = report.to_json()
    (entry,) = content["devices"]
    assert content["ship"] is None
    assert entry["ship"]["artifact"] is None
    assert entry["gain"] == {"text": device.gain.text, "factor": None}
    assert entry["expected"] == {**EXPECTED.__dict__, "gain": 200 / 133}
    assert (entry["expected"]["unit"], entry["expected"]["dense"]) == ("instructions", 200e6)
    for form in (str(report), str(device), report.to_html()):
        text = " ".join(form.split())
        assert "times faster" not in text
        assert "cost table" in text
        assert "targets install" in text


def test_a_proven_gain_is_shipped_with_the_file_and_what_measured_it() -> None:
    ship = Report("m.keras", (phone(*counted(1.49)),)).to_json()["ship"]
    assert ship["artifact"] == "out/phone.tflite"
    page = Report("m.keras", (phone(*counted(1.49)),)).to_html()
    assert 'Ship this file: <a href="./phone.tflite">phone.tflite</a>' in page
    assert "<p>1.49x by instructions (arm64-emulated); accuracy 0.990" in page
    facts = "1.49x by instructions (arm64-emulated); accuracy 0.990 → 0.985; 200 → 50 KiB; "
    assert ship["reason"] == f"{facts}simulated by arm64-emulated, LiteRT 2.1.6"


def test_a_proxys_time_appears_in_no_form_of_a_report() -> None:
    time = Latency(7.777, 7.777, (7.777, 7.777), 10)
    faster = Speedup(8.88, (8.8, 8.9))
    pair = (
        measurement(latency_ms=time, stand_in=True),
        measurement(latency_ms=time, speedup=faster, stand_in=True),
    )
    report = Report("m.keras", (phone(*pair, not_measured=INSTALL),))
    assert report.rankings == ()
    assert "8.88" not in report.overview().to_text()
    assert "7.777" not in report.overview().to_text()
    assert "8.88x" not in report.to_html()
    assert report.to_json()["devices"][0]["gain"]["factor"] is None
