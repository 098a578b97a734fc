from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core import device_matrix
from edgeprune.core.errors import ModelError, PlanError
from edgeprune.core.pattern import Block, NofM, Pattern, Unstructured
from edgeprune.core.plan import Plan
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import kernel_variable, map_layers
from edgeprune.keras_model.sparsity import layer_sparsities, reached_sparsity
from edgeprune.planning.plan_model import plan
from edgeprune.planning.rules import make_plan
from edgeprune.pruning.carry_out import prune_one_shot
from tests.support.architectures import ARCHITECTURES, build, samples
from tests.support.mask_oracle import mask_by_loops
from tests.support.profiles import profile, rule

L = keras.layers


def weights(model: Any) -> list[Any]:
    return [np.array(weight) for weight in model.get_weights()]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_pruning_leaves_the_model_alone_and_keeps_the_architecture(name: str) -> None:
    model = build(name)
    before = weights(model)
    pruned = prune_one_shot(model, plan(model, "ethos-u55"))
    for old, new in zip(before, weights(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert list(map_layers(pruned).layers) == list(map_layers(model).layers)
    assert type(pruned) is type(model)
    assert not {id(v) for v in model.variables} & {id(v) for v in pruned.variables}


@pytest.mark.parametrize("pattern", [Unstructured(), Block(2, 1), NofM(2, 4)], ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_kept_weights_stay_and_zeros_are_those_of_the_loop_oracle(
    name: str, pattern: Pattern
) -> None:
    model = build(name)
    made = plan(model, profile(rule(pattern)))
    assert {row.pattern for row in made.pruned} == {pattern}
    pruned = map_layers(prune_one_shot(model, made, permute=False)).layers
    for row in made.layers:
        variable = kernel_variable(map_layers(model).layers[row.path])
        if variable is None:
            continue
        old, new = np.asarray(variable), np.asarray(kernel_variable(pruned[row.path]))
        if row.pattern is None:
            np.testing.assert_array_equal(new, old)
            continue
        matrix = device_matrix.to_device(row.kind, old)
        mask = mask_by_loops(np.abs(matrix, dtype=np.float64), row.pattern, row.sparsity)
        np.testing.assert_array_equal(device_matrix.to_device(row.kind, new), matrix * mask)


def test_reached_sparsity_is_counted_in_the_model() -> None:
    model = build("mobilenet_v2")
    made = plan(model, "ethos-u55", sparsity=0.75)
    pruned = prune_one_shot(model, made)
    assert reached_sparsity(model, made) == 0
    assert reached_sparsity(pruned, made) == pytest.approx(0.75, abs=0.001)
    expanded = next(row for row in layer_sparsities(pruned) if row.path == "expand_0")
    assert expanded.weights == 32 * 96
    assert expanded.sparsity == pytest.approx(0.75)


def test_layers_of_nested_models_are_named_by_their_path() -> None:
    made = plan(build("nested"), "edge-tpu")
    paths = [layer.path for layer in made.layers]
    assert "backbone/conv" in paths
    prunable = {layer.path for layer in made.layers if layer.pattern}
    assert prunable == {"stem", "backbone/conv", "head/hidden"}


def test_a_shared_layer_is_pruned_once() -> None:
    inputs = keras.Input((16,))
    shared = L.Dense(16, name="shared")
    model = keras.Model(inputs, shared(L.ReLU()(shared(inputs))))
    made = plan(model, "ethos-u55", sparsity=0.5)
    assert [layer.path for layer in made.pruned] == ["shared"]
    pruned = prune_one_shot(model, made)
    assert pruned.get_layer("shared").kernel.numpy().ravel().tolist().count(0.0) == 128


def test_an_open_input_size_is_not_a_single_pixel() -> None:
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, L.Conv2D(8, 1, name="conv")(inputs))
    assert {i.path: i for i in describe_layers(map_layers(model))}["conv"].pixels is None
    assert [layer.path for layer in plan(model, "xnnpack-arm64").pruned] == ["conv"]


def test_kinds_without_a_device_matrix_are_left_alone_with_a_reason() -> None:
    model = keras.Sequential(
        [keras.Input((6, 4)), L.LSTM(8, name="lstm"), L.Dense(4, name="out")], name="sequence"
    )
    made = {layer.path: layer for layer in plan(model, "ethos-u55").layers}
    assert made["lstm"].pattern is None
    assert "LSTM" in made["lstm"].reason
    assert made["out"].pattern is not None


def test_a_layer_of_the_users_own_is_kept_with_a_reason() -> None:
    class Scaled(keras.layers.Dense):
        pass

    model = keras.Sequential([keras.Input((4,)), Scaled(4, name="own"), L.Dense(2, name="out")])
    made = plan(model, "ethos-u55")
    assert made.layers[0].pattern is None
    assert "Scaled" in made.layers[0].reason
    assert prune_one_shot(model, made).get_layer("own").kernel.numpy().all()


@keras.saving.register_keras_serializable(package="edgeprune-tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = L.Dense(32, activation="relu", name="first")
        self.second = L.Dense(4, name="second")

    def call(self, inputs: Any) -> Any:
        return self.second(self.first(inputs))


def test_a_subclassed_model_is_pruned_and_its_last_layer_feeds_the_output() -> None:
    model = Subclassed(name="own")
    model(np.zeros((1, 16), np.float32))
    infos = {info.path: info for info in describe_layers(map_layers(model))}
    assert [path for path, info in infos.items() if info.feeds_output] == ["second"]
    pruned = prune_one_shot(model, plan(model, "ethos-u55", sparsity=0.5))
    assert isinstance(pruned, Subclassed)
    kernel = pruned.first.kernel.numpy()
    assert (kernel == 0).mean() == 0.5
    np.testing.assert_array_equal(kernel[kernel != 0], model.first.kernel.numpy()[kernel != 0])


def test_a_model_that_was_never_built_is_refused() -> None:
    with pytest.raises(ModelError, match="expected a built model"):
        plan(keras.Sequential([L.Dense(4)]), "ethos-u55")


def test_a_weight_that_is_not_a_number_names_its_layer() -> None:
    model = build("mlp")
    model.get_layer("hidden_1").kernel.assign(np.full((24, 64), np.nan))
    with pytest.raises(ModelError, match="hidden_1: Expected finite weights"):
        prune_one_shot(model, plan(model, "ethos-u55"))


def test_a_plan_for_another_model_is_refused() -> None:
    with pytest.raises(PlanError, match="does not have"):
        prune_one_shot(build("mlp"), plan(build("cnn"), "ethos-u55"))


def test_compilation_is_carried_over() -> None:
    model = build("mlp")
    model.compile(optimizer="sgd", loss="mse")
    pruned = prune_one_shot(model, plan(model, "ethos-u55"))
    assert pruned.loss == "mse"
    assert type(pruned.optimizer).__name__ == "SGD"


def test_one_shot_is_deterministic() -> None:
    model = build("mobilenet_v1")
    x = samples(model, 64)
    first, second = (prune_one_shot(model, plan(model, "edge-tpu"), x) for _ in range(2))
    for a, b in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_progress_counts_every_layer() -> None:
    model = build("mlp")
    told: list[tuple[str, int, int]] = []
    prune_one_shot(model, plan(model, "ethos-u55"), progress=lambda *step: told.append(step))
    assert [(done, total) for _, done, total in told] == [(1, 3), (2, 3), (3, 3)]


def test_an_edited_plan_decides_pattern_and_sparsity() -> None:
    model = build("mlp")
    content = plan(model, "ethos-u55").to_json()
    content["layers"][0].update(pattern="Block(4,8)", sparsity=0.5)
    content["layers"][1].update(pattern=None, sparsity=0)
    pruned = prune_one_shot(model, Plan.model_validate(content))
    tiles = pruned.get_layer("hidden_1").kernel.numpy().T.reshape(16, 4, 3, 8)
    empty = (tiles == 0).all(axis=(1, 3))
    assert empty.mean() == 0.5
    assert (tiles != 0).any(axis=(1, 3)).sum() == 24
    assert pruned.get_layer("hidden_2").kernel.numpy().all()


def test_planning_from_a_list_needs_the_same_layers_as_from_the_model() -> None:
    model = build("mobilenet_v1")
    anything = profile(rule(Unstructured()))
    made = plan(model, anything)
    assert make_plan(describe_layers(map_layers(model)), anything, model=model.name) == made
    kernels = {row.path for row in made.layers if row.shape}
    assert {row.path for row in made.pruned} == kernels != set()
