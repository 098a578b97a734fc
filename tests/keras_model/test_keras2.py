"""Files of Keras 2, written here as it wrote them: a configuration and groups of weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from edgeprune.core.errors import ModelError
from edgeprune.keras_model.files import load_model
from edgeprune.keras_model.interface import infer
from edgeprune.keras_model.keras2 import without_stale_keys

L = keras.layers
ZEROS = {"class_name": "Zeros", "config": {}}
GLOROT = {"class_name": "GlorotUniform", "config": {"seed": None}}
UNUSED = {"kernel_initializer": GLOROT, "kernel_regularizer": None, "kernel_constraint": None}


def entry(kind: str, name: str, **config: Any) -> dict[str, Any]:
    base = {"name": name, "trainable": True, "dtype": "float32"}
    return {"class_name": kind, "config": {**base, **config}}


def sequential(
    shape: tuple[int, ...], *layers: dict[str, Any], name: str = "net"
) -> dict[str, Any]:
    start = entry("InputLayer", f"{name}_in", sparse=False, ragged=False)
    start["config"].pop("trainable")
    start["config"]["batch_input_shape"] = [None, *shape]
    return {"class_name": "Sequential", "config": {"name": name, "layers": [start, *layers]}}


def write(path: Path, config: Any, weights: dict[str, list[tuple[str, Any]]]) -> Path:
    """An `.h5` as Keras 2.15 saved it; weights by layer, each with its name."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"2.15.0"
        file.attrs["backend"] = b"tensorflow"
        file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        group.attrs["keras_version"] = b"2.15.0"
        for layer, values in weights.items():
            inside = group.create_group(layer)
            inside.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name, _ in values]
            for name, value in values:
                inside[f"{layer}/{name}:0"] = np.asarray(value)
    return path


