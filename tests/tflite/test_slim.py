"""What is left out of a file computes nothing: runtimes give the same outputs, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.targets.host import HOST
from edgeprune.targets.inputs import generated_inputs
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from edgeprune.tflite.slim import Slimming, slim
from tests.support.packing import mixed_net, sparse_weights
from tests.support.runtimes import RUNTIMES
from tests.support.small_nets import chain


def slimmed(path: Path, wanted: Slimming) -> Path:
    draft = load(path)
    slim(draft.model, wanted)
    output = path.with_name("slim.tflite")
    write(draft, output)
    return output


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_file_without_names_and_with_shared_bytes_computes_the_same(
    runtime: str, tmp_path: Path
) -> None:
    path = mixed_net(tmp_path / "m.tflite")
    output = slimmed(path, Slimming(names=True, manifest=True, merge=True))
    assert output.stat().st_size < path.stat().st_size
    graph = read(output)
    assert {tensor.name for tensor in graph.tensors} == {""}
    assert [signature.inputs.keys() for signature in graph.signatures] == [{"x0"}]
    inputs = generated_inputs(read(path), 3)
    before, after = (HOST.run(read(each), inputs, runtime).outputs for each in (path, output))
    np.testing.assert_array_equal(before[0], after[0])


def test_equal_constants_share_a_buffer_and_what_is_computed_has_the_empty_one(
    tmp_path: Path,
) -> None:
    layers = [("CONV_2D", sparse_weights((8, 3, 3, 8), 0.5))] * 3
    graph = read(slimmed(chain(tmp_path / "m.tflite", layers), Slimming(merge=True)))
    buffers = {tensor.name: tensor.buffer for tensor in graph.tensors}
    assert buffers["w0"] == buffers["w1"] == buffers["w2"] != buffers["b0"]
    assert buffers["b0"] == buffers["b1"]
    assert {tensor.buffer for tensor in graph.tensors if not tensor.constant} == {0}


def test_equal_vectors_of_numbers_are_written_once(tmp_path: Path) -> None:
    layers = [("CONV_2D", sparse_weights((256, 1, 1, 256), 0.5, seed)) for seed in range(4)]
    path = chain(tmp_path / "m.tflite", layers, size=1)
    weights = 4 * 256 * 256
    # Eight tensors with 256 scales of 4 bytes and zero points of 8, of which two and one differ.
    assert path.stat().st_size - weights - 4 * 256 * 4 < 2 * 256 * 4 + 256 * 8 + 4_000
