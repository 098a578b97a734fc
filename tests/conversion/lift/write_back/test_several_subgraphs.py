"""A file of several subgraphs: the main one is lifted and pruned, all else comes out as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.conversion.given import as_given
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.lift.write_back.write import write_back
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.channels.plan_removal import remove_planned
from edgeprune.tflite.class_names import read_class_names
from edgeprune.tflite.format.file import read
from edgeprune.tflite.text.graph_text import graph_text
from tests.support.several_subgraphs import LABELS, branching
from tests.support.tflite_builder import dense_net


def parts(path: Path) -> list[list[str]]:
    """What precedes the subgraphs in the text of a file, then each of them."""
    found: list[list[str]] = [[]]
    for line in graph_text(read(path)):
        found += [] if line else [[]]
        found[-1].append(line)
    return found


def zeroed(lifted: Lifted) -> Any:
    model = copy_model(lifted.model)
    for layer in model.layers:
        values = [np.where(np.abs(value) < 0.5, 0, value) for value in layer.get_weights()]
        layer.set_weights(values)
    return model


def narrowed(lifted: Lifted) -> Any:
    made = plan(lifted.model, "android-phone", sparsity=0.5, look_around=False)
    return remove_planned(map_layers(lifted.model), made).model


@pytest.mark.parametrize("prune", [zeroed, pytest.param(narrowed, marks=pytest.mark.slow)])
def test_pruning_changes_the_main_subgraph_and_nothing_else(
    tmp_path: Path, prune: Callable[[Lifted], Any]
) -> None:
    """The other one shares the buffers of a layer with it, and keeps their values."""
    source, output = branching(tmp_path / "m.tflite"), tmp_path / "out.tflite"
    lifted = lift(source)
    write_back(lifted, prune(lifted), output)
    before, after = parts(source), parts(output)
    assert (before[0], before[2]) == (after[0], after[2])
    assert before[1][:3] == after[1][:3]
    assert before[1][3:] != after[1][3:]
    assert read_class_names(output) == tuple(LABELS.split())


def test_the_model_has_the_names_of_the_signature_that_is_of_the_main_subgraph(
    tmp_path: Path,
) -> None:
    lifted = lift(branching(tmp_path / "m.tflite"))
    assert [tensor.name for tensor in lifted.model.inputs] == ["image"]


def test_a_file_says_which_subgraphs_pruning_leaves_alone(tmp_path: Path) -> None:
    path = branching(tmp_path / "m.tflite")
    said = f"{path} is pruned in its main subgraph alone; untouched beside it: 'embed'."
    assert as_given(path).untouched == said
    weights = np.ones((4, 4), np.float32)
    assert as_given(dense_net(tmp_path / "one.tflite", weights)).untouched == ""
