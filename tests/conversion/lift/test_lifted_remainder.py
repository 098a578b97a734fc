"""A file that ends in operators which no runtime has is pruned in front of them."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from edgeprune.conversion.given import as_given
from edgeprune.conversion.lift.lifted import Unliftable, require_whole
from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.lift.write_back.write import with_weights_of, write_back
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.layers import Model, map_layers
from edgeprune.pruning.channels.group import find_groups
from edgeprune.pruning.channels.removal import build_smaller
from edgeprune.pruning.channels.trace import trace
from edgeprune.tflite.format.file import read
from edgeprune.tflite.remainder import without_remainder
from edgeprune.tflite.text.graph_text import graph_text
from tests.support.remainders import OPTIONS, decoded


def test_what_comes_before_an_ending_is_lifted(tmp_path: Path) -> None:
    path = decoded(tmp_path / "whole.tflite")
    lifted = lift(path)
    assert sorted(lifted.weights) == ["between", "features", "offsets", "scores"]
    assert lifted.given == path
    assert lifted.remainder is not None
    assert lifted.remainder.operators == (4, 5, 6)
    assert lifted.remainder.names == "Mystery"
    assert prove(lifted).difference < 1e-5
    assert "in front of what no runtime here has; that stays as it is: Mystery." in (
        as_given(path).untouched
    )
    with pytest.raises(Unliftable, match=r"whole\.tflite: .* operator 5 \(Mystery\): no runtime"):
        require_whole(lifted)


def test_the_front_is_gone_with_what_was_lifted(tmp_path: Path) -> None:
    lifted = lift(decoded(tmp_path / "whole.tflite"))
    place = lifted.path
    assert place.is_file()
    del lifted
    gc.collect()
    assert not place.parent.exists()


def halved(model: Model) -> Model:
    """The model with half of the channels removed that may go."""
    mapped = map_layers(model)
    traced = trace(mapped)
    kept = np.ones(traced.channels, bool)
    for group in find_groups(traced):
        if group.makers and not group.frozen:
            kept[group.channels[: len(group) // 2]] = False
    return build_smaller(mapped, traced, kept).model


def test_a_pruned_front_gets_its_ending_back(tmp_path: Path) -> None:
    path = decoded(tmp_path / "whole.tflite")
    lifted = lift(path)
    written = write_back(lifted, halved(lifted.model), tmp_path / "pruned.tflite").path
    before, after = read(path), read(written)
    assert after.signatures[0].outputs.keys() == before.signatures[0].outputs.keys()
    assert after.metadata == before.metadata
    (mystery,) = (each for each in after.operators if each.custom)
    assert mystery.custom_options is not None
    assert mystery.custom_options.tobytes() == OPTIONS
    assert [after.tensors[index].name for index in mystery.inputs] == ["scores", "offsets", "a"]
    assert [each.op for each in after.operators] == [each.op for each in before.operators]
    kernels = {tensor.name: tensor.shape for tensor in after.tensors}
    assert kernels["between/kernel"] == (8, 1, 1, 12)
    assert kernels["scores/kernel"] == (5, 1, 1, 8)
    with without_remainder(after) as runnable:
        assert [each.op for each in runnable.operators] == ["CONV_2D"] * 4


def test_a_file_whose_weights_stay_is_written_as_it_is(tmp_path: Path) -> None:
    path = decoded(tmp_path / "whole.tflite")
    lifted = lift(path)
    written = write_back(lifted, copy_model(lifted.model), tmp_path / "same.tflite").path
    assert written.read_bytes() == path.read_bytes()
    text = list(graph_text(with_weights_of(lifted, lifted.model).graph))
    assert text[1:] == list(graph_text(read(path)))[1:]
