"""Weights written back into files with quantized activations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.samples import samples_for
from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.lift.write_back.grid import Grid
from edgeprune.conversion.lift.write_back.stored import store_on
from edgeprune.conversion.lift.write_back.write import write_back
from edgeprune.core.errors import TfliteError
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.channels.plan_removal import remove_planned
from edgeprune.targets.host import HOST
from edgeprune.tflite.format.file import Graph, read
from tests.support.quantized_networks import Kind, quantized_net
from tests.support.runtimes import RUNTIMES

KINDS: list[Kind] = ["int8", "uint8"]


def changed(lifted: Lifted, **factors: float) -> Any:
    """A copy of a lifted model in which the kernels of some layers are multiplied."""
    model = copy_model(lifted.model)
    for name, factor in factors.items():
        kernel = model.get_layer(name).kernel
        kernel.assign(np.asarray(kernel) * np.float32(factor))
    return model


def named(graph: Graph, name: str) -> Any:
    return next(tensor for tensor in graph.tensors if tensor.name == name)


def integers(graph: Graph, name: str) -> Any:
    values = named(graph, name).values()
    assert values is not None
    return values.astype(int)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_as_it_was_gives_the_same_bytes(kind: Kind, tmp_path: Path) -> None:
    path = quantized_net(tmp_path / "m.tflite", kind)
    lifted = lift(path)
    made = write_back(lifted, copy_model(lifted.model), tmp_path / "out.tflite")
    assert made.path.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_become_the_zero_point_and_all_other_integers_stay(
    kind: Kind, tmp_path: Path
) -> None:
    lifted = lift(quantized_net(tmp_path / "m.tflite", kind))
    pruned = copy_model(lifted.model)
    kernel = pruned.get_layer("wide").kernel
    gone = np.random.default_rng(0).random(kernel.shape) < 0.5
    kernel.assign(np.where(gone, 0, np.asarray(kernel)))
    written = read(write_back(lifted, pruned, tmp_path / "out.tflite").path)
    before, after = integers(lifted.graph, "wide/w"), integers(written, "wide/w")
    zero = named(written, "wide/w").zero_points[0]
    lost = np.moveaxis(gone, 3, 0)
    assert (after[lost] == zero).all()
    np.testing.assert_array_equal(after[~lost], before[~lost])
    np.testing.assert_array_equal(
        named(written, "wide/w").scales, named(lifted.graph, "wide/w").scales
    )
    np.testing.assert_array_equal(integers(written, "wide/b"), integers(lifted.graph, "wide/b"))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_beyond_their_range_get_fresh_scales_and_the_bias_follows(
    kind: Kind, tmp_path: Path
) -> None:
    lifted = lift(quantized_net(tmp_path / "m.tflite", kind))
    written = read(write_back(lifted, changed(lifted, wide=3), tmp_path / "out.tflite").path)
    for graph in (lifted.graph, written):
        step = named(graph, "deep").scales[0]
        products = step * named(graph, "wide/w").scales
        np.testing.assert_allclose(named(graph, "wide/b").scales, products, rtol=1e-6)
    ratio = named(written, "wide/w").scales / named(lifted.graph, "wide/w").scales
    np.testing.assert_allclose(ratio, 3, rtol=0.02)
    old = integers(lifted.graph, "wide/b")
    np.testing.assert_allclose(integers(written, "wide/b"), old / 3, atol=2, rtol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_removed_channels_take_their_scales_and_biases_along(kind: Kind, tmp_path: Path) -> None:
    lifted = lift(quantized_net(tmp_path / "m.tflite", kind))
    made = plan(lifted.model, "xnnpack-x86", sparsity=0.5, only="wide|stem", look_around=False)
    pruned = remove_planned(map_layers(lifted.model), made).model
    written = read(write_back(lifted, pruned, tmp_path / "out.tflite").path)
    left = named(written, "wide").shape[3]
    assert left < 16
    assert named(written, "wide/b").shape == (left,)
    count = left if kind == "int8" else 1
    for name in ("wide/w", "wide/b"):
        assert named(written, name).scales.size == count
        assert set(named(written, name).scales) <= set(named(lifted.graph, name).scales)
    for name in ("wide/w", "deep/w", "scores/w"):
        assert set(integers(written, name).ravel()) <= set(integers(lifted.graph, name).ravel())
    x = samples_for(written)
    found = [HOST.run(written, x, runtime).outputs[0] for runtime in RUNTIMES]
    assert all(np.isfinite(each).all() and each.any() for each in found)


def test_a_wrong_scale_of_a_bias_is_noticed_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifted = lift(quantized_net(tmp_path / "m.tflite"))

    def wrong(grid: Grid, tensor: Any, values: Any) -> Any:
        """Integers of four times the scale that is written, of the bias alone."""
        if tensor.name != "wide/b":
            return store_on(grid, tensor, values)
        made = store_on(Grid(grid.scales * 4, grid.zeros, grid.axis), tensor, values)
        return replace(made, scales=made.scales / 4)

    monkeypatch.setattr("edgeprune.conversion.lift.write_back.scales.store_on", wrong)
    output = tmp_path / "out.tflite"
    with pytest.raises(TfliteError, match=r"CONV_2D \(operator 2, 'wide'\).*steps"):
        write_back(lifted, changed(lifted, wide=3), output)
    assert not output.exists()
