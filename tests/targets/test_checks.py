from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from edgeprune.inspection.validate_file import validate
from edgeprune.targets.checks import Check, CheckKind, Verdict, numerics
from edgeprune.tflite.format.file import read
from tests.support.detection import detector, quantized_detector
from tests.support.tiny_tflite import fully_connected

RAN = Check("runs (LiteRT 2.3.0)", True, "runs", "runs", "4 inferences ended well", kind="runs")


def test_a_file_ran_if_a_check_of_that_kind_passed_whatever_it_is_called() -> None:
    renamed = replace(RAN, name="loads and computes", message="went well")
    assert Verdict("m.tflite", "edge-tpu", (renamed,)).ran


def test_a_check_of_another_kind_does_not_make_a_file_run_whatever_it_is_called() -> None:
    other = replace(RAN, kind="outputs")
    failed = replace(RAN, ok=False)
    assert not Verdict("m.tflite", "edge-tpu", (other, failed)).ran


def test_every_check_of_a_verdict_says_its_kind(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", np.eye(64))
    found = validate(path, "xnnpack-arm64", reference=path).to_json()["checks"]
    kinds = {check["name"].split(" (")[0]: check["kind"] for check in found}
    assert set(kinds.values()) <= set(get_args(CheckKind))
    assert {
        "runs": "runs",
        "finite": "finite",
        "kernels": "kernels",
        "outputs": "outputs",
    }.items() <= (kinds.items())
    assert kinds["static shapes"] == "shapes"


def test_a_quantized_network_is_in_int8_where_its_detections_are_real(tmp_path: Path) -> None:
    assert numerics(read(quantized_detector(tmp_path / "int8.tflite"))) == "int8"
    assert numerics(read(detector(tmp_path / "float.tflite"))) == "float32"
