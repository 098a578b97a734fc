"""Zeros survive saving and loading, folding of batch normalisation, quantisation and rewriting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.conversion.convert import check_zeros, export
from edgeprune.core.pattern import Channels
from edgeprune.keras_model.files import load_model, save_model
from edgeprune.keras_model.sparsity import layer_sparsities
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.folder import profile_names
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.tflite.format import file as tflite_file
from tests.support.architectures import build, samples

CASES = [
    (name, goal)
    for name in profile_names()
    for strategy in load_profile(name).strategies
    for goal in strategy.goals[:1]
]


@pytest.mark.slow
@pytest.mark.parametrize(("device", "goal"), CASES)
def test_every_zero_of_the_pruned_model_is_a_zero_of_the_exported_file(
    device: str, goal: str, tmp_path: Path
) -> None:
    """A network in which batch normalisation follows every convolution, and is folded into it."""
    model = build("mobilenet_v2")
    x = samples(model, 40)
    made = plan(model, device, goal=goal)  # type: ignore[arg-type]  # one that the profile has
    save_model(prune_one_shot(model, made, x), tmp_path / "pruned.keras")
    pruned = load_model(tmp_path / "pruned.keras")
    found = {row.path: row.sparsity for row in layer_sparsities(pruned)}
    for row in made.pruned:
        if not isinstance(row.pattern, Channels):
            assert found[row.path] == pytest.approx(row.sparsity, abs=0.02)
    exported = export(pruned, device, tmp_path / "pruned.tflite", x=x, plan=made)
    graph = tflite_file.read(exported.artifact.path)
    # Looks up each kernel that has zeros; it would tell those that it did not find.
    assert check_zeros(pruned, graph) == ()
    for values in (tensor.values() for tensor in graph.tensors if len(tensor.shape) > 1):
        assert values is None or np.isfinite(values.astype(np.float32)).all()
