"""Training by a plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, InputError, ModelError, QualityWarning
from edgeprune.core.pattern import Block, NofM, Unstructured
from edgeprune.core.plan import Plan
from edgeprune.keras_model.interface import ends_in_softmax
from edgeprune.keras_model.sparsity import layer_sparsities, reached_sparsity
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import train_pruned
from edgeprune.pruning.training.callbacks import PruningSummaries
from edgeprune.pruning.training.distill import Distillation
from edgeprune.pruning.training.epoch_record import EpochRecord
from edgeprune.pruning.training.feed import MAX_SHIFT, flip_and_shift
from edgeprune.pruning.training.learning_rate import (
    LEARNING_RATE,
    compile_for_training,
    learning_rate_schedule,
    rate_share,
)
from edgeprune.pruning.training.schedule import ConstantSparsity, default_schedule
from edgeprune.pruning.training.settings import Training
from edgeprune.pruning.training.wrap import wrap
from edgeprune.pruning.training.wrapper import wrappers
from tests.pruning.training.test_wrapper import branches, planned

layers = keras.layers


def net(activation: str | None = None) -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(16, 1, name="conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, activation=activation, name="dense")(x))


def arrays(count: int = 64) -> tuple[Any, Any]:
    """Images whose brightest channel is their label."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, count)
    images = random.standard_normal((count, 8, 8, 4)).astype("float32")
    images[np.arange(count), :, :, labels] += 1
    return images, labels


X, Y = arrays()


def data() -> Data:
    return Data((X,), Y)


def rows(model: Any) -> Plan:
    return planned(model, conv=(Block(2, 1), 0.75), dense=(NofM(2, 4), 0.5))


def sparsities(model: Any) -> dict[str, float]:
    return {row.path: row.sparsity for row in layer_sparsities(model)}


@pytest.mark.slow
def test_training_ends_at_the_planned_sparsity_and_learns() -> None:
    model = net()
    before = model.get_weights()
    told: list[tuple[str, int, int]] = []
    trained = train_pruned(
        model,
        rows(model),
        data(),
        epochs=30,
        batch_size=24,
        learning_rate=0.02,
        progress=lambda *step: told.append(step),
    )
    assert sparsities(trained) == {"conv": 0.75, "dense": 0.5}
    assert not trained.compiled
    assert not wrappers(trained)
    correct = trained.predict(X, verbose=0).argmax(-1) == Y
    assert correct.mean() > 0.7  # one in four by chance
    steps = [step for step in told if step[0].startswith("training")]
    assert steps[0][0].startswith("training, epoch 1 of 30, loss ")
    assert steps[-1][0].startswith("training, epoch 30 of 30, loss 0.")
    assert [step[1:] for step in steps] == [(done + 1, 90) for done in range(90)]
    for received, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(received, expected)


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["none", "flip-shift"])
def test_the_same_seed_gives_the_same_model(augment: Any) -> None:
    model = net()
    runs = [
        train_pruned(model, rows(model), data(), epochs=2, batch_size=16, augment=augment, seed=s)
        for s in (1, 1, 2)
    ]
    first, again, other = [run.get_weights() for run in runs]
    for received, expected in zip(first, again, strict=True):
        np.testing.assert_array_equal(received, expected)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_logs_without_their_package_are_refused_before_any_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edgeprune.pruning.training.tensorboard.find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install tensorboard") as caught:
        Training(epochs=1, tensorboard=tmp_path)
    assert caught.value.exit_code == 2
    with pytest.raises(InputError, match="pip install tensorboard"):
        PruningSummaries(tmp_path)


@pytest.mark.slow
def test_without_labels_the_dense_model_is_followed(tmp_path: Path) -> None:
    model = net()
    told: list[str] = []
    records: list[EpochRecord] = []
    batches = tf.data.Dataset.from_tensor_slices(X).batch(16)
    with pytest.warns(QualityWarning, match="no labels"):
        trained = train_pruned(
            model,
            rows(model),
            Data((X,)),
            epochs=8,
            batch_size=16,
            learning_rate=0.02,
            tensorboard=tmp_path / "logs",
            tell_epoch=records.append,
            progress=lambda what, _, __: told.append(what),
        )
    losses = [float(what.rpartition(" ")[2]) for what in told if "loss" in what]
    assert losses[-1] < 0.7 * losses[0]
    assert sparsities(trained) == {"conv": 0.75, "dense": 0.5}
    written = {path.parent.name for path in (tmp_path / "logs").rglob("events*")}
    assert written == {"train", "pruning"}
    assert [record.epoch for record in records] == list(range(1, 9))
    assert records[-1].metrics["loss"] == pytest.approx(losses[-1], abs=1e-3)
    assert {mask.path: mask.sparsity for mask in records[-1].masks} == sparsities(trained)
    assert records[0].moved is not None
    assert records[-1].moved == 0.0
    trained = train_pruned(model, rows(model), batches, epochs=1, augment="flip-shift")
    assert sparsities(trained) == {"conv": 0.75, "dense": 0.5}


