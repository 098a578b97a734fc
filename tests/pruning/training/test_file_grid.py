"""Training of quantized files: the forward pass rounds as the file does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.conversion.lift.walk import lift
from edgeprune.keras_model.interface import infer
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.training.quantized.file_grid import grid_of
from edgeprune.pruning.training.quantized.model import QuantizedModel
from edgeprune.pruning.training.settings import Training
from edgeprune.targets.host import HOST
from edgeprune.tflite.format.file import read
from tests.support.lift_networks import residual
from tests.support.quantized_networks import Kind, quantized_net

X = np.random.default_rng(0).uniform(-1, 1, (64, 8, 8, 3)).astype(np.float32)


def test_what_a_file_rounds_spans_all_that_its_tensors_hold(tmp_path: Path) -> None:
    lifted = lift(quantized_net(tmp_path / "m.tflite"))
    grid = grid_of(lifted)
    assert grid is not None
    points, spans = grid.points(lifted.model)
    assert len(points) == len(spans) == len({point.place for point in points})
    assert not any(point.watched for point in points)
    output = lifted.graph.tensors[lifted.graph.outputs[0]]
    step, zero = output.scales[0], output.zero_points[0]
    widest = [(-128 - zero) * step, (127 - zero) * step]
    assert any(np.allclose(span, widest) for span in spans)


def test_a_float_file_has_no_grid(tmp_path: Path) -> None:
    assert grid_of(lift(residual(tmp_path / "m.tflite"))) is None
    assert grid_of(None) is None


@pytest.mark.slow
def test_the_forward_pass_of_training_is_that_of_the_int8_file(tmp_path: Path) -> None:
    lifted = lift(quantized_net(tmp_path / "m.tflite"))
    grid = grid_of(lifted)
    assert grid is not None
    rounded = QuantizedModel(
        lifted.model, *grid.points(lifted.model), per_channel_dense=grid.per_channel_dense
    )
    wanted = HOST.run(lifted.graph, [X], "LiteRT").outputs[0]
    step = float(lifted.graph.tensors[lifted.graph.outputs[0]].scales[0])
    apart = [
        np.abs(np.asarray(infer(model, [X])[0]).reshape(wanted.shape) - wanted).mean() / step
        for model in (rounded, lifted.model)
    ]
    assert apart[0] < 0.1
    assert apart[0] < 0.5 * apart[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_a_quantized_file_is_trained_on_its_own_scales(kind: Kind, tmp_path: Path) -> None:
    path = quantized_net(tmp_path / "m.tflite", kind, width=64)
    made = plan(path, "android-phone", sparsity=0.3, look_around=False)
    assert made.pruned
    out = prune(path, made, X, Training(epochs=1, batch_size=16)).save(tmp_path / "out.tflite").path
    before, after = read(path), read(out)
    kept = {t.name: t for t in before.tensors if not t.constant and t.scales.size}
    assert kept
    for tensor in after.tensors:
        if tensor.name in kept:
            np.testing.assert_array_equal(tensor.scales, kept[tensor.name].scales)
            assert tensor.dtype == kept[tensor.name].dtype == kind
    assert out.stat().st_size < path.stat().st_size
    outputs = HOST.run(after, [X], "LiteRT").outputs[0]
    assert np.isfinite(outputs).all()
