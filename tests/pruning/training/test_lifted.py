"""Training of what is lifted from a .tflite file, and what is written back of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.conversion.given import PrunedFile, as_given
from edgeprune.conversion.int8.ranges import Range
from edgeprune.conversion.manifest import sha256_of
from edgeprune.conversion.trained_ranges import (
    attach_ranges,
    given_ranges,
    keep_ranges,
    load_ranges,
    ranges_of,
    read_ranges,
)
from edgeprune.core.data import Data
from edgeprune.core.errors import DataError, TfliteError
from edgeprune.core.plan import Plan
from edgeprune.keras_model.copies import copy_layer, copy_model, rebuild, rewire
from edgeprune.keras_model.interface import output_names
from edgeprune.keras_model.ports import ports_of
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.training.distill import Distillation
from edgeprune.pruning.training.losses import replacing_loss
from edgeprune.pruning.training.settings import Training
from edgeprune.tflite.format.file import read
from tests.support.lift_cases import single
from tests.support.lift_networks import residual
from tests.support.quantized_networks import quantized_net
from tests.support.tflite_builder import Net

X = np.random.default_rng(0).uniform(-1, 1, (64, 8, 8, 3)).astype(np.float32)


class _Stop(keras.callbacks.Callback):
    """Interrupts training before an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        if epoch == self.epoch:
            raise KeyboardInterrupt


def weights(path: Path) -> dict[str, Any]:
    """The float constants of a file by their names."""
    floats = (part for part in read(path).tensors if part.constant and part.dtype == "float32")
    return {part.name: part.values() for part in floats}


def whole_and_resumed(path: Path, made: Plan, **how: Any) -> tuple[Path, Path]:
    """What three epochs write beside a file without a stop, and stopped after two and resumed."""

    def trained(name: str, **more: Any) -> Path:
        output = path.with_name(f"{name}.tflite")
        prune(path, made, X, Training(epochs=3, **how, **more)).save(output)
        return output

    kept = path.with_name("state")
    whole = trained("whole")
    with pytest.raises(KeyboardInterrupt):
        trained("stopped", checkpoint=kept, callbacks=[_Stop(2)])
    assert not path.with_name("stopped.tflite").exists()
    return whole, trained("resumed", checkpoint=kept, resume=True)


def test_a_file_with_a_fixed_batch_is_not_computed_with_on_samples(tmp_path: Path) -> None:
    given = as_given(single(tmp_path / "four.tflite", "RELU6", [(4, 5)], [(4, 5)]))
    with pytest.raises(TfliteError, match=r"four\.tflite.*an input \[4, 5\].*a batch of 1"):
        given.require_open_batch()
    with pytest.raises(TfliteError, match=r"four\.tflite.*a batch of 1"):
        plan(given, "xnnpack-x86", x=np.zeros((8, 5), np.float32))
    as_given(single(tmp_path / "one.tflite", "RELU6", [(1, 5)], [(1, 5)])).require_open_batch()


def test_labels_of_several_outputs_have_the_names_of_the_signature(tmp_path: Path) -> None:
    net = Net()
    x, first, second = (net.tensor(name, (1, 5)) for name in ("x", "a", "b"))
    net.operator("RELU6", [x], [first])
    net.operator("RELU", [x], [second])
    path = net.save(tmp_path / "two.tflite", [x], [first, second])
    names = tuple(read(path).signatures[0].outputs)
    model = as_given(path).model
    assert output_names(model) == ports_of(model).outputs == names
    made = [
        copy_model(model),
        rebuild(model, copy_layer),
        rewire(model, copy_layer, lambda layer, *given, **more: layer(*given, **more)),
    ]
    assert [output_names(copy) for copy in made] == [names] * 3


@pytest.mark.parametrize(
    ("op", "expected"),
    [("SOFTMAX", {"from_logits": False}), ("RELU", {"from_logits": True})],
)
def test_the_default_loss_of_a_file_takes_what_its_last_operator_gives(
    op: str, expected: dict[str, bool], tmp_path: Path
) -> None:
    model = as_given(single(tmp_path / "m.tflite", op, [(1, 5)], [(1, 5)])).model
    loss = replacing_loss(model, Data((np.zeros((4, 5), np.float32),), np.arange(4)), None)
    assert isinstance(loss, keras.losses.SparseCategoricalCrossentropy)
    assert {"from_logits": loss.get_config()["from_logits"]} == expected


