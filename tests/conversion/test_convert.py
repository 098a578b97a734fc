from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.conversion import from_keras
from edgeprune.conversion.convert import check_zeros, export
from edgeprune.core.errors import CheckError, DataError, ModelError, OutputError
from edgeprune.keras_model.interface import predict
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.targets.host import HOST
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.signature import input_ports, output_ports
from tests.support.architectures import build, samples
from tests.support.profiles import profile
from tests.support.runtimes import RUNTIMES

L = keras.layers


@pytest.mark.parametrize(
    ("device", "numerics", "weights"),
    [("xnnpack-arm64", None, "float32"), ("xnnpack-arm64", "float16", "float16")]
    + [("edge-tpu", None, "int8")],
)
@pytest.mark.slow
def test_a_file_has_the_number_format_of_the_device(
    tmp_path: Path, device: str, numerics: Any, weights: str
) -> None:
    model = build("cnn")
    exported = export(model, device, tmp_path / "m.tflite", x=samples(model, 8), numerics=numerics)
    graph = tflite_file.read(exported.artifact.path)
    kernels = [t for t in graph.tensors if t.constant and len(t.shape) == 4]
    assert {tensor.dtype for tensor in kernels} == {weights}
    ends = {graph.tensors[index].dtype for index in (*graph.inputs, *graph.outputs)}
    assert ends == {"int8" if weights == "int8" else "float32"}
    assert input_ports(graph)[0].shape == (1, 16, 16, 3)
    assert exported.artifact.size_bytes == (tmp_path / "m.tflite").stat().st_size


@pytest.mark.slow
def test_inputs_and_outputs_keep_the_names_of_the_model(tmp_path: Path) -> None:
    export(build("every_kind"), "xnnpack-arm64", tmp_path / "m.tflite")
    graph = tflite_file.read(tmp_path / "m.tflite")
    assert {port.name: port.shape for port in input_ports(graph)} == {
        "image": (1, 16, 16, 8),
        "extra_numbers": (1, 12),
    }
    assert {port.name for port in output_ports(graph)} == {"scores", "heat"}


@pytest.mark.slow
def test_int8_calibrates_every_input_by_its_name(tmp_path: Path) -> None:
    """The two inputs differ a thousandfold; swapped, their scales would be swapped as well."""
    model = build("every_kind")
    image, extra = samples(model, 16)
    export(model, "edge-tpu", tmp_path / "m.tflite", x=[image, extra * 1000])
    graph = tflite_file.read(tmp_path / "m.tflite")
    scales = {p.name: float(graph.tensors[p.tensor].scales[0]) for p in input_ports(graph)}
    assert scales["extra_numbers"] > 100 * scales["image"]


def by_table(ids: Any) -> Any:
    return L.Embedding(200, 8)(ids)


def by_take(ids: Any) -> Any:
    table = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)
    return keras.ops.take(table, keras.ops.cast(ids, "int32"), axis=0)


def by_one_hot(ids: Any) -> Any:
    return keras.ops.one_hot(keras.ops.cast(ids, "int32"), 200)


@pytest.mark.slow
@pytest.mark.parametrize("first", [by_table, by_take, by_one_hot])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_ids_choose_the_same_rows_in_int8(tmp_path: Path, first: Any, dtype: str) -> None:
    keras.utils.set_random_seed(0)
    ids = keras.Input((20,), dtype=dtype, name="ids")
    model = keras.Model(ids, L.Dense(4)(L.GlobalMaxPooling1D()(first(ids))))
    x = np.random.default_rng(0).integers(0, 200, (64, 20)).astype(dtype)
    profile = load_profile("arm-neon-int8")
    exported = export(model, profile, tmp_path / "m.tflite", x=[x])
    graph = tflite_file.read(exported.artifact.path)
    assert [port.dtype for port in input_ports(graph)] == ["int32"]
    found = HOST.run(graph, [x], HOST.runtimes(profile)[0]).outputs[0]
    (wanted,) = predict(model, [x])
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


