"""Quantized files mended by samples when a pruned network is written into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.conversion.int8.mend import Part
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.mend.run import MendedFile, NewRange
from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.lift.write_back.write import write_back
from edgeprune.keras_model.copies import copy_model
from edgeprune.targets.host import HOST
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import MENDING_NAME, read_beside, read_mending
from tests.support.quantized_networks import Kind, quantized_net

KINDS: list[Kind] = ["int8", "uint8"]
IMAGES = np.random.default_rng(1).uniform(-1, 1, (128, 8, 8, 3)).astype(np.float32)


def smaller(lifted: Lifted) -> Any:
    """The same function, with values behind "stem" that are a twentieth of what they were."""
    model = copy_model(lifted.model)
    stem, deep = model.get_layer("stem"), model.get_layer("deep")
    stem.set_weights([each / 20 for each in stem.get_weights()])
    deep.kernel.assign(np.asarray(deep.kernel) * 20)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_range_that_pruning_left_too_wide_becomes_narrow_and_outputs_come_nearer(
    kind: Kind, tmp_path: Path
) -> None:
    lifted = lift(quantized_net(tmp_path / "m.tflite", kind))
    plain = write_back(lifted, smaller(lifted), tmp_path / "plain.tflite")
    made = write_back(lifted, smaller(lifted), tmp_path / "out.tflite", [IMAGES])
    done = made.mended
    assert done is not None
    assert done.ranges.applied
    (stem,) = (each for each in done.activations if each.tensor == "stem")
    assert stem.before == pytest.approx((0, 4), abs=0.02)
    assert 0.05 < stem.after[1] < 0.3
    graphs = [read(path) for path in (lifted.path, plain.path, made.path)]
    for port in ("image", "scores"):
        one, _, other = (next(t for t in graph.tensors if t.name == port) for graph in graphs)
        np.testing.assert_array_equal(one.scales, other.scales)
        np.testing.assert_array_equal(one.zero_points, other.zero_points)
    fresh = np.random.default_rng(2).uniform(-1, 1, (64, 8, 8, 3)).astype(np.float32)
    given, *both = (HOST.run(graph, [fresh], "LiteRT").outputs[0] for graph in graphs)
    errors = [float(np.sum((found - given) ** 2)) for found in both]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.slow
def test_what_was_done_stands_in_the_file_and_in_the_manifest_of_its_export(
    tmp_path: Path,
) -> None:
    lifted = lift(quantized_net(tmp_path / "m.tflite"))
    made = write_back(lifted, smaller(lifted), tmp_path / "out.tflite", [IMAGES])
    assert made.mended is not None
    assert read_mending(read(made.path).metadata) == made.mended.to_json()
    export(made.path, "arm-neon-int8", tmp_path / "shipped.tflite")
    manifest = read_beside(tmp_path / "shipped.tflite")
    assert manifest is not None
    assert manifest["int8"] == made.mended.to_json()
    assert MENDING_NAME not in read(tmp_path / "shipped.tflite").metadata


@pytest.mark.slow
def test_few_samples_change_nothing_and_the_record_says_why(tmp_path: Path) -> None:
    lifted = lift(quantized_net(tmp_path / "m.tflite"))
    plain = write_back(lifted, smaller(lifted), tmp_path / "plain.tflite")
    made = write_back(lifted, smaller(lifted), tmp_path / "out.tflite", [IMAGES[:63]])
    assert made.path.read_bytes() == plain.path.read_bytes()
    assert made.mended is not None
    assert made.mended.ranges.reason == "63 samples are fewer than 64"


def test_a_model_as_it_was_gives_the_same_bytes_with_samples_too(tmp_path: Path) -> None:
    path = quantized_net(tmp_path / "m.tflite")
    lifted = lift(path)
    made = write_back(lifted, copy_model(lifted.model), tmp_path / "out.tflite", [IMAGES])
    assert made.path.read_bytes() == path.read_bytes()
    assert made.mended is None


def test_a_sentence_names_the_activations_and_the_errors() -> None:
    ranges = [NewRange(name, name, (0, 1), (0, 2)) for name in "abcde"]
    parts = Part(True, 128, 0.4, 0.3), Part(False, 128, 0.3, 0.31), Part(True, 128, 0.3, 0.25)
    assert str(MendedFile(*parts, tuple(ranges))) == (
        "int8: new ranges of 5 activations (a, b, c and 2 more), weights rounded by what layers "
        "give: squared error of the outputs against the given file 0.4 -> 0.25 of their square, on "
        "samples held back."
    )
