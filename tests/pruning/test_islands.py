"""What lies before an island learns from what reaches it, since no gradient leads through."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from edgeprune.conversion.given import Given
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.walk import lift
from edgeprune.core.errors import ModelError
from edgeprune.core.pattern import Unstructured
from edgeprune.core.plan import Plan
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.islands import with_islands
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.finetune import distill_outputs
from edgeprune.pruning.training.distill import Distillation, Distilled
from edgeprune.pruning.training.settings import Training
from tests.support.islands import looping, two_parts
from tests.support.lift_cases import Array, values


@pytest.fixture
def lifted(tmp_path: Path) -> Lifted:
    return lift(two_parts(tmp_path / "two.tflite"))


def kernels(model: keras.Model) -> dict[str, Array]:
    names = ("first", "second", "third", "fourth")
    return {name: np.array(model.get_layer(name).kernel) for name in names}


def with_zeros(model: keras.Model) -> keras.Model:
    """A copy, half of whose weights are zero."""
    copy = copy_model(model)
    for name, kernel in kernels(copy).items():
        kept = np.abs(kernel) > np.median(np.abs(kernel))
        copy.get_layer(name).kernel.assign(kernel * kept)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_all_parts_train_with_the_teacher_and_without_it(lifted: Lifted, weight: float) -> None:
    student = with_zeros(lifted.model)
    trainee = Distilled(student, lifted.model, ("values",), Distillation(weight))
    trainee.compile("adam", keras.losses.MeanSquaredError())
    before = kernels(student)
    trainee.train_on_batch(values(8, 4, 4, 3), None if weight else values(8, 5))
    after = kernels(student)
    assert all(not np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_fine_tuning_brings_nearer_what_reaches_the_island(lifted: Lifted) -> None:
    student = with_zeros(lifted.model)
    x = values(256, 4, 4, 3)
    island = lifted.islands[0].layer

    def error() -> float:
        reaching = [
            keras.Model(model.input, model.get_layer(island).input)(x)
            for model in (lifted.model, student)
        ]
        return float(np.mean((reaching[0] - reaching[1]) ** 2))

    before = error()
    distill_outputs(map_layers(student), map_layers(lifted.model), [x])
    assert error() < 0.8 * before


def test_an_island_that_gives_nan_is_refused_by_the_layer_behind_it(tmp_path: Path) -> None:
    path = looping(tmp_path / "nan.tflite", op="LOG", below=1e30)
    given = Given("nan.tflite", (lifted := lift(path)).model, lifted)
    made = plan(given, "xnnpack-x86", sparsity=0.5, only="second", look_around=False)
    assert made.pruned
    with pytest.raises(ModelError, match="second: expected finite activations on the samples"):
        prune(given, made, values(64, 2, 2, 4))


def halved(lifted: Lifted) -> Plan:
    """A plan that makes half of the weights of every kernel zero."""
    plan = Plan.model_validate(
        {
            "device": "xnnpack-x86",
            "model": "two",
            "goal": "latency",
            "asked": 0.5,
            "layers": [
                {
                    "path": layer.path,
                    "kind": layer.kind,
                    "shape": layer.shape,
                    "pattern": str(Unstructured()),
                    "sparsity": 0.5,
                    "reason": "half",
                    "prunable": True,
                }
                for layer in describe_layers(map_layers(lifted.model))
                if layer.shape
            ],
        }
    )
    return with_islands(plan, lifted)


@pytest.mark.slow
@pytest.mark.parametrize("training", [None, Training(epochs=2, quantize_aware=False)])
def test_a_file_with_an_island_is_pruned_in_all_parts_and_the_island_is_as_it_was(
    lifted: Lifted, training: Training | None, tmp_path: Path
) -> None:
    x = values(160, 4, 4, 3)
    given = Given("two.tflite", lifted.model, lifted)
    pruned = prune(given, halved(lifted), x, training)
    pruned.save(tmp_path / "out.tflite")
    written = lift(tmp_path / "out.tflite")
    for name, kernel in kernels(written.model).items():
        assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.02), name
    islands = [each.model.get_layer(each.islands[0].layer).content for each in (lifted, written)]
    assert islands[0] == islands[1]
