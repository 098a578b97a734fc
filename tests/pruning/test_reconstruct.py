from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeprune.core import device_matrix
from edgeprune.core.errors import QualityWarning
from edgeprune.core.mask import make_mask
from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured
from edgeprune.core.plan import LayerPlan, Plan
from edgeprune.core.progress import no_progress
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.interface import infer, predict
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import kernel_variable, map_layers
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.pruning.reconstruct.columns import columns, groups, outputs_of, positions
from edgeprune.pruning.reconstruct.samples import MAX_COPIES, with_moved_copies
from edgeprune.pruning.reconstruct.store import open_store
from edgeprune.pruning.reconstruct.walk import LayerProblem, visit_layers
from tests.support.architectures import build, samples
from tests.support.problems import PATTERNS, linear_output, problem_of

L = keras.layers
ZEROS = [entry for entry in PATTERNS if not isinstance(entry[0], Channels)]
"""Those that leave a layer its shape; channels are removed."""


def weights(model: Any) -> list[Any]:
    return [np.array(weight) for weight in model.get_weights()]


LAYERS: list[tuple[Any, tuple[int, ...]]] = [
    (L.Dense(6), (5,)),
    (L.Dense(6, activation="relu"), (4, 3, 5)),
    (L.Conv1D(6, 3, strides=2, padding="same"), (9, 4)),
    (L.Conv1D(6, 3, dilation_rate=2, padding="causal", use_bias=False), (9, 4)),
    (L.Conv2D(6, 1, activation="gelu"), (5, 7, 4)),
    (L.Conv2D(6, 1, strides=2), (6, 7, 4)),
    (L.Conv2D(6, (3, 2), strides=2, padding="same"), (7, 8, 4)),
    (L.Conv2D(6, 3, dilation_rate=2, padding="same"), (7, 8, 4)),
    (L.Conv2D(6, 3, groups=2, padding="same"), (7, 8, 4)),
    (L.Conv1D(6, 3, groups=2), (9, 4)),
    (L.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), (6, 6, 4)),
    (L.DepthwiseConv1D(3, strides=2), (9, 4)),
    (L.SeparableConv2D(6, 3, depth_multiplier=2, padding="same"), (6, 6, 4)),
    (L.SeparableConv1D(6, 3, strides=2), (9, 4)),
    (L.Conv2DTranspose(6, 3, strides=2, padding="same"), (4, 5, 4)),
    (L.Conv2DTranspose(6, 2, strides=2), (4, 5, 4)),
    (L.Conv1DTranspose(6, 3, strides=2), (5, 4)),
]