CONV = {"strides": [1, 1], "padding": "same", "data_format": "channels_last", "use_bias": True}
RNN = {"return_sequences": False, "go_backwards": False, "stateful": False, "unroll": False}
KINDS: dict[str, tuple[tuple[int, ...], dict[str, Any], Any]] = {
    "depthwise": (
        (6, 6, 2),
        entry("DepthwiseConv2D", "d", kernel_size=[3, 3], groups=1, depth_multiplier=1, **CONV),
        lambda: L.DepthwiseConv2D(3, padding="same"),
    ),
    "separable": (
        (6, 6, 2),
        entry("SeparableConv2D", "d", filters=3, kernel_size=[3, 3], groups=1, **UNUSED, **CONV),
        lambda: L.SeparableConv2D(3, 3, padding="same"),
    ),
    "transpose": (
        (6, 6, 2),
        entry(
            "Conv2DTranspose", "d", filters=3, kernel_size=[3, 3], groups=1, output_padding=None,
            **CONV,
        ),
        lambda: L.Conv2DTranspose(3, 3, padding="same"),
    ),
    "lstm": (
        (5, 2),
        entry("LSTM", "d", units=3, time_major=False, implementation=2, **RNN),
        lambda: L.LSTM(3),
    ),
    "gru": (
        (5, 2),
        entry("GRU", "d", units=3, time_major=False, implementation=2, reset_after=True, **RNN),
        lambda: L.GRU(3),
    ),
    "simple": (
        (5, 2),
        entry("SimpleRNN", "d", units=3, time_major=False, **RNN),
        lambda: L.SimpleRNN(3),
    ),
    "bidirectional": (
        (5, 2),
        entry(
            "Bidirectional", "d", merge_mode="concat",
            layer=entry("LSTM", "f", units=3, time_major=False, implementation=2, **RNN),
        ),
        lambda: L.Bidirectional(L.LSTM(3)),
    ),
    "normalization": (
        (6, 6, 2),
        entry("BatchNormalization", "d", axis=[3], momentum=0.9, epsilon=0.01),
        lambda: L.BatchNormalization(epsilon=0.01),
    ),
    "spatial dropout": (
        (6, 6, 2),
        entry("SpatialDropout2D", "d", rate=0.5, noise_shape=None, seed=None),
        lambda: L.SpatialDropout2D(0.5),
    ),
    "nested": (
        (6, 6, 2),
        sequential(
            (6, 6, 2), entry("BatchNormalization", "b", axis=[3], epsilon=0.01), name="d"
        ),
        lambda: keras.Sequential([keras.Input((6, 6, 2)), L.BatchNormalization(epsilon=0.01)]),
    ),
    "half": (
        (4,),
        {
            "class_name": "Dense",
            "config": {
                "name": "d", "units": 3,
                "dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}},
            },
        },
        lambda: L.Dense(3, dtype="mixed_float16"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_of_keras_2_loads_and_computes_the_same(tmp_path: Path, kind: str) -> None:
    shape, config, make = KINDS[kind]
    layer = make()
    right = keras.Sequential([keras.Input(shape), layer])
    rng = np.random.default_rng(0)
    right.set_weights([rng.uniform(0.1, 1, w.shape) for w in right.get_weights()])
    ordered = layer.trainable_weights + layer.non_trainable_weights
    weights = {"d": [(f"w{i}", value.numpy()) for i, value in enumerate(ordered)]}
    path = write(
        tmp_path / "m.h5", sequential(shape, config), {k: v for k, v in weights.items() if v}
    )
    x = rng.normal(size=(2, *shape)).astype("float32")
    np.testing.assert_allclose(load_model(path)(x), right(x), rtol=1e-5, atol=1e-5)


def test_a_hard_sigmoid_is_that_of_keras_2(tmp_path: Path) -> None:
    dense = entry("Dense", "d", units=1, use_bias=False, activation="hard_sigmoid")
    weights = {"d": [("kernel", np.ones((1, 1), "float32"))]}
    model = load_model(write(tmp_path / "m.h5", sequential((1,), dense), weights))
    found = model(np.array([[-3], [-2], [0], [1], [2.4], [3]], "float32"))
    np.testing.assert_allclose(found[:, 0], [0, 0.1, 0.5, 0.7, 0.98, 1], atol=1e-6)


def test_the_states_of_random_layers_are_no_weights(tmp_path: Path) -> None:
    flip = entry("RandomFlip", "flip", mode="horizontal", seed=None, rng_type=None)
    dense = entry("Dense", "d", units=2, use_bias=False)
    kernel = np.arange(6, dtype="float32").reshape(3, 2)
    weights = {"flip": [("StateVar", np.zeros(3, "int64"))], "d": [("kernel", kernel)]}
    path = write(tmp_path / "m.h5", sequential((4, 4, 3), flip, dense), weights)
    np.testing.assert_array_equal(load_model(path).get_weights()[0], kernel)


def test_attention_of_keras_2_loads_in_a_graph(tmp_path: Path) -> None:
    attention = entry(
        "MultiHeadAttention", "a", num_heads=2, key_dim=3, value_dim=3, dropout=0.0, use_bias=True,
        output_shape=None, attention_axes=[1],
        query_shape=[None, 5, 4], key_shape=[None, 5, 4], value_shape=[None, 5, 4],
    )  # fmt: skip
    attention |= {"name": "a", "inbound_nodes": [[["x", 0, 0, {"value": ["x", 0, 0]}]]]}
    start = sequential((5, 4))["config"]["layers"][0]
    start["config"]["name"] = "x"
    start |= {"name": "x", "inbound_nodes": []}
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["a", 0, 0]]}
    config = {
        "class_name": "Functional",
        "config": {"name": "m", "layers": [start, attention], **ends},
    }
    layer = L.MultiHeadAttention(2, 3)
    inputs = keras.Input((5, 4))
    right = keras.Model(inputs, layer(inputs, inputs))
    weights = {"a": [(f"w{i}", value) for i, value in enumerate(right.get_weights())]}
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    loaded = load_model(write(tmp_path / "m.h5", config, weights))
    np.testing.assert_allclose(infer(loaded, [x])[0], right(x), rtol=1e-4, atol=1e-6)


def test_tensors_among_the_options_of_a_call_are_found_however_deep() -> None:
    node = [["x", 0, 0, {"initial_state": [["h", 0, 1], ["c", 2, 0]], "mask": None}]]
    config = {
        "class_name": "LSTM",
        "config": {"units": 3},
        "inbound_nodes": [node, [["x", 0, 0, {}]]],
    }
    first, second = without_stale_keys(config)["inbound_nodes"]
    state = [part["config"]["keras_history"] for part in first["kwargs"]["initial_state"]]
    assert state == [["h", 0, 1], ["c", 2, 0]]
    assert first["args"][0]["config"]["keras_history"] == ["x", 0, 0]
    assert second == [["x", 0, 0, {}]]


def test_a_key_whose_value_means_something_stays() -> None:
    config = entry("LSTM", "d", units=3, time_major=True)
    assert without_stale_keys(copy.deepcopy(config)) == config
    config = entry("DepthwiseConv2D", "d", kernel_size=3, groups=2)
    assert without_stale_keys(copy.deepcopy(config)) == config


def test_what_still_cannot_load_is_called_a_keras_2_file(tmp_path: Path) -> None:
    add = entry("TFOpLambda", "add", function="math.add")
    path = write(tmp_path / "m.h5", sequential((4,), add), {})
    with pytest.raises(ModelError, match=r"m\.h5: .* a file of Keras 2\.15\.0, .*TFOpLambda"):
        load_model(path)


def test_weights_alone_are_called_so(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), L.Dense(2)])
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ModelError, match=r"Received: .* weights only.*model\.load_weights"):
        load_model(tmp_path / "m.weights.h5")


def test_a_saved_model_folder_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ModelError, match=r"a SavedModel folder, .*TFLiteConverter"):
        load_model(tmp_path)


def test_an_h5_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"\x89HDF")
    with pytest.raises(ModelError, match="expected an .h5 file, which is HDF5. Received: 4 bytes"):
        load_model(tmp_path / "m.h5")
