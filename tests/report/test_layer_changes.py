from __future__ import annotations

import pytest

from edgeprune.report.device_report import DeviceReport
from edgeprune.report.layer_changes import compare_layers
from edgeprune.report.report import Report
from edgeprune.targets.measurement import LayerCost, Measurement


def compiled(*layers: LayerCost) -> Measurement:
    runtime = "ethos-u-vela 5.2.0, ethos-u85-256"
    return Measurement(
        *("m.tflite", "ethos-u85", "vela", runtime, True, 2048, 1024),
        cycles=sum(layer.cycles or 0 for layer in layers),
        layers=layers,
    )


DENSE = compiled(
    LayerCost("a", "CONV_2D", "NPU", 3000, note="no 2:4: the weights are dense"),
    LayerCost("b", "DEPTHWISE_CONV_2D", "NPU", 1000),
    LayerCost("c", "CUMSUM", "CPU", None, note="Unsupported opType"),
)
PRUNED = compiled(
    LayerCost("a_1", "CONV_2D", "NPU", 1500, note="2:4: half of them"),
    LayerCost("b_1", "DEPTHWISE_CONV_2D", "NPU", 990, note="no 2:4: depthwise"),
    LayerCost("c_1", "CUMSUM", "CPU", None, note="Unsupported opType"),
)


def test_layers_are_matched_by_place_and_a_small_change_is_no_gain() -> None:
    first, second, third = compare_layers(DENSE, PRUNED)
    assert (first.gain, first.gained) == (2.0, True)
    assert second.gain == pytest.approx(1000 / 990)
    assert not second.gained
    assert third.gain is None
    assert not third.gained


def test_other_operators_than_the_dense_file_has_are_not_matched() -> None:
    other = compiled(LayerCost("a", "MEAN", "NPU", 10))
    assert [change.dense for change in compare_layers(DENSE, other)] == [None]
    assert [change.gain for change in compare_layers(None, PRUNED)] == [None, None, None]


def test_the_page_shows_which_layers_did_not_gain_and_why() -> None:
    device = DeviceReport("ethos-u85", "an NPU", dense=(DENSE,), pruned=(PRUNED,))
    page = Report("m.keras", (device,)).to_html()
    rows = [line for line in page.splitlines() if "_1</th>" in line]
    assert [row.count("no gain") for row in rows] == [0, 1, 0]
    assert "no 2:4: depthwise" in rows[1]
    assert "Unsupported opType" in rows[2]
    assert "costs simulated by ethos-u-vela 5.2.0, ethos-u85-256" in page