@pytest.mark.slow
def test_floats_that_int8_would_turn_into_other_rows_are_refused(tmp_path: Path) -> None:
    class Hidden(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return by_take(x)

    ids = keras.Input((20,), name="ids")
    pooled = L.GlobalMaxPooling1D()
    hidden = keras.Model(ids, L.Dense(4)(pooled(Hidden()(ids))))
    mixed = keras.Model(ids, L.Concatenate()([L.Dense(4)(pooled(by_table(ids))), L.Dense(4)(ids)]))
    x = np.random.default_rng(0).integers(0, 200, (8, 20)).astype(np.float32)
    for model in (hidden, mixed):
        with pytest.raises(ModelError, match="chooses rows of a table"):
            export(model, "arm-neon-int8", tmp_path / "m.tflite", x=[x])
        assert list(tmp_path.iterdir()) == []
        export(model, "xnnpack-x86", tmp_path / "float.tflite")
        (tmp_path / "float.tflite").unlink()
        (tmp_path / "float.manifest.json").unlink()


@pytest.mark.slow
def test_a_lost_zero_is_noticed(tmp_path: Path) -> None:
    model = build("cnn")
    pruned = prune_one_shot(model, plan(model, "ethos-u55"))
    export(pruned, "xnnpack-arm64", tmp_path / "m.tflite")
    graph = tflite_file.read(tmp_path / "m.tflite")
    assert check_zeros(pruned, graph) == ()
    kernel = pruned.get_layer("conv_2").kernel
    values = kernel.numpy()
    position = np.argwhere(values != 0)[0]
    values[tuple(position)] = 0  # a zero that the file does not have
    kernel.assign(values)
    with pytest.raises(CheckError, match="conv_2: the .* zeros of its kernel"):
        check_zeros(pruned, graph)


@pytest.mark.slow
def test_a_kernel_that_the_file_lacks_is_said_to_be_unchecked(tmp_path: Path) -> None:
    export(build("mlp"), "xnnpack-arm64", tmp_path / "m.tflite")
    model = build("cnn")
    pruned = prune_one_shot(model, plan(model, "ethos-u55"))
    notes = check_zeros(pruned, tflite_file.read(tmp_path / "m.tflite"))
    assert len(notes) == 3
    assert "conv_1: no weight of its shape" in notes[0]


def test_int8_without_data_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="int8 needs calibration data"):
        export(build("mlp"), "edge-tpu", tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_number_format_that_the_device_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="one of int8. Received: float32"):
        export(build("mlp"), "edge-tpu", tmp_path / "m.tflite", numerics="float32")


def test_an_open_input_size_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((None, None, 3), name="image")
    model = keras.Model(inputs, L.Conv2D(4, 1)(inputs))
    with pytest.raises(ModelError, match=re.escape("[n, any, any, 3]")):
        export(model, "xnnpack-arm64", tmp_path / "m.tflite")


@pytest.mark.slow
def test_a_recurrent_layer_is_unrolled_in_int8_and_computes_the_same(tmp_path: Path) -> None:
    """TensorFlow 2.20 dies with SIGSEGV on its loop, which would take the whole pipeline down."""
    memory = L.Bidirectional(L.LSTM(8), name="memory")
    model = keras.Sequential([keras.Input((6, 4)), memory, L.Dense(3)])
    x = samples(model, 32)
    exported = export(model, "edge-tpu", tmp_path / "m.tflite", x=x)
    assert any(
        note.startswith("memory: the Bidirectional was unrolled") for note in exported.warnings
    )
    assert not memory.forward_layer.unroll
    right = np.asarray(model(x[0]))
    found = HOST.run(tflite_file.read(tmp_path / "m.tflite"), x, RUNTIMES[0]).outputs[0]
    assert np.abs(found - right).max() < 0.1 * np.abs(right).max()


