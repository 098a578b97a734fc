from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeprune.cli import measurement_tables
from edgeprune.core.layer_noise import LayerNoise
from edgeprune.core.plan import LayerSparsity
from edgeprune.inspection.accuracy import Accuracy
from edgeprune.report.accuracies import accuracy_rows
from edgeprune.report.charts import plot_report
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.report import Report
from edgeprune.targets.checks import Check, Verdict
from edgeprune.targets.latency import Speedup, latency, speedup
from edgeprune.targets.measurement import LayerCost, Measurement
from edgeprune.targets.modelled_cycles import ModelledCycles
from tests.support.printing import HOSTILE, check_printed


def counted(instructions: int, **facts: object) -> Measurement:
    return Measurement(
        model="m.tflite",
        device="xnnpack-arm64",
        target="arm64-emulated",
        runtime="tflite-runtime 2.14.0 on emulated cortex-a76 (QEMU 7.2.22)",
        simulated=True,
        size_bytes=2048,
        gzip_bytes=1024,
        instructions=instructions,
        instruction_classes={"vector": instructions},
        conditions="1 inference",
        warnings=("other cores stay dense",),
        **facts,  # type: ignore[arg-type]
    )


FEWER = Speedup(2.0, (1.99999, 2.00001), of="instructions")
DENSE, PRUNED = counted(200_000_000), counted(100_000_000, speedup=FEWER)


def test_counted_instructions_are_never_shown_as_milliseconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    measurement_tables.show_measurements([DENSE, PRUNED])
    written = capsys.readouterr()
    assert "simulated by arm64-emulated" in written.out
    assert "200.000" in written.out
    assert "2.00x by instructions" in written.out
    assert " ms" not in written.out
    assert "other cores stay dense" in written.err


def test_a_page_shows_latency_and_instructions_apart(capsys: pytest.CaptureFixture[str]) -> None:
    rounds = [[2.0, 2.1], [2.0, 2.2]]
    timed = Measurement(
        "m.tflite", "xnnpack-x86", "host", "LiteRT 2.3.0", False, 2048, 1024, latency(rounds)
    )
    faster = Measurement(
        *("m.tflite", "xnnpack-x86", "host", "LiteRT 2.3.0", False, 2048, 1024),
        latency_ms=latency(rounds),
        speedup=speedup(rounds, rounds),
    )
    report = Report(
        "m.keras",
        (
            DeviceReport("xnnpack-arm64", "float", dense=(DENSE,), pruned=(PRUNED,)),
            DeviceReport("xnnpack-x86", "float", dense=(timed,), pruned=(faster,)),
        ),
    )
    page = report.to_html()
    assert "200.0 M → 100.0 M" in page
    assert page.count("ms per inference") == 1
    assert page.count("million instructions</text>") == 1
    assert "Simulated by arm64-emulated, tflite-runtime 2.14.0 on emulated cortex-a76" in page
    assert "Measured by host, LiteRT 2.3.0." in page
    assert "other cores stay dense" in page
    measurement_tables.show_report(report)
    assert "200.0 M → 100.0 M" in capsys.readouterr().out


def test_a_gain_by_modelled_cycles_stands_below_that_by_instructions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def modelled(instructions: int, cycles: int, **facts: object) -> Measurement:
        found = ModelledCycles(cycles, 0.99, {"l1": 3_000_000, "l2": 0, "l3": 0})
        return counted(
            instructions,
            modelled_cycles={"neoverse-n1": found},
            cycles_core="neoverse-n1",
            **facts,
        )

    pair = modelled(200_000_000, 80_000_000), modelled(100_000_000, 32_000_000, speedup=FEWER)
    device = DeviceReport("xnnpack-arm64", "float", dense=pair[:1], pruned=pair[1:])
    report = Report("m.keras", (device, replace(device, device="another")))
    below = "2.50x by modelled cycles of neoverse-n1"
    assert report.overview().rows[0][-1] == f"2.00x by instructions (arm64-emulated)\n{below}"
    assert report.to_json()["devices"][0]["modelled_gain"] == below
    assert report.to_json()["devices"][0]["ranked_by"] == "modelled_cycles"
    without = DeviceReport("xnnpack-arm64", "float", dense=(DENSE,), pruned=(PRUNED,))
    assert without.to_json()["modelled_gain"] is None
    assert without.to_json()["ranked_by"] == "instructions"
    assert DeviceReport("xnnpack-arm64", "float").to_json()["ranked_by"] is None
    page = report.to_html()
    assert "32.000 million modelled cycles of neoverse-n1" in page
    assert "Modelled cycles of neoverse-n1 (simulated): the cheapest first" in page
    assert "million modelled cycles</text>" in page
    measurement_tables.show_report(report)
    measurement_tables.show_measurements(pair)
    written = capsys.readouterr().out
    for text in ("2.50x by modelled cycles", "80.0 M → 32.0 M modelled cycles", "99.0%", " 3.000 "):
        assert text in written
    assert " ms" not in written


def test_a_ratio_of_counts_within_the_counters_error_is_no_difference() -> None:
    assert FEWER.significant
    assert not Speedup(1.0000001, (0.999998, 1.000002), of="instructions").significant


