"""A file that takes several samples at a time, in another number format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.convert import export
from edgeprune.conversion.fixed_batch import fixed_lengths, require_single_samples
from edgeprune.conversion.given import as_given
from edgeprune.core.errors import TfliteError
from edgeprune.targets.host import HOST
from edgeprune.tflite.format.file import read
from tests.support.lift_cases import single
from tests.support.lift_networks import LiftNet


def test_samples_that_do_not_depend_on_each_other_may_be_taken_one_at_a_time(
    tmp_path: Path,
) -> None:
    four = as_given(single(tmp_path / "four.tflite", "RELU6", [(4, 5)], [(4, 5)]))
    assert fixed_lengths(four) == (4,)
    assert require_single_samples(four) == 4
    one = as_given(single(tmp_path / "one.tflite", "RELU6", [(1, 5)], [(1, 5)]))
    assert fixed_lengths(one) == ()


def test_samples_that_are_computed_together_are_not_taken_apart(tmp_path: Path) -> None:
    axis = np.array(0, np.int32)
    path = single(
        tmp_path / "sum.tflite", "CUMSUM", [(4, 5), axis], [(4, 5)], schema.CumsumOptionsT()
    )
    with pytest.raises(TfliteError, match=r"sum\.tflite.*computed by themselves.*inputs \[4, 5\]"):
        require_single_samples(as_given(path))


def matrix(path: Path) -> Path:
    """`[4, 6]` to `[4, 5]`."""
    net = LiftNet("float32")
    x = net.tensor("x", (4, 6))
    weights = [net.weight("w", 5, 6), net.bias("b", 5)]
    y = net.made(
        "FULLY_CONNECTED", [x, *weights], "y", 4, 5, options=schema.FullyConnectedOptionsT()
    )
    return net.save(path, [x], [y])


@pytest.mark.slow
def test_a_fixed_batch_is_kept_in_float_and_taken_apart_in_int8_which_says_so(
    tmp_path: Path,
) -> None:
    path = matrix(tmp_path / "four.tflite")
    x = np.random.default_rng(0).uniform(-1, 1, (64, 6)).astype(np.float32)
    half = export(path, "xnnpack-x86", tmp_path / "half.tflite", numerics="float16")
    written = read(half.artifact.path)
    assert [written.tensors[k].shape for k in (*written.inputs, *written.outputs)] == [
        (4, 6),
        (4, 5),
    ]
    groups = x.reshape(16, 4, 6)
    files = (written, read(path))
    ours, theirs = (HOST.run(file, [groups], "LiteRT").outputs[0] for file in files)
    np.testing.assert_allclose(ours, theirs, atol=5e-3)

    small = export(path, "cortex-m-tflm", tmp_path / "small.tflite", x=x)
    assert any("takes 4 samples at a time, this file one." in said for said in small.warnings)
    manifest = json.loads((tmp_path / "small.manifest.json").read_text(encoding="utf-8"))
    assert manifest["batch"] == {"given": 4, "written": 1}
    alone = HOST.run(read(small.artifact.path), [x], "LiteRT").outputs[0]
    np.testing.assert_allclose(alone.reshape(theirs.shape), theirs, atol=0.05)
