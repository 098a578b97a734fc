"""Files that Keras 2 wrote: their configurations without keys that Keras 3 does not know.

Keras 2 wrote options of base classes that a layer does not have (`groups` of a DepthwiseConv2D), or
that every file has at the value that means nothing (`time_major=False` of an LSTM). Such keys are
dropped; one whose value means something stays, and Keras 3 refuses it.
"""

from __future__ import annotations

import inspect
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import keras

from edgeprune.core.errors import ModelError

_OF_EVERY_LAYER = frozenset(
    {"name", "trainable", "dtype", "autocast", "activity_regularizer", "batch_input_shape"}
    | {"batch_shape", "input_shape", "input_dim", "input_length", "weights", "sparse", "ragged"}
)
_ALWAYS_STALE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "SeparableConv": frozenset(
            {"kernel_initializer", "kernel_regularizer", "kernel_constraint"}
        ),
        "DepthwiseConv": frozenset(
            {"kernel_initializer", "kernel_regularizer", "kernel_constraint"}
        ),
        "MultiHeadAttention": frozenset({"query_shape", "key_shape", "value_shape"}),
        "Random": frozenset({"rng_type", "force_generator"}),
        "SpatialDropout": frozenset({"noise_shape", "trainable"}),
    }
)
"""Keys that mean nothing at any value, by the beginning of a layer's class."""
_INNER = frozenset({"layer", "backward_layer", "cell", "cells"})
"""Keys of wrappers that hold layers."""
_LONGEST_METADATA = 1 << 16