@pytest.mark.slow
def test_an_isolated_export_outlives_a_crash_of_the_converter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without unrolling, which is left out here, TensorFlow 2.20 dies on the loop."""
    model = keras.Sequential([keras.Input((6, 4)), L.Bidirectional(L.LSTM(8))], name="looping")
    monkeypatch.setattr(from_keras, "for_converter", lambda model, **_: model)
    with pytest.raises(ModelError, match=r"looping: the TensorFlow .* crashed with SIG"):
        export(model, "edge-tpu", tmp_path / "m.tflite", x=samples(model, 8), isolated=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_isolated_export_writes_the_same_file_and_names_what_is_refused(tmp_path: Path) -> None:
    model = build("cnn")
    sizes = [
        export(model, "edge-tpu", tmp_path / "m.tflite", x=samples(model, 8), isolated=alone)
        for alone in (False, True)
    ]
    assert sizes[0].artifact.size_bytes == sizes[1].artifact.size_bytes
    inputs = keras.Input((4,))
    odd = keras.Model(inputs, keras.ops.erfinv(inputs), name="odd")
    with pytest.raises(ModelError, match="odd: .* no operator for TensorFlow's Erfinv"):
        export(odd, "xnnpack-arm64", tmp_path / "odd.tflite", isolated=True)


@pytest.mark.slow
def test_a_mixed_precision_model_is_exported_in_float32_under_odd_names(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3), name="image")
    outputs = L.Conv2D(4, 3, dtype="mixed_float16", name="c$x <b>")(inputs)
    model = keras.Model(inputs, L.Dense(2, dtype="float32", name="_scores")(outputs), name="my net")
    x = samples(model, 4)
    export(model, "xnnpack-x86", tmp_path / "m.tflite")
    graph = tflite_file.read(tmp_path / "m.tflite")
    assert "float16" not in {tensor.dtype for tensor in graph.tensors}
    assert [port.name for port in output_ports(graph)] == ["_scores"]
    found = HOST.run(graph, x, RUNTIMES[0]).outputs[0]
    np.testing.assert_allclose(found, model(x[0]), atol=0.01)


def test_a_stateful_layer_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input(batch_shape=(1, 6, 4))
    model = keras.Model(inputs, L.LSTM(2, stateful=True, name="memory")(inputs))
    with pytest.raises(ModelError, match=r"memory: .*stateful=True"):
        export(model, "xnnpack-x86", tmp_path / "m.tflite")


@pytest.mark.slow
@pytest.mark.tflite_runtime
def test_a_file_that_a_runtime_does_not_run_is_refused_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    """tflite-runtime 2.14.0 has DIV, but not of int8; LiteRT runs the file."""
    inputs = keras.Input((10,), dtype="int32", name="tokens")
    embedded = L.Embedding(20, 8, mask_zero=True)(inputs)
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D(name="pool")(embedded)))
    x = [np.random.default_rng(0).integers(0, 20, (16, 10)).astype("int32")]
    with pytest.raises(ModelError, match=r"pool: .* tflite-runtime 2.14.0 .*\(DIV\)"):
        export(model, "edge-tpu", tmp_path / "m.tflite", x=x)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_an_int8_file_computes_in_float_without_weights_is_said(tmp_path: Path) -> None:
    inputs = keras.Input((6, 4), name="x")
    model = keras.Model(inputs, L.Dense(3)(L.Dense(8, activation="elu", name="curved")(inputs)))
    exported = export(model, "edge-tpu", tmp_path / "m.tflite", x=samples(model, 8))
    assert ["ELU (curved)" in note for note in exported.warnings] == [True]


def test_a_layer_that_tflite_lacks_is_named(tmp_path: Path) -> None:
    inputs = keras.Input((4,), name="x")
    model = keras.Model(
        inputs,
        keras.ops.lgamma(inputs) if hasattr(keras.ops, "lgamma") else keras.ops.erfinv(inputs),
        name="odd",
    )
    with pytest.raises(
        ModelError, match="odd: the TensorFlow .* no operator for .* (Lgamma|Erfinv)"
    ):
        export(model, "xnnpack-arm64", tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist. Make it first: mkdir -p"):
        export(build("mlp"), "xnnpack-arm64", tmp_path / "no" / "m.tflite")


@pytest.mark.slow
def test_operators_that_the_runtime_lacks_are_refused(tmp_path: Path) -> None:
    """TFLite Micro has no GELU; LiteRT does."""
    inputs = keras.Input((8, 8, 4), name="x")
    model = keras.Model(inputs, keras.ops.gelu(L.Conv2D(4, 1)(inputs), approximate=False))
    tflm = {"name": "TFLM", "version": "0.dev20261023182759", "source": "imagined"}
    with pytest.raises(ModelError, match=r"GELU version \d \(TFLM .* has it not at all\)"):
        export(model, profile(runtimes=(tflm,)), tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []
    exported = export(model, profile(), tmp_path / "m.tflite")
    graph = tflite_file.read(exported.artifact.path)
    assert {operator.op for operator in graph.operators} >= {"CONV_2D", "GELU"}