class _Sequence(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        part = slice(16 * index, 16 * index + 16)
        return X[part], Y[part]


def generator() -> Iterator[Any]:
    while True:
        yield X[:16], Y[:16]


@pytest.mark.slow
def test_ready_made_batches_train_as_well() -> None:
    model = net()
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    cases: list[tuple[Any, dict[str, Any]]] = [
        (dataset, {"augment": "flip-shift"}),
        (dataset.repeat(), {"steps_per_epoch": 3}),
        (_Sequence(), {}),
        (generator(), {"steps_per_epoch": 3}),
    ]
    for batches, options in cases:
        trained = train_pruned(model, rows(model), batches, epochs=1, **options)
        assert sparsities(trained) == {"conv": 0.75, "dense": 0.5}


@pytest.mark.slow
def test_a_model_is_trained_as_it_is_compiled() -> None:
    model = net("softmax")
    model.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy", metrics=["accuracy"])
    labels = np.eye(4, dtype="float32")[Y]
    trained = train_pruned(model, rows(model), Data((X,), labels), epochs=1)
    assert trained.compiled
    assert type(trained.optimizer) is keras.optimizers.SGD
    assert float(trained.optimizer.learning_rate) == 0.5
    assert trained.loss == "categorical_crossentropy"


@pytest.mark.slow
def test_a_loss_of_ones_own_is_kept() -> None:
    def my_loss(y: Any, predicted: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(y, predicted, from_logits=True)

    def my_metric(y: Any, predicted: Any) -> Any:
        return keras.metrics.sparse_categorical_accuracy(y, predicted)

    model = net()
    model.compile("adam", my_loss, metrics=[my_metric])
    trained = train_pruned(model, rows(model), data(), epochs=1)
    assert trained.loss is my_loss


@pytest.mark.slow
def test_models_of_every_kind_train() -> None:
    random = np.random.default_rng(0)
    one, two = keras.Input((8,), name="one"), keras.Input((4,), name="two")
    joined = layers.Concatenate()([layers.Dense(8, name="a")(one), two])
    several = keras.Model([one, two], layers.Dense(4, name="b")(joined))
    x = (random.random((32, 8), np.float32), random.random((32, 4), np.float32))
    y = random.integers(0, 4, 32)
    made = plan(several, "ethos-u55", sparsity=0.5)
    trained = train_pruned(several, made, Data(x, y), epochs=1)
    assert reached_sparsity(trained, made) == 0.5
    subclassed = branches()
    made = planned(subclassed, hidden0=(Unstructured(), 0.5))
    trained = train_pruned(subclassed, made, Data(x[:1], y), epochs=1)
    assert type(trained) is type(subclassed)
    assert sparsities(trained)["hidden0"] == 0.5


@pytest.mark.slow
def test_a_plan_that_prunes_nothing_trains_all_the_same() -> None:
    model = net()
    trained = train_pruned(model, planned(model, conv=(None, 0.0)), data(), epochs=1)
    assert sparsities(trained) == {"conv": 0.0, "dense": 0.0}


@pytest.mark.slow
def test_training_that_diverges_is_an_error() -> None:
    model = net()
    first = ConstantSparsity(0.5, 0, 0)
    with pytest.raises(ModelError, match="training diverged. Give a lower learning rate"):
        train_pruned(model, rows(model), data(), epochs=3, learning_rate=1e38, schedule=first)


@pytest.mark.slow
def test_data_that_runs_out_is_an_error() -> None:
    model = net()
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    with (
        pytest.warns(UserWarning, match="ran out of data"),
        pytest.raises(DataError, match=r"ran out after 4 of 20 batches, .* \(step 13\)"),
    ):
        train_pruned(model, rows(model), batches, epochs=1, steps_per_epoch=20)


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        (Data((X,)), {"distillation": Distillation(0)}, DataError, "needs labels or a teacher"),
        (Data((X,), Y + 1), {}, DataError, "from 0 to 3 .* values from 1 to 4"),
        (Data((X,), Y + 0.5), {}, DataError, "one whole number"),
        (Data((X,), np.eye(4)[Y]), {}, DataError, r"shape \[64, 4\]"),
        (generator(), {}, DataError, "generator has no length. Give `steps_per_epoch`"),
        (
            generator(),
            {"steps_per_epoch": 2, "augment": "flip-shift"},
            DataError,
            "arrays or a tf.data.Dataset. Received: a generator",
        ),
        (data(), {"epochs": 0}, InputError, "`epochs`"),
        (data(), {"batch_size": 0}, InputError, "`batch_size`"),
        (data(), {"learning_rate": -1.0}, InputError, "`learning_rate`"),
        (data(), {"augment": "mixup"}, InputError, "'none' or 'flip-shift'"),
    ],
)
def test_what_cannot_be_trained_on_is_said(
    given: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = net()
    with pytest.raises(error, match=message):
        train_pruned(model, rows(model), given, **{"epochs": 1, **options})


def test_only_images_are_flipped() -> None:
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="dense")])
    made = planned(model, dense=(Unstructured(), 0.5))
    flat = Data((np.zeros((8, 8), "float32"),), np.zeros(8, int))
    with pytest.raises(DataError, match=r"one input of images \[n, height, width, channels\]"):
        train_pruned(model, made, flat, epochs=1, augment="flip-shift")


