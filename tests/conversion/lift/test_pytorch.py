"""Files that PyTorch's converter made (scripts/pytorch_files.py), all the way through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.lift.write_back.write import write_back
from edgeprune.keras_model.interface import infer
from edgeprune.keras_model.layers import map_layers
from edgeprune.pruning.channels.group import find_groups
from edgeprune.pruning.channels.removal import build_smaller
from edgeprune.pruning.channels.trace import trace
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.file import read
from edgeprune.tflite.rewrites import rewrite
from tests.tflite.test_gate import RUNTIMES

FILES = Path(__file__).parents[2] / "data"
NAMES = ("mobile", "mean_end", "padded_pool", "shuffle", "block")
CONVOLUTIONAL = ("mobile", "mean_end", "padded_pool", "shuffle")


@pytest.mark.parametrize("name", NAMES)
def test_a_lifted_file_computes_what_pytorch_computed(name: str) -> None:
    with np.load(FILES / f"{name}.npz") as known:
        x, expected = known["x"], known["y"]
    (made,) = infer(lift(FILES / f"{name}.tflite").model, [x])
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("name", "rewrites"), [("mobile", []), ("mean_end", ["unturned-means"])])
def test_networks_of_depthwise_and_1x1_convolutions_run_sparsely(
    name: str, rewrites: list[str]
) -> None:
    draft = tflite_draft.load(FILES / f"{name}.tflite")
    found = rewrite(draft, RUNTIMES, assume_pruned=True)
    assert found.on
    assert [each.name for each in found.applied] == rewrites


def weights_in(path: Path) -> int:
    """How many floats a file holds in kernels and biases."""
    return sum(
        int(np.prod(tensor.shape))
        for tensor in read(path).tensors
        if tensor.constant and tensor.dtype == "float32" and tensor.shape
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_half_of_all_channels_are_removed_from_the_file(tmp_path: Path, name: str) -> None:
    """`write_back` runs the smaller file in both runtimes beside the smaller model."""
    lifted = lift(FILES / f"{name}.tflite")
    mapped = map_layers(lifted.model)
    traced = trace(mapped)
    kept = np.ones(traced.channels, bool)
    for group in find_groups(traced):
        if group.makers and not group.frozen:
            kept[group.channels[: len(group) // 2]] = False
    smaller = build_smaller(mapped, traced, kept).model
    write_back(lifted, smaller, tmp_path / "smaller.tflite")
    before, after = (weights_in(path) for path in (lifted.path, tmp_path / "smaller.tflite"))
    assert after < 0.6 * before
    assert after == smaller.count_params()