def keras_version_of(path: Path) -> str | None:
    """The version of Keras that wrote a file, as the file says; None if it does not say."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            return _text(file.attrs.get("keras_version"))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, archive.open("metadata.json") as member:
            version = json.loads(member.read(_LONGEST_METADATA)).get("keras_version")
            return version if isinstance(version, str) else None
    return None


def is_keras2(version: str | None) -> bool:
    """Whether a version of Keras, as a file says it, is older than 3."""
    return version is not None and version.partition(".")[0] in {"1", "2"}


def require_whole_model(path: Path) -> None:
    """Checks that a path is a file that can hold a whole model.

    Raises:
      ModelError: a SavedModel folder, an `.h5` that is not HDF5, or one with weights only.
    """
    if (path / "saved_model.pb").is_file():
        raise ModelError(
            f"{path}: expected a .keras or .h5 file. Received: a SavedModel folder, which Keras 3 "
            "does not load. Where it was made, call tf.keras.models.load_model(folder).save('m.h5')"
            " with Keras 2, or convert it with tf.lite.TFLiteConverter.from_saved_model(folder) "
            "and give the .tflite file to 'edgeprune encode'."
        )
    if path.suffix != ".h5" or not path.is_file():
        return
    if not h5py.is_hdf5(path):
        raise ModelError(
            f"{path}: expected an .h5 file, which is HDF5. Received: {path.stat().st_size} bytes "
            "that are not (cut short, or another format). Save the model again with model.save()."
        )
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise ModelError(
                f"{path}: expected a whole model. Received: a file without an architecture, "
                "weights only. Build the model in Python, call model.load_weights() on this file, "
                "and save it with model.save('name.keras')."
            )


def for_keras3(path: Path, folder: Path) -> Path:
    """A copy of an `.h5` file of Keras 2 in a folder, in a form that Keras 3 reads."""
    copy = folder / path.name
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        config = json.loads(_text(file.attrs["model_config"]) or "")
        file.attrs["model_config"] = json.dumps(without_stale_keys(config))
        _drop_random_states(file.get("model_weights"))
    return copy


def without_stale_keys(config: Any) -> Any:
    """A configuration as Keras 2 wrote it, without keys that Keras 3 does not know.

    Args:
      config: of a model, layer or anything inside it, as JSON has it; is not changed.
    """
    if isinstance(config, list):
        return [without_stale_keys(part) for part in config]
    if not isinstance(config, dict):
        return config
    cleaned = {key: without_stale_keys(value) for key, value in config.items()}
    nodes = cleaned.get("inbound_nodes")
    if isinstance(nodes, list):
        cleaned["inbound_nodes"] = [_node(node) for node in nodes]
    kind, inner = cleaned.get("class_name"), cleaned.get("config")
    if not (isinstance(kind, str) and isinstance(inner, dict)):
        return cleaned
    return {**cleaned, "config": _layer_config(kind, inner)}


def _layer_config(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    layer = getattr(keras.layers, kind, None)
    if not (inspect.isclass(layer) and issubclass(layer, keras.layers.Layer)):
        return config
    known = _arguments(layer)
    kept = {
        key: value
        for key, value in config.items()
        if key in known or not _is_stale(kind, key, value)
    }
    axis = kept.get("axis")
    if kind == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
        kept["axis"] = axis[0]
    for key in _INNER & set(kept):
        kept[key] = _inner_layer(kept[key])
    policy = kept.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") in {"Policy", "PolicyV1"}:
        kept["dtype"] = policy["config"]["name"]
    return kept


def _is_stale(kind: str, key: str, value: Any) -> bool:
    always = (keys for begin, keys in _ALWAYS_STALE.items() if kind.startswith(begin))
    means_nothing = value is None or value is False or (key == "groups" and value == 1)
    return means_nothing or any(key in keys for keys in always)


def _arguments(layer: type) -> frozenset[str]:
    """The arguments that a class of layers takes, with those that it hands on to a base class."""
    found = {"implementation"}
    for base in layer.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        found |= set(parameters)
        if all(each.kind is not each.VAR_KEYWORD for each in parameters.values()):
            return frozenset(found)
        if base is keras.layers.Layer:
            break
    return _OF_EVERY_LAYER | found


def _inner_layer(config: Any) -> Any:
    """A layer or cell inside a wrapper, with the module that Keras 3 looks for its class in."""
    if isinstance(config, list):
        return [_inner_layer(part) for part in config]
    if not isinstance(config, dict) or "class_name" not in config:
        return config
    module = "keras" if config["class_name"] in {"Sequential", "Functional"} else "keras.layers"
    return {"module": module, "registered_name": None, **config}


def _node(node: Any) -> Any:
    """A record of a call; one with tensors among its options in the form of Keras 3.

    Keras 3 reads the form of Keras 2, but takes tensors from its first argument only.
    """
    options = [part[3] for part in node if isinstance(part, list) and len(part) == 4]
    named = {key: _tensors(value) for option in options for key, value in option.items()}
    if not isinstance(node, list) or named == {k: v for o in options for k, v in o.items()}:
        return node
    first = [_tensors(part[:3]) for part in node]
    return {"args": [first[0] if len(first) == 1 else first], "kwargs": named}


def _tensors(value: Any) -> Any:
    """What an option holds, with Keras 3's records of tensors in place of Keras 2's."""
    if not isinstance(value, list):
        return value
    if len(value) in {3, 4} and isinstance(value[0], str) and value[1:2] == [-1]:
        return value[2]  # a constant, behind a name that says so
    if len(value) in {3, 4} and isinstance(value[0], str) and isinstance(value[1], int):
        place = {"shape": [], "dtype": "float32", "keras_history": value[:3]}
        return {"class_name": "__keras_tensor__", "config": place}
    return [_tensors(part) for part in value]


def _drop_random_states(weights: Any) -> None:
    """Takes states of random generators out of the lists of weights, since Keras 3 keeps none."""
    groups = weights.values() if isinstance(weights, h5py.Group) else ()
    for group in groups:
        names = [_text(name) or "" for name in group.attrs.get("weight_names", ())]
        kept = [name for name in names if not name.split("/")[-1].startswith("StateVar")]
        if len(kept) < len(names):
            group.attrs["weight_names"] = [name.encode() for name in kept]


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value) if value is not None else None
