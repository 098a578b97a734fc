"""Channels that pass through a window over earlier runs go there too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.lift.write_back.write import write_back
from edgeprune.keras_model.layers import map_layers
from edgeprune.pruning.channels.removal import build_smaller
from edgeprune.pruning.channels.trace import trace
from edgeprune.tflite.format.file import read
from tests.support.lift_cases import values
from tests.support.streams import LENGTH, real_stream


def test_a_window_loses_the_channels_of_what_is_new_in_it(tmp_path: Path) -> None:
    lifted = lift(real_stream(tmp_path / "stream.tflite"))
    assert prove(lifted).difference < 1e-6
    mapped = map_layers(lifted.model)
    traced = trace(mapped)
    kept = np.ones(traced.channels, bool)
    kept[traced.matrices[0].matrix.outputs[1:3]] = False
    smaller = build_smaller(mapped, traced, kept).model
    path = write_back(lifted, smaller, tmp_path / "smaller.tflite").path
    again = lift(path)
    assert prove(again).difference < 1e-6
    shapes = {tensor.name: tensor.shape for tensor in read(path).tensors}
    assert (shapes["read"], shapes["end"]) == ((1, LENGTH, 2), (1, LENGTH, 2))
    first = read(path).subgraphs[1].tensors[0].values()
    assert first is not None
    np.testing.assert_array_equal(first, values(1, LENGTH, 4)[..., [0, 3]])
