from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune.core.files import Artifact
from edgeprune.core.outlook import Outlook, RuntimeOutlook
from edgeprune.core.pattern import Block, Channels
from edgeprune.core.plan import LayerPlan, LayerSparsity, Plan
from edgeprune.report.baseline import Baseline
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.headline import Expected
from edgeprune.report.results import from_content, to_content
from edgeprune.targets.checks import Check, Verdict
from edgeprune.targets.latency import latency, speedup
from edgeprune.targets.measurement import LayerCost, Measurement

ROUNDS = [[2.0, 2.1], [2.0, 2.2]]
ROWS = tuple(
    LayerPlan(
        *(),
        path=f"layer_{index}",
        kind="Conv2D",
        shape=(1, 1, 8, 8),
        pattern=pattern,
        sparsity=0.1 + 0.2,
        reason="it pays",
    )
    for index, pattern in enumerate((Block(2, 1), Channels(16), None))
)
PLAN = Plan(
    device="phone",
    model="m.keras",
    goal="latency",
    asked=0.8,
    layers=ROWS,
    network=Outlook(
        gains=True,
        reason="it fits",
        runtimes=(RuntimeOutlook(runtime="LiteRT", state="on", reason="all"),),
        instructions=(("LiteRT", 2e6, 1e6 / 3),),
    ),
)
MEASURED = Measurement(
    model="out/phone.tflite",
    device="phone",
    target="host",
    runtime="LiteRT 2.3.0",
    simulated=False,
    size_bytes=2048,
    gzip_bytes=1024,
    latency_ms=latency(ROUNDS),
    speedup=speedup(ROUNDS, ROUNDS),
    instruction_classes={"vector": 7},
    memory={"arena_bytes": 9},
    layers=(LayerCost("conv", "CONV_2D", "NPU", 5, None, "padded"),),
    artifact="out/phone_vela.tflite",
    rounds_ms=tuple(map(tuple, ROUNDS)),
    machine={"cpu": "x", "affinity": [0], "temperature_c": {"before": None}},
    warnings=("hot",),
)
REPORT = DeviceReport(
    *("phone", "it skips zeros", 0.8, 0.79),
    plan=PLAN,
    layers=(LayerSparsity("layer_0", 64, 48),),
    numerics="float32",
    artifact=Artifact(Path("out/phone.tflite"), "a" * 64, 2048, 1024),
    dense_artifact=Artifact(Path("out/dense-float32.tflite"), "b" * 64, 4096, 2048),
    verdict=Verdict(
        "out/phone.tflite",
        "phone",
        (
            Check("size", True, 2048, None, "small", kind="size"),
            Check("outputs", True, 1e-7, 1e-3, "close", kind="outputs"),
            Check("numerics", True, "float32", "float32", "as wanted", kind="numerics"),
        ),
    ),
    dense=(MEASURED,),
    pruned=(MEASURED,),
    accuracy=(0.99, 2 / 3),
    expected=Expected("instructions", 2e6, 1e6 / 3, "cost table", "LiteRT"),
    notes=("a note",),
    made_at="2026-11-27T17:05:12+00:00",
    reused=("files",),
    name="phone-sparse",
    route="sparse",
    baselines=(Baseline("int8", None, (MEASURED,), 0.9, 256, "a runtime", "not exported"),),
)


def test_a_report_comes_back_whole_from_a_json_file() -> None:
    content = json.loads(json.dumps(to_content(REPORT)))
    back = from_content(content, Path("out"), "m.keras")
    assert back == REPORT
    assert repr(back) == repr(REPORT)


def test_files_that_moved_with_their_folder_and_another_name_of_the_model_are_followed() -> None:
    back = from_content(to_content(REPORT), Path("/elsewhere/x"), "other.keras")
    assert back is not None
    assert back.plan == PLAN.model_copy(update={"model": "other.keras"})
    assert back.artifact is not None
    assert back.artifact.path == Path("/elsewhere/x/phone.tflite")
    assert back.pruned[0].model == "/elsewhere/x/phone.tflite"
    assert back.pruned[0].artifact == "/elsewhere/x/phone_vela.tflite"
    assert back.verdict is not None
    assert back.verdict.model == "/elsewhere/x/phone.tflite"
    assert back.dense_artifact is not None
    assert back.dense_artifact.path == Path("/elsewhere/x/dense-float32.tflite")


@pytest.mark.parametrize("content", [None, [], {}, {"device": 1, "summary": "s"}, {"device": "d"}])
def test_what_is_no_report_is_none(content: object) -> None:
    assert from_content(content, Path("out"), "m.keras") is None