@pytest.mark.parametrize(
    ("layer", "shape"),
    LAYERS,
    ids=[f"{type(layer).__name__}-{i}" for i, (layer, _) in enumerate(LAYERS)],
)
def test_columns_times_the_device_matrix_are_what_the_layer_computes(
    layer: Any, shape: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    fresh = type(layer).from_config(layer.get_config())
    fresh.build((None, *shape))
    kernel = np.asarray(kernel_variable(fresh))
    matrix = device_matrix.to_device(type(fresh).__name__, kernel)
    made = np.asarray(columns(fresh, x))
    by_group = matrix.reshape(groups(fresh), -1, matrix.shape[1])
    if fresh.use_bias:
        fresh.bias.assign(np.arange(len(matrix)))
    outputs = np.asarray(outputs_of(fresh, tf.constant(made)))
    computed = np.einsum("pgn,grn->pgr", made, by_group).reshape(len(made), -1)
    np.testing.assert_allclose(
        outputs, computed + np.asarray(fresh.bias if fresh.use_bias else 0), atol=1e-5
    )
    np.testing.assert_allclose(linear_output(fresh, x), outputs, atol=1e-5)
    assert positions(fresh, x) == len(made)
    chosen = np.sort(np.random.default_rng(1).permutation(len(made))[: len(made) // 2 + 1])
    np.testing.assert_allclose(columns(fresh, x, chosen), made[chosen], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "nested", "every_kind"])
def test_inputs_are_those_of_the_pruned_prefix_and_targets_those_of_the_dense_model(
    name: str,
) -> None:
    """Against models cut off before and behind each layer, run whole."""
    dense = build(name)
    copy = copy_model(dense)
    x = samples(dense, 24)
    made = plan(dense, "ethos-u55", sparsity=0.6)
    cases: dict[str, LayerProblem] = {}

    def visit(case: LayerProblem) -> Any:
        cases[case.path] = case
        return case.solve(Unstructured(), 0.6).matrix

    paths = [row.path for row in made.pruned if "/" not in row.path]
    assert visit_layers(map_layers(dense), map_layers(copy), x, paths, visit, no_progress) == set(
        paths
    )
    for path, case in cases.items():
        layer = dense.get_layer(path)
        entering = keras.Model(copy.inputs, copy.get_layer(path).input)
        before = keras.Model(dense.inputs, layer.input)
        inputs = np.asarray(columns(layer, infer(entering, x)[0]))
        targets = np.asarray(linear_output(layer, infer(before, x)[0]))
        expected = problem_of(inputs, targets, with_bias=bool(case.problem.target_mean.any()))
        for found, wanted in zip(case.problem.grams, expected.grams, strict=True):
            size = np.eye(case.dense.shape[1])
            np.testing.assert_allclose(found.times(size), wanted.times(size), atol=1e-4)
        np.testing.assert_allclose(case.problem.cross, expected.cross, atol=1e-4)
        np.testing.assert_allclose(case.problem.energy, expected.energy, rtol=1e-4, atol=1e-5)


def shared_model() -> Any:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((16,))
    shared = L.Dense(16, name="shared")
    x = L.ReLU()(shared(inputs))
    return keras.Model(inputs, L.Dense(4, name="out")(L.Add()([shared(x), inputs])))


def test_a_shared_layer_is_fitted_to_the_inputs_of_all_its_calls() -> None:
    model = shared_model()
    x = samples(model, 64)
    cases: list[LayerProblem] = []
    visit_layers(map_layers(model), map_layers(model), x, ["shared"], cases.append, no_progress)
    layer = model.get_layer("shared")
    first = np.asarray(x[0])
    second = np.maximum(np.asarray(layer(first)), 0)
    both = np.concatenate([first, second])
    expected = problem_of(both[:, None], np.asarray(layer(both)), with_bias=True)
    assert len(cases) == 1
    np.testing.assert_allclose(
        cases[0].problem.grams[0].times(np.eye(16)), expected.grams[0].times(np.eye(16)), atol=1e-4
    )
    np.testing.assert_allclose(cases[0].problem.cross, expected.cross, atol=1e-4)


@keras.saving.register_keras_serializable(package="edgeprune-tests")
class Residual(keras.Model):
    """A network whose graph Keras does not know."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Not in the order in which they are called.
        self.last = L.Dense(4, name="last")
        self.conv = L.Conv2D(8, 3, padding="same", name="conv")
        self.norm = L.BatchNormalization(name="norm")
        self.inner = L.Conv2D(8, 1, name="inner")

    def call(self, inputs: Any) -> Any:
        x = keras.ops.relu(self.norm(self.conv(inputs)))
        x = x + self.inner(x)
        return self.last(keras.ops.mean(x, (1, 2)))


def test_a_model_without_a_graph_is_reconstructed_like_the_same_model_with_one() -> None:
    keras.utils.set_random_seed(1)
    model = Residual(name="own")
    x = [np.random.default_rng(0).normal(size=(40, 8, 8, 4)).astype(np.float32)]
    model(x[0][:1])
    inputs = keras.Input((8, 8, 4))
    y = L.BatchNormalization(name="norm")(L.Conv2D(8, 3, padding="same", name="conv")(inputs))
    y = L.ReLU()(y)
    y = L.Add()([y, L.Conv2D(8, 1, name="inner")(y)])
    known = keras.Model(inputs, L.Dense(4, name="last")(L.GlobalAveragePooling2D()(y)))
    for name in ("conv", "norm", "inner", "last"):
        known.get_layer(name).set_weights(getattr(model, name).get_weights())
    pruned = prune_one_shot(model, plan(model, "ethos-u55", sparsity=0.6), x)
    other = prune_one_shot(known, plan(known, "ethos-u55", sparsity=0.6), x)
    for name in ("conv", "inner", "last"):
        kernel = np.asarray(getattr(pruned, name).kernel)
        np.testing.assert_allclose(kernel, other.get_layer(name).kernel, atol=1e-3)
    np.testing.assert_allclose(pruned(x[0]), other(x[0]), atol=1e-3)


def test_values_beyond_the_memory_are_halved_and_go_to_files_that_are_gone_at_the_end() -> None:
    values = np.random.default_rng(0).normal(size=(4, 40000)).astype(np.float32) * 1e-9
    with open_store(memory_bytes=390_000) as store:
        for key, array in enumerate(values):
            store.put(key, keras.ops.convert_to_tensor(array))
        folder = store.folder
        # 160,000 bytes as they are, twice 80,000 in half precision; no more fits into memory.
        assert [path.stat().st_size for path in folder.iterdir()] == [80_000]
        np.testing.assert_array_equal(store.get(0), values[0])
        for key in (1, 2, 3):
            limit = 2.0**-11 * np.abs(values[key]).max()
            np.testing.assert_allclose(store.get(key), values[key], rtol=0, atol=limit)
        store.free(3)
        assert not list(folder.iterdir())
        store.free(0)
        store.put(4, keras.ops.convert_to_tensor(np.full(40000, np.inf, np.float32)))
        assert np.isinf(store.get(4)).all()
        store.put(5, keras.ops.arange(100_000))
        np.testing.assert_array_equal(store.get(5), np.arange(100_000))
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("mobilenet_v2", "xnnpack-arm64"),
        ("residual", "ethos-u85"),
        ("every_kind", "ethos-u55"),
        ("nested", "edge-tpu"),
    ],
)
def test_outputs_stay_nearer_to_the_dense_model_than_by_magnitude(name: str, device: str) -> None:
    model = build(name)
    x, new = samples(model, 64), samples(model, 64, seed=1)
    made = plan(model, device)
    with pytest.warns(QualityWarning, match="by magnitude alone"):
        plain = prune_one_shot(model, made)
    pruned = prune_one_shot(model, made, x)
    dense = predict(model, new)
    left, before = (
        sum(float(((a - b) ** 2).mean()) for a, b in zip(dense, predict(m, new), strict=True))
        for m in (pruned, plain)
    )
    assert left < 0.8 * before


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "sparsity"), ZEROS)
def test_every_layer_has_the_pattern_and_sparsity_of_the_plan(
    pattern: Pattern, sparsity: float
) -> None:
    model = build("every_kind")
    rows = []
    for info in describe_layers(map_layers(model)):
        fits = info.shape is not None and not isinstance(pattern, NofM)
        if isinstance(pattern, Block) and info.shape is not None:
            out, in_ = device_matrix.device_shape(info.kind, info.shape)
            fits = out % pattern.out == 0 and in_ % pattern.in_ == 0
        fits = fits or info.path in {"separable", "embed", "transposed"}
        rows.append(
            LayerPlan(
                path=info.path,
                kind=info.kind,
                shape=info.shape or (),
                pattern=pattern if fits else None,
                sparsity=sparsity if fits else 0,
                reason="test",
            )
        )
    made = Plan(device="own", model="m", goal="latency", asked=sparsity, layers=tuple(rows))
    pruned = map_layers(prune_one_shot(model, made, samples(model, 40))).layers
    for row in made.pruned:
        kernel = np.asarray(kernel_variable(pruned[row.path]))
        matrix = device_matrix.to_device(row.kind, kernel)
        wanted = make_mask((matrix != 0).astype(float), pattern, sparsity)
        np.testing.assert_array_equal(matrix != 0, wanted)
        assert not np.signbit(matrix[~wanted]).any()


def test_dense_batch_normalisation_keeps_the_moments_of_its_output() -> None:
    model = build("cnn")
    x = samples(model, 64)
    pruned = prune_one_shot(model, plan(model, "ethos-u55", sparsity=0.9), x)
    x = with_moved_copies(x)
    moments = []
    for network in (model, pruned):
        cut = keras.Model(network.inputs, network.get_layer("bn_2").output)
        output = np.asarray(infer(cut, x)[0])
        moments.append((output.mean((0, 1, 2)), output.std((0, 1, 2))))
    np.testing.assert_allclose(moments[1], moments[0], rtol=1e-3, atol=1e-3)


def test_few_samples_are_warned_of() -> None:
    model = build("mlp")
    made = plan(model, "ethos-u55")
    with pytest.warns(QualityWarning, match="31 samples are few"):
        prune_one_shot(model, made, samples(model, 31))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prune_one_shot(model, made, samples(model, 32))


def test_a_plan_that_prunes_nothing_changes_nothing() -> None:
    model = build("mlp")
    pruned = prune_one_shot(model, plan(model, "xnnpack-arm64"), samples(model, 4))
    for a, b in zip(weights(model), weights(pruned), strict=True):
        np.testing.assert_array_equal(a, b)


def test_moved_copies_of_images_follow_the_images_themselves() -> None:
    images = np.random.default_rng(0).random((3, 16, 20, 2)).astype(np.float32)
    (found,) = with_moved_copies([images])
    assert len(found) == MAX_COPIES * 3
    np.testing.assert_array_equal(found[:3], images)
    for number, copy in enumerate(found[3:]):
        image = images[number % 3]
        inside = copy[4:-4, 4:-4]
        windows = [image[t : t + 8, left : left + 12] for t in range(9) for left in range(9)]
        assert sum(np.array_equal(inside, window) for window in windows) == 1
    assert not np.array_equal(found[3:6], found[6:9])
    np.testing.assert_array_equal(found, with_moved_copies([images])[0])


@pytest.mark.parametrize(
    "shapes",
    [
        [(3, 16)],
        [(3, 16, 16)],
        [(3, 16, 16, 5)],
        [(3, 8, 32, 1)],
        [(3, 16, 16, 1), (3, 16, 16, 1)],
        [(128, 224, 224, 3)],
    ],
)
def test_what_is_no_small_image_gets_no_copies(shapes: list[tuple[int, ...]]) -> None:
    x = [np.zeros(shape, np.float32) for shape in shapes]
    assert with_moved_copies(x) is x
