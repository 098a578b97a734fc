"""Scripts for TensorFlow Model Optimization run after changing their import."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune import tfmot
from edgeprune.core.errors import ModelError
from edgeprune.keras_model.sparsity import layer_sparsities
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.training import schedule
from edgeprune.pruning.training.wrapper import PruneLowMagnitude

NAMES = {
    "ConstantSparsity",
    "LinearDecay",
    "PruneForLatencyOnXNNPack",
    "PolynomialDecay",
    "PruningSchedule",
    "PruningSummaries",
    "UpdatePruningStep",
    "prune_low_magnitude",
    "prune_scope",
    "strip_pruning",
}


@pytest.mark.slow
def test_the_classic_script_runs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    train_images = random.random((1000, 28, 28, 1), np.float32)
    train_labels = random.integers(0, 10, 1000)
    model = keras.Sequential(
        [
            keras.layers.InputLayer(shape=(28, 28, 1)),
            keras.layers.Conv2D(filters=12, kernel_size=(3, 3), activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    pruning_params = {
        "pruning_schedule": tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=0.50, final_sparsity=0.80, begin_step=0, end_step=1000
        )
    }
    model_for_pruning = tfmot.sparsity.keras.prune_low_magnitude(model, **pruning_params)
    model_for_pruning.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    callbacks = [
        tfmot.sparsity.keras.UpdatePruningStep(),
        tfmot.sparsity.keras.PruningSummaries(log_dir=str(tmp_path / "logs")),
    ]
    model_for_pruning.fit(
        train_images, train_labels, batch_size=10, epochs=10, callbacks=callbacks, verbose=0
    )
    model_for_export = tfmot.sparsity.keras.strip_pruning(model_for_pruning)
    keras.models.save_model(model_for_export, tmp_path / "model.keras")

    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    rows = layer_sparsities(loaded)
    assert [row.weights for row in rows] == [108, 81120]
    assert all(row.sparsity == pytest.approx(0.8, abs=0.01) for row in rows)


def test_every_name_is_there() -> None:
    assert set(vars(tfmot.sparsity.keras)) == NAMES


def test_the_page_for_users_of_tfmot_explains_every_name() -> None:
    page = (Path(__file__).parents[1] / "docs" / "tfmot.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == NAMES
    assert tfmot.sparsity.keras.PruningSchedule is schedule.Schedule


def test_layers_are_wrapped_one_by_one_as_its_guide_does() -> None:
    prune = tfmot.sparsity.keras.prune_low_magnitude
    end = {"pruning_schedule": tfmot.sparsity.keras.ConstantSparsity(0.5, 0)}

    def apply_pruning_to_dense(layer: Any) -> Any:
        return prune(layer, **end) if isinstance(layer, keras.layers.Dense) else layer

    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(4), keras.layers.ReLU(), keras.layers.Dense(2)]
    )
    wrapped = keras.models.clone_model(model, clone_function=apply_pruning_to_dense)
    assert [type(layer) for layer in wrapped.layers] == [
        PruneLowMagnitude,
        keras.layers.ReLU,
        PruneLowMagnitude,
    ]


def mobile(last: Any) -> Any:
    """A network that XNNPACK runs sparsely on ARM64, unless its last layers are others."""
    layers = keras.layers
    x = image = keras.Input((32, 32, 3))
    x = layers.ZeroPadding2D(1)(x)
    x = layers.ReLU()(layers.Conv2D(32, 3, strides=2, name="stem")(x))
    for number in range(3):
        x = layers.ReLU()(layers.DepthwiseConv2D(3, padding="same", name=f"depth{number}")(x))
        x = layers.ReLU()(layers.Conv2D(128, 1, name=f"point{number}")(x))
    x = layers.GlobalAveragePooling2D(keepdims=True)(last(x))
    return keras.Model(image, layers.Dense(10, name="head")(layers.Flatten()(x)))


@pytest.mark.slow
def test_the_policy_for_xnnpack_prunes_what_a_plan_for_arm64_prunes() -> None:
    policy = tfmot.sparsity.keras.PruneForLatencyOnXNNPack()
    model = mobile(lambda x: x)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_policy=policy)
    names = {w.layer.name for w in wrapped.layers if isinstance(w, PruneLowMagnitude)}
    assert names == {row.path for row in plan(model, "xnnpack-arm64").pruned}
    assert {"point1", "point2"} <= names
    assert not names & {"stem", "depth0", "depth1", "depth2"}
    with pytest.raises(ModelError, match="sparse kernels"):
        tfmot.sparsity.keras.prune_low_magnitude(
            mobile(keras.layers.Softmax(1)),
            pruning_policy=tfmot.sparsity.keras.PruneForLatencyOnXNNPack(),
        )


def test_the_policy_allows_convolutions_of_one_pixel_outside_a_model() -> None:
    allow = tfmot.sparsity.keras.PruneForLatencyOnXNNPack().allow_pruning
    layers = keras.layers
    assert allow(layers.Conv2D(8, 1))
    assert not any(map(allow, (layers.Conv2D(8, 3), layers.DepthwiseConv2D(1), layers.Dense(4))))


def test_a_saved_model_loads_in_its_scope_and_without(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, block_size=(2, 1))
    wrapped.save(tmp_path / "wrapped.keras")
    with tfmot.sparsity.keras.prune_scope():
        inside = keras.models.load_model(tmp_path / "wrapped.keras")
    outside = keras.models.load_model(tmp_path / "wrapped.keras")
    for loaded in (inside, outside):
        assert loaded.layers[0].rules == wrapped.layers[0].rules
        assert type(loaded.layers[0]) is PruneLowMagnitude