def test_estimated_cycles_are_shown_as_such_with_memory_and_operators(
    capsys: pytest.CaptureFixture[str],
) -> None:
    estimated = Measurement(
        *("m.tflite", "edge-tpu", "edgetpu-model", "a model", True, 2048, 1024),
        cycles=2_500_000,
        memory={"cached_bytes": 4096, "streamed_bytes": 0},
        ops_on_device=30,
        ops_on_cpu=1,
        layers=(LayerCost("conv", "CONV_2D", "Edge TPU", 2_500_000, 4096, "padded"),),
    )
    report = Report(
        "m.keras", (DeviceReport("edge-tpu", "int8", dense=(estimated,), pruned=(estimated,)),)
    )
    page = report.to_html()
    assert "2.5 M → 2.5 M cycles" in page
    assert "million cycles</text>" in page
    assert "ms per inference" not in page
    assert "cached bytes: 4096" in page
    assert "30 operators on the device and 1 on the CPU" in page
    measurement_tables.show_report(report)
    measurement_tables.show_measurements([estimated])
    written = capsys.readouterr().out
    assert "2.5 M → 2.5 M cycles" in written
    for text in ("2500000", "cached 4096", "30, 1", "operator by operator", "padded"):
        assert text in written


def test_several_targets_are_ranked_within_their_kind_only(
    capsys: pytest.CaptureFixture[str],
) -> None:

    def board(target: str, ms: float) -> Measurement:
        time = latency([[ms, ms]])
        return Measurement(
            *("m.tflite", "xnnpack-arm64", target, "LiteRT 2.3.0", False, 2048, 1024), time
        )

    slow, quick = board("ssh:slow", 9.0), board("ssh:quick", 4.0)
    devices = DeviceReport(
        "xnnpack-arm64", "float", dense=(DENSE, slow, quick), pruned=(PRUNED, slow, quick)
    )
    report = Report("m.keras", (devices,))
    measurement_tables.show_report(report)
    written = capsys.readouterr().out
    assert "Latency, ms (measured): the cheapest first" in written
    assert "Instructions (simulated): the cheapest first" in written
    assert written.index("ssh:quick") < written.index("ssh:slow")
    page = report.to_html()
    assert page.index("ssh:quick, LiteRT") < page.index("ssh:slow, LiteRT")
    assert "Latency, ms (measured): the cheapest first" in page
    assert "4.000 → 4.000 ms" in page


def test_a_report_prints_each_device_its_measurements_and_what_failed() -> None:
    failed = Verdict(
        "m.tflite", "xnnpack-arm64", (Check("size", False, 9, 8, HOSTILE, kind="size"),)
    )
    device = DeviceReport(
        *("xnnpack-arm64", "float", 0.8, 0.79),
        verdict=failed,
        dense=(DENSE,),
        pruned=(PRUNED,),
        accuracy=(0.9, 0.88),
        notes=("A note.",),
    )
    broken = DeviceReport("edge-tpu", "int8", error="does not convert")
    facts = (
        *("0.8 / 0.790", "0.900", "0.880", "200.0 M", "100.0 M", "FAILED", "A note."),
        "xnnpack-arm64: simulated by arm64-emulated, tflite-runtime 2.14.0",
        *("2.00x by instructions", "1 inference", "other cores stay dense", "Error: size: block/"),
    )
    check_printed(device, *facts)
    check_printed(Report("m.keras", (device, broken)), *facts, "edge-tpu: Error: does not convert")


def test_the_page_has_accessible_tables_and_no_markup_from_names() -> None:
    verdict = Verdict(
        "m.tflite", "xnnpack-arm64", (Check(HOSTILE, True, None, None, "good", kind="runs"),)
    )
    page = Report("m.keras", (DeviceReport("xnnpack-arm64", "float", verdict=verdict),)).to_html()
    assert page.count("<table>") == page.count("<caption") == 2
    assert page.count('scope="col"') == 9 + 5
    assert page.count('scope="row"') == 2
    assert HOSTILE not in page
    assert page.count("<script") == 2
    assert '<strong class="ok">passed</strong>' in page


def test_a_layers_name_with_dollar_signs_is_drawn_as_text() -> None:
    rows = (LayerSparsity("a$\\foo$b", 64, 32), LayerSparsity("plain", 64, 8))
    charts = plot_report([DeviceReport("board", "a board", layers=rows)], [])
    assert any("a$\\foo$b" in chart.svg for chart in charts)


def test_of_long_layer_names_the_end_is_drawn_and_each_keeps_its_bar() -> None:
    rows = tuple(LayerSparsity(f"block_{k}/" + "deep/" * 40 + "conv", 64, 32) for k in range(3))
    (chart,) = plot_report([DeviceReport("board", "a board", layers=rows)], [])
    assert chart.svg.count("deep/conv</text>") == len(rows)


def test_the_page_shows_accuracies_with_intervals_and_the_noise_of_every_layer() -> None:
    right = np.arange(100) < 80
    found = Accuracy(0.8, 100, "LiteRT 2.3.0", right=right)
    names = ("float dense", "float pruned", "int8 dense", "int8 pruned")
    noise = tuple(LayerNoise(f"layer{k}", 20.0 + k) for k in range(8))
    device = DeviceReport(
        *("npu", "an NPU"),
        accuracy=(0.8, 0.8),
        accuracies=accuracy_rows((name, found) for name in names),
        verdict=Verdict("m.tflite", "npu", (), noise),
    )
    report = Report("m.keras", (device,))
    page = report.to_html()
    assert page.count("0.711 to 0.867") == len(names)
    assert "Signal to noise per layer in int8: npu" in page
    assert "layer7</text>" in page
    written = str(report)
    assert "layer4 24.0 dB" in " ".join(written.split())
    assert "layer5" not in written