def test_several_outputs_need_a_loss() -> None:
    inputs = keras.Input((8, 8, 4))
    pooled = layers.GlobalAveragePooling2D()(inputs)
    heads = [layers.Dense(4, name="a")(pooled), layers.Dense(4, name="b")(pooled)]
    model = keras.Model(inputs, heads)
    with pytest.raises(ModelError, match="2 outputs"):
        train_pruned(model, planned(model, a=(Unstructured(), 0.5)), data(), epochs=1)


def test_augmented_images_are_parts_of_the_image_or_its_mirror() -> None:
    images = np.arange(2 * 9 * 10 * 1, dtype="float32").reshape(2, 9, 10, 1)
    seen = set()
    for number in range(24):
        seed = tf.constant([number, 5], tf.int64)
        moved = np.asarray(flip_and_shift(images, seed))
        np.testing.assert_array_equal(moved, flip_and_shift(images, seed))
        assert moved.shape == images.shape
        for image, original in zip(moved, images, strict=True):
            sides = ((MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT), (0, 0))
            found = [
                (flip, top, left)
                for flip in (False, True)
                for top in range(2 * MAX_SHIFT + 1)
                for left in range(2 * MAX_SHIFT + 1)
                if np.array_equal(
                    np.pad(original[:, ::-1] if flip else original, sides, "symmetric")[
                        top : top + 9, left : left + 10
                    ],
                    image,
                )
            ]
            assert len(found) == 1
            seen.add(found[0])
    assert len(seen) > 30


def test_sparsity_and_learning_rate_rise_and_end_in_time() -> None:
    schedule = default_schedule(1000)
    assert (schedule.end_step, schedule.frequency) == (650, 13)
    assert default_schedule(1).end_step == 1
    rate = learning_rate_schedule(0.1, 1000)
    assert [round(float(rate(step)), 4) for step in (0, 50, 525, 1000)] == [
        0.01,
        0.1,
        0.0505,
        0.001,
    ]
    assert np.isfinite(float(learning_rate_schedule(0.1, 1)(0)))


@pytest.mark.slow
def test_the_learning_rate_is_the_models_own_or_a_share_of_its_highest() -> None:
    def peak(optimizer: Any, steps_before: int, asked: float | None = None) -> float:
        model = net()
        if optimizer is not None:
            model.compile(optimizer, "mse")
            model.optimizer.iterations.assign(steps_before)
        trainee = net()
        if optimizer is not None:
            trainee.compile(type(optimizer).from_config(optimizer.get_config()), "mse")
        compile_for_training(trainee, model, model, asked, 100, 0.25)
        rate = keras.optimizers.schedules.deserialize(
            trainee.optimizer.get_config()["learning_rate"]
        )
        return max(float(rate(step)) for step in range(100))

    used = keras.optimizers.schedules.CosineDecay(0.0, 50, warmup_target=0.4, warmup_steps=10)
    assert peak(None, 0) == pytest.approx(0.25 * LEARNING_RATE)
    assert peak(None, 0, 0.7) == pytest.approx(0.7)
    assert peak(keras.optimizers.SGD(0.5), 9) == pytest.approx(0.5)
    assert peak(keras.optimizers.SGD(used), 60) == pytest.approx(0.1, rel=0.02)
    assert peak(keras.optimizers.SGD(used), 0) == pytest.approx(0.4)
    assert [rate_share(sparsity) for sparsity in (0.0, 0.9, 0.95)] == pytest.approx([1 / 9, 1, 1])


def test_the_end_of_a_model_decides_how_its_outputs_are_read() -> None:
    assert not ends_in_softmax(net())
    assert ends_in_softmax(net("softmax"))
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(4), layers.Softmax()])
    inputs = keras.Input((8,))
    assert ends_in_softmax(inner)
    assert ends_in_softmax(keras.Model(inputs, inner(inputs)))
    assert ends_in_softmax(keras.Model(inputs, keras.ops.softmax(inputs)))
    assert not ends_in_softmax(branches())


def test_a_schedule_of_ones_own_is_scaled_to_each_layer() -> None:
    model = net()
    wrapped = wrap(model, rows(model), ConstantSparsity(0.9, 3))
    assert [rule.schedule for w in wrappers(wrapped) for rule in w.rules] == [
        ConstantSparsity(0.75, 3),
        ConstantSparsity(0.5, 3),
    ]
