"""int8 files of networks that are no plain chain, all with pruned kernels, in the real runtimes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.core import device_matrix
from edgeprune.core.arrays import Array
from edgeprune.core.data import signature_name
from edgeprune.core.mask import make_mask
from edgeprune.core.pattern import NofM
from edgeprune.keras_model.interface import output_names, predict
from edgeprune.keras_model.layers import map_layers
from edgeprune.targets.checks import named_outputs
from edgeprune.targets.host import HOST
from edgeprune.tflite.format.file import Graph, Tensor, read
from edgeprune.tflite.format.signature import signature_specs
from edgeprune.tflite.weights import weights_of
from tests.support.runtimes import RUNTIMES

L = keras.layers
pytestmark = pytest.mark.slow
NEAR = 0.06
"""Root mean square of an output's error, relative to the output's, that int8 may have here: four
layers of 8 bits leave about 0.02."""


def image(channels: int = 8, **options: Any) -> Any:
    return keras.Input((8, 8, channels), name="image", **options)


def conv(x: Any, name: str, channels: int = 8, **options: Any) -> Any:
    return L.Conv2D(channels, 3, padding="same", name=name, **options)(x)


def preprocessing() -> Any:
    inputs = image(4, dtype="uint8")
    x = L.Rescaling(1 / 127.5, offset=-1.0, name="scale")(inputs)
    return keras.Model(inputs, conv(L.ReLU()(conv(x, "one")), "two"))


def several_ports() -> Any:
    a, b = image(), keras.Input((8, 8, 4), name="depth")
    x = L.Concatenate(name="join")([conv(a, "one"), 5 * conv(b, "two")])
    y = conv(L.ReLU()(x), "three")
    return keras.Model([a, b], {"map": y, "mean": L.GlobalAveragePooling2D(name="mean")(x)})


def residual_of_other_scales() -> Any:
    inputs = image()
    x = conv(inputs, "one", activation="relu")
    small = L.Rescaling(0.05, name="small")(conv(x, "two"))
    return keras.Model(inputs, conv(L.ReLU()(L.Add(name="add")([x, small])), "three"))


def prelu(shared: tuple[int, ...] | None) -> Callable[[], Any]:
    def build() -> Any:
        inputs = image()
        slopes = keras.initializers.RandomUniform(0.1, 0.4, seed=0)
        x = L.PReLU(slopes, shared_axes=shared, name="prelu")(conv(inputs, "one"))
        return keras.Model(inputs, conv(x, "two"))

    return build


def activated(kind: str) -> Callable[[], Any]:
    def build() -> Any:
        inputs = image()
        x = L.Activation(kind)(conv(inputs, "one"))
        return keras.Model(inputs, conv(L.Activation(kind)(conv(x, "two")), "three"))

    return build


def ends_in(kind: str) -> Callable[[], Any]:
    def build() -> Any:
        inputs = image()
        x = L.GlobalAveragePooling2D()(conv(inputs, "one", activation="relu"))
        return keras.Model(inputs, L.Dense(4, activation=kind, name="scores")(3 * x))

    return build


def concatenation() -> Any:
    inputs = image()
    x = conv(inputs, "one", activation="relu")
    parts = [x, 4 * conv(x, "two"), L.MaxPooling2D(3, 1, "same")(x)]
    return keras.Model(inputs, conv(L.Concatenate(name="join")(parts), "three"))


def recurrent(kind: str) -> Callable[[], Any]:
    def build() -> Any:
        inputs = keras.Input((6, 8), name="signal")
        x = L.Conv1D(16, 3, padding="same", activation="relu", name="conv")(inputs)
        return keras.Model(inputs, L.Dense(8, name="scores")(getattr(L, kind)(8, name="cell")(x)))

    return build


def shared_layer() -> Any:
    inputs = image()
    same = L.Conv2D(8, 3, padding="same", name="same")
    x = L.ReLU()(same(inputs))
    return keras.Model(inputs, conv(L.ReLU()(same(2 * x)), "last"))


def nested() -> Any:
    within = keras.Input((8, 8, 8), name="within")
    inner = keras.Model(within, L.ReLU(name="relu")(conv(within, "deep")), name="inner")
    inputs = image()
    return keras.Model(inputs, conv(inner(inner(conv(inputs, "first"))), "last"))


NETWORKS: dict[str, Callable[[], Any]] = {
    "uint8 inputs": preprocessing,
    "several inputs and outputs": several_ports,
    "residual of other scales": residual_of_other_scales,
    "PReLU per channel": prelu((1, 2)),
    "PReLU per place": prelu(None),
    "swish": activated("swish"),
    "hard-swish": activated("hard_silu"),
    "sigmoid": ends_in("sigmoid"),
    "softmax": ends_in("softmax"),
    "concatenation": concatenation,
    "LSTM": recurrent("LSTM"),
    "GRU": recurrent("GRU"),
    "shared layer": shared_layer,
    "nested": nested,
}


def pruned(name: str) -> Any:
    """A network whose kernels of a fitting width are 2:4, its weights seeded."""
    keras.utils.set_random_seed(3)
    model = NETWORKS[name]()
    mapped = map_layers(model)
    for path, variable in mapped.kernels.items():
        kind = type(mapped.layers[path]).__name__
        matrix = device_matrix.to_device(kind, np.asarray(variable))
        mask = make_mask(np.abs(matrix), NofM(2, 4), 0.5)
        variable.assign(device_matrix.to_keras(kind, matrix * mask, variable.shape))
    return model


def samples(model: Any, count: int, seed: int) -> list[Array]:
    generator = np.random.default_rng(seed)
    return [
        generator.integers(0, 256, (count, *port.shape[1:])).astype(np.uint8)
        if port.dtype == "uint8"
        else generator.normal(size=(count, *port.shape[1:])).astype(np.float32)
        for port in model.inputs
    ]


def exported(name: str, folder: Path) -> tuple[Any, Graph]:
    model = pruned(name)
    path = folder / "m.tflite"
    export(model, "arm-neon-int8", path, x=samples(model, 96, 0))
    return model, read(path)


def weights(graph: Graph) -> dict[int, Tensor]:
    main = graph.subgraphs[0]
    found = (weights_of(main, operator)[0] for operator in main.operators)
    return {each.index: each for each in found if each is not None and each.dtype == "int8"}


def is_two_of_four(tensor: Tensor) -> bool:
    matrix = np.asarray(tensor.values()).reshape(-1, 4)
    return bool((np.count_nonzero(matrix, axis=1) <= 2).all())


@pytest.mark.parametrize("name", NETWORKS)
def test_an_int8_file_is_near_the_float_model_and_keeps_its_zeros(
    tmp_path: Path, name: str
) -> None:
    model, graph = exported(name, tmp_path)
    x = samples(model, 32, 1)
    wanted = dict(zip(map(signature_name, output_names(model)), predict(model, x), strict=True))
    given = dict(zip([signature_name(port.name) for port in model.inputs], x, strict=True))
    ordered = [given[spec.name] for spec in signature_specs(graph)]
    for runtime in RUNTIMES:
        found = named_outputs(graph, HOST.run(graph, ordered, runtime).outputs)
        assert found.keys() == wanted.keys()
        for key, right in wanted.items():
            assert np.linalg.norm(found[key] - right) / np.linalg.norm(right) < NEAR, runtime
    stored = weights(graph)
    for tensor in stored.values():
        assert not tensor.zero_points.any()
    # Recurrent layers have other weights beside kernels, which stay dense.
    assert sum(map(is_two_of_four, stored.values())) >= len(map_layers(model).kernels) > 0


@pytest.mark.parametrize(("kind", "scale"), [("sigmoid", 1 / 256), ("softmax", 1 / 256)])
def test_a_probability_has_a_scale_of_1_256_from_minus_128_on(
    tmp_path: Path, kind: str, scale: float
) -> None:
    _, graph = exported(kind, tmp_path)
    output = graph.tensors[graph.outputs[0]]
    assert (output.scales.tolist(), output.zero_points.tolist()) == ([scale], [-128])


def test_what_is_concatenated_has_the_scale_of_the_whole(tmp_path: Path) -> None:
    _, graph = exported("concatenation", tmp_path)
    main = graph.subgraphs[0]
    (join,) = (operator for operator in main.operators if operator.op == "CONCATENATION")
    tensors = [main.tensors[index] for index in (*join.inputs, *join.outputs)]
    assert len({(t.scales.tobytes(), t.zero_points.tobytes()) for t in tensors}) == 1


def test_both_sides_of_a_residual_have_scales_of_their_own_values(tmp_path: Path) -> None:
    """TensorFlow's calibration takes the range of the second one from before its Rescaling."""
    _, graph = exported("residual of other scales", tmp_path)
    main = graph.subgraphs[0]
    (add,) = (operator for operator in main.operators if operator.op == "ADD")
    large, small = sorted((float(main.tensors[i].scales[0]) for i in add.inputs), reverse=True)
    assert large > 5 * small


def test_a_shared_layer_has_its_weights_in_the_file_once(tmp_path: Path) -> None:
    _, graph = exported("shared layer", tmp_path)
    main = graph.subgraphs[0]
    read_by = [weights_of(main, each)[0] for each in main.operators if each.op == "CONV_2D"]
    buffers = [tensor.buffer for tensor in read_by if tensor is not None]
    assert len(buffers) == 3
    assert len(set(buffers)) == 2