def test_one_sigmoid_of_a_file_is_trained_on_labels_of_0_and_1_by_binary_entropy(
    tmp_path: Path,
) -> None:
    model = as_given(single(tmp_path / "m.tflite", "LOGISTIC", [(1, 1)], [(1, 1)])).model
    labels = np.array([0, 1, 1, 0])
    loss = replacing_loss(model, Data((np.zeros((4, 1), np.float32),), labels), None)
    assert isinstance(loss, keras.losses.BinaryCrossentropy)
    assert not loss.get_config()["from_logits"]


def test_ranges_of_a_file_belong_to_its_bytes_and_not_to_its_name(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite")
    model = as_given(path).model
    attach_ranges(model, {"a": Range(-1.0, 2.0)}, {})
    keep_ranges(model, path)
    beside = read_ranges(tmp_path / "m.ranges.json")
    assert beside.fit(sha256_of(None, path))
    for suffix in (".tflite", ".ranges.json"):
        (tmp_path / f"m{suffix}").rename(tmp_path / f"other{suffix}")
    renamed = as_given(tmp_path / "other.tflite")
    load_ranges(renamed.model, tmp_path / "other.tflite")
    found = given_ranges(renamed.model)
    assert found is not None
    assert found.fit(renamed.sha256)
    assert renamed.model.name == model.name


@pytest.mark.slow
def test_a_resumed_training_of_a_file_writes_what_it_would_have_without_a_stop(
    tmp_path: Path,
) -> None:
    path = residual(tmp_path / "m.tflite")
    made = plan(path, "xnnpack-x86", only="narrow|fc1", look_around=False)

    whole, resumed = whole_and_resumed(path, made, batch_size=16)
    expected, received = weights(whole), weights(resumed)
    assert len(expected) >= 10
    for name, values in expected.items():
        np.testing.assert_allclose(received[name], values, atol=1e-6)
    assert np.abs(expected["stem/w"] - weights(path)["stem/w"]).max() > 1e-3


@pytest.mark.slow
def test_a_resumed_training_of_a_quantized_file_writes_the_same_bytes(tmp_path: Path) -> None:
    path = quantized_net(tmp_path / "m.tflite", width=64)
    made = plan(path, "cortex-m-tflm", sparsity=0.5, look_around=False)

    whole, resumed = whole_and_resumed(path, made, batch_size=32, patience=3, validation=0.25)
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_each_output_of_a_file_learns_by_the_loss_of_its_name(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="x")
    outputs = [keras.layers.Dense(3, name="kind"), keras.layers.Dense(1, name="size")]
    model = keras.Model(inputs, [layer(inputs) for layer in outputs])
    path = export(model, "xnnpack-x86", tmp_path / "two.tflite").artifact.path
    x = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    y = {"y_kind": x[:, :3].argmax(1), "y_size": 2 * x[:, 5]}
    losses = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    made = plan(path, "arm-neon-int8", look_around=False)
    how = Training(
        epochs=30,
        batch_size=16,
        learning_rate=0.05,
        distillation=Distillation(0.0),
        loss=losses,
        quantize_aware=True,
        monitor="size_loss",
    )
    out = prune(path, made, {"x": x, **y}, how).save(tmp_path / "out.tflite").path
    kind, size = (as_given(out).model.predict(x, verbose=0)[place] for place in (0, 1))
    assert np.mean(kind.argmax(1) == y["y_kind"]) > 0.9
    assert np.mean((size[:, 0] - y["y_size"]) ** 2) < 0.05 * np.var(y["y_size"])


@pytest.mark.slow
def test_a_float_file_trained_for_int8_is_exported_by_the_ranges_of_training(
    tmp_path: Path,
) -> None:
    path = residual(tmp_path / "m.tflite")
    made = plan(path, "arm-neon-int8", sparsity=0.5, only="narrow|fc1", look_around=False)
    pruned = prune(path, made, X, Training(epochs=1, batch_size=16, quantize_aware=True))
    assert isinstance(pruned, PrunedFile)
    assert ranges_of(pruned.model) is not None
    in_memory = export(pruned, "arm-neon-int8", tmp_path / "memory.tflite", plan=made)

    saved = pruned.save(tmp_path / "p.tflite").path
    exported = export(saved, "arm-neon-int8", tmp_path / "int8.tflite", plan=made)
    manifest = json.loads((tmp_path / "int8.manifest.json").read_text(encoding="utf-8"))
    assert manifest["ranges_sha256"] == read_ranges(tmp_path / "p.ranges.json").sha256
    scales = [tensor.scales for tensor in read(exported.artifact.path).tensors]
    for one, other in zip(scales, read(in_memory.artifact.path).tensors, strict=True):
        np.testing.assert_array_equal(one, other.scales)

    saved.write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="other weights than the model has"):
        export(saved, "arm-neon-int8", tmp_path / "other.tflite", plan=made)
