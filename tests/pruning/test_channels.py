from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.data import Data
from edgeprune.core.device_matrix import device_shape
from edgeprune.core.errors import DataError, PlanError, ProfileError
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import Plan
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.interface import infer
from edgeprune.keras_model.layers import kernel_variable, map_layers
from edgeprune.keras_model.sparsity import reached_sparsity
from edgeprune.planning.fit import MAX_SPARSITY, TRIES, Fitted, Need, fit_plan, search
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.channel_cost import ChannelCost, PaddedOutputs
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.carry_out import prune_one_shot, train_pruned
from edgeprune.pruning.channels.cost import CostModel, by_constants, find_ops
from edgeprune.pruning.channels.distribution import Candidate, distribute_removal
from edgeprune.pruning.channels.group import Group, find_groups
from edgeprune.pruning.channels.importance import by_scores, eliminate, find_readers
from edgeprune.pruning.channels.plan_removal import Evidence
from edgeprune.pruning.channels.removal import build_smaller
from edgeprune.pruning.channels.rule import Coupling, LayerCall
from edgeprune.pruning.channels.statistics import measure_moments
from edgeprune.pruning.channels.taylor import taylor_scores
from edgeprune.pruning.channels.trace import Trace, trace
from tests.support.architectures import build
from tests.support.channel_networks import NETWORKS, transformer, unet

L = keras.layers


def inputs_of(model: Any, count: int = 2) -> list[Any]:
    generator = np.random.default_rng(1)
    return [
        generator.integers(0, 20, (count, *tensor.shape[1:])).astype(np.int32)
        if str(tensor.dtype).startswith("int")
        else generator.uniform(-1, 1, (count, *tensor.shape[1:])).astype(np.float32)
        for tensor in model.inputs
    ]


def lively(make: Any) -> Any:
    """A network whose every weight, also of normalisation, is random."""
    keras.utils.set_random_seed(3)
    model = make()
    generator = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(generator.uniform(0.2, 1.0, variable.shape))
    return model


def half_gone(traced: Trace, groups: tuple[Group, ...]) -> Any:
    kept = np.ones(traced.channels, bool)
    generator = np.random.default_rng(5)
    for group in groups:
        if not group.frozen:
            kept[generator.choice(group.channels, len(group) // 2, replace=False)] = False
    return kept


def silence(traced: Trace, kept: Any) -> None:
    """Sets every weight that reads a removed channel to zero, in place."""
    for found in traced.matrices:
        matrix = found.matrix
        if matrix.inputs is None:
            continue
        variable = getattr(found.layer, matrix.weight)
        kernel = np.moveaxis(np.asarray(variable).copy(), matrix.input_axis, 0)
        stays = kept[matrix.inputs]
        if len(kernel) == len(stays):
            kernel[~stays] = 0
        elif matrix.groups <= len(kernel):
            # A few wide groups lose the same inputs each; of narrow ones all go, outputs too.
            kernel[~stays[: len(kernel)]] = 0
        variable.assign(np.moveaxis(kernel, 0, matrix.input_axis))


@pytest.mark.parametrize("name", NETWORKS)
def test_without_dead_channels_a_network_computes_the_same(name: str) -> None:
    model = lively(NETWORKS[name])
    traced = trace(map_layers(model))
    groups = find_groups(traced)
    kept = half_gone(traced, groups)
    assert not kept.all()
    silence(traced, kept)
    smaller = build_smaller(map_layers(model), traced, kept).model
    x = inputs_of(model)
    for before, after in zip(infer(model, x), infer(smaller, x), strict=True):
        scale = float(np.abs(before).max())
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * scale)
    assert smaller.count_params() < model.count_params()
    assert list(map_layers(smaller).layers) == list(map_layers(model).layers)


def test_slices_of_a_copy_of_the_traced_network_follow_what_is_removed() -> None:
    model = lively(NETWORKS["slices"])
    traced = trace(map_layers(model))
    kept = half_gone(traced, find_groups(traced))
    smaller = build_smaller(map_layers(model), traced, kept).model
    other = build_smaller(map_layers(copy_model(model)), traced, kept).model
    x = inputs_of(model)
    for first, second in zip(infer(smaller, x), infer(other, x), strict=True):
        np.testing.assert_array_equal(first, second)


def test_every_slice_keeps_its_most_important_channel_until_all_others_are_gone() -> None:
    image = keras.Input((4, 4, 3))
    x = L.Conv2D(16, 1, name="first")(image)
    joined = L.Concatenate()([x, x[..., 3:5], x[..., 5:9]])
    traced = trace(map_layers(keras.Model(image, L.Conv2D(4, 1, name="last")(joined))))
    group = next(group for group in find_groups(traced) if len(group) == 6)
    scores = np.arange(traced.channels, dtype=float)
    order = Evidence((), {}, scores).order(group, 1).order
    outputs = traced.made_by["first"]
    assert group.channels[order].tolist() == outputs[[3, 5, 6, 7, 4, 8]].tolist()
    assert Candidate(group, by_scores(scores[:6]), 1).allowed() == (6, 5, 4, 3, 2)


def normalized(x: Any) -> Any:
    """Layer normalisation by operations, as converters write it."""
    mean = keras.ops.mean(x, axis=-1, keepdims=True)
    variance = keras.ops.mean(keras.ops.square(x - mean), axis=-1, keepdims=True)
    return (x - mean) * keras.ops.rsqrt(variance + 1e-3)


@pytest.mark.parametrize("normalize", [L.LayerNormalization(name="norm"), normalized])
def test_layer_normalization_keeps_its_result_if_what_goes_is_like_what_stays(
    normalize: Callable[[Any], Any],
) -> None:
    image = keras.Input((4, 6))
    x = normalize(L.Dense(16, name="first")(image))
    model = lively(lambda: keras.Model(image, L.Dense(3, name="last")(x)))
    first = model.get_layer("first")
    kernel, bias = (np.asarray(variable) for variable in first.weights)
    first.set_weights([np.tile(kernel[:, :8], 2), np.tile(bias[:8], 2)])
    traced = trace(map_layers(model))
    (group,) = (group for group in find_groups(traced) if not group.frozen)
    kept = np.ones(traced.channels, bool)
    kept[group.channels[8:]] = False
    silence(traced, kept)
    smaller = build_smaller(map_layers(model), traced, kept).model
    x = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(smaller(x), model(x), atol=1e-5)


def groups_of(model: Any) -> tuple[Group, ...]:
    return find_groups(trace(map_layers(model)))


def removable(model: Any) -> dict[str, Group]:
    return {group.name: group for group in groups_of(model) if not group.frozen}


def places(group: Group) -> set[tuple[str, str]]:
    return {(member.path, member.role) for member in group.members}


def test_a_residual_sum_couples_all_that_it_joins() -> None:
    (trunk, inner) = removable(build("residual")).values()
    assert {
        ("conv_in", "makes"),
        ("conv_2", "makes"),
        ("conv_1", "reads"),
        ("classes", "reads"),
    } <= places(trunk)
    assert {("conv_1", "makes"), ("bn_1", "carries"), ("conv_2", "reads")} <= places(inner)


def test_concatenated_channels_stand_behind_each_other() -> None:
    found = removable(NETWORKS["concatenate"]())
    reads = {
        name: next(
            m.positions.tolist() for m in group.members if m.role == "reads" and m.path == "last"
        )
        for name, group in found.items()
    }
    assert reads == {"one": list(range(16)), "other": list(range(16, 32))}


def test_a_dense_behind_a_flatten_loses_every_position_of_a_channel() -> None:
    (group,) = removable(NETWORKS["flatten"]()).values()
    reader = next(m for m in group.members if m.role == "reads")
    assert reader.each == 4
    model = NETWORKS["flatten"]()
    traced = trace(map_layers(model))
    kept = np.ones(traced.channels, bool)
    kept[find_groups(traced)[1].channels[3]] = False
    smaller = build_smaller(map_layers(model), traced, kept).model
    lost = [position * 16 + 3 for position in range(4)]
    expected = np.delete(np.asarray(model.get_layer("last").kernel), lost, axis=0)
    np.testing.assert_array_equal(smaller.get_layer("last").kernel, expected)


def test_a_group_prints_as_a_list_of_layers() -> None:
    lines = str(removable(NETWORKS["batch normalisation"]())["first"]).splitlines()
    assert lines[0] == "first: 16 channels, may be removed"
    assert "  first (Conv2D) makes 0-15 of kernel, axis 3" in lines
    assert "  last (Conv2D) reads 0-15 of kernel, axis 2" in lines


@keras.saving.register_keras_serializable("tests.channels")
class Halved(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x / 2


def frozen_by(middle: Any) -> str:
    image = keras.Input((8, 8, 4))
    x = L.Conv2D(16, 1, name="first")(image)
    model = keras.Model(image, L.Conv2D(4, 1, name="last")(middle(x)))
    return next(g.frozen for g in groups_of(model) if any(m.role == "makes" for m in g.members))


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (L.Lambda(lambda x: x * 2), "a Lambda can do anything"),
        (Halved(), "there is no rule for the custom layer 'Halved'"),
        (L.Softmax(), "a softmax reads all channels at once"),
        (L.Activation("softmax"), "its activation 'softmax' reads all channels at once"),
        (lambda x: x[..., 0][..., None], "it takes single channels by their position"),
        (lambda x: x[..., ::3], "it takes channels at a step that does not divide them evenly"),
        (lambda x: keras.ops.take(x, [1, 0], -1), "it takes single channels by their position"),
        (lambda x: keras.ops.pad(x, ((0, 0),) * 3 + ((1, 1),), "reflect"), "it mirrors channels"),
        (lambda x: keras.ops.reshape(x, (-1, 4, 8, 8)), "it splits or joins samples"),
        (lambda x: L.Attention()([x, x]), "attention compares its channels one by one"),
        (lambda x: keras.ops.cumsum(x, axis=-1), "there is no rule for the operation 'Cumsum'"),
        (lambda x: x * np.ones(16, np.float32), "a value for each channel"),
    ],
)
def test_what_cannot_be_followed_stays_with_a_reason(middle: Any, reason: str) -> None:
    assert reason in frozen_by(middle)


def test_channels_beside_one_number_per_sample_are_removed() -> None:
    """A factorisation machine: the product of two features joins what the layers make."""
    x = keras.Input((8,), name="x")
    product = keras.ops.expand_dims(x[:, 0] * x[:, 1], -1)
    hidden = L.Dense(64, name="hidden")(L.Dense(64, name="first")(x))
    model = keras.Model(x, L.Dense(4)(L.Concatenate()([hidden, product])))
    pruned = prune_one_shot(model, plan(model, "xnnpack-x86"))
    assert pruned.get_layer("first").units < 64
    assert pruned.get_layer("hidden").units < 64


def test_inputs_and_outputs_of_the_model_stay() -> None:
    reasons = {group.frozen for group in groups_of(NETWORKS["Conv2D"]())}
    assert reasons == {"it is an input of the model", "", "it is an output of the model"}


def test_a_users_rule_lets_a_custom_layer_through() -> None:
    def halved(call: LayerCall) -> Coupling:
        return Coupling(call.inputs)

    image = keras.Input((8, 8, 4))
    x = Halved(name="half")(L.Conv2D(16, 1, name="first")(image))
    model = keras.Model(image, L.Conv2D(4, 1, name="last")(x))
    made = plan(model, "xnnpack-x86", rules={Halved: halved})
    smaller = prune_one_shot(model, made, rules={Halved: halved})
    assert smaller.get_layer("first").filters == 8
    assert plan(model, "xnnpack-x86").pruned == ()


@pytest.mark.parametrize("make", [unet, transformer])
@pytest.mark.parametrize("device", ["xnnpack-x86", "edge-tpu"])
def test_networks_shrink_to_the_sparsity_asked_in_whole_multiples(make: Any, device: str) -> None:
    model = make()
    made = plan(model, device, sparsity=0.4)
    smaller = prune_one_shot(model, made)
    reached = reached_sparsity(smaller, made)
    assert reached == pytest.approx(made.expected_sparsity)
    assert reached == pytest.approx(0.4, abs=0.12)
    layers = map_layers(smaller).layers
    for row in made.pruned:
        assert isinstance(row.pattern, Channels)
        kernel = kernel_variable(layers[row.path])
        assert tuple(kernel.shape) == row.after
        assert device_shape(row.kind, tuple(kernel.shape))[0] % row.pattern.multiple == 0


def wide() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((12,)),
            L.Dense(32, activation="relu", name="hidden"),
            L.Dense(32, activation="relu", name="more"),
            L.Dense(4, name="scores"),
        ]
    )


def with_sparsity(made: Plan, **wanted: float | None) -> Plan:
    rows = []
    for row in made.layers:
        value = wanted.get(row.path, row.sparsity)
        changed = {"pattern": None, "sparsity": 0.0} if value is None else {"sparsity": value}
        rows.append(row.model_copy(update=changed if row.path in wanted else {}))
    return made.model_copy(update={"layers": tuple(rows)})


def test_an_edited_plan_is_obeyed() -> None:
    model = wide()
    made = plan(model, "xnnpack-x86")
    smaller = prune_one_shot(model, with_sparsity(made, hidden=0.75, more=None))
    assert smaller.get_layer("hidden").units == 8
    assert smaller.get_layer("more").units == 32


def test_layers_that_go_together_must_be_asked_for_the_same() -> None:
    model = build("residual")
    made = plan(model, "xnnpack-x86")
    with pytest.raises(PlanError, match="removed together"):
        prune_one_shot(model, with_sparsity(made, conv_in=0.5, conv_2=0.25))


@pytest.mark.parametrize(("name", "path"), [("BlazeFace", "wide"), ("ShuffleNet", "in_1")])
def test_a_layer_that_makes_several_groups_loses_what_was_planned(name: str, path: str) -> None:
    model = NETWORKS[name]()
    made = plan(model, "xnnpack-x86", sparsity=0.5)
    assert path in {row.path for row in made.pruned}
    smaller = map_layers(prune_one_shot(model, made)).layers
    for row in made.pruned:
        assert tuple(kernel_variable(smaller[row.path]).shape) == row.after


def test_a_layer_left_out_keeps_all_that_goes_with_it() -> None:
    made = plan(build("residual"), "xnnpack-x86", skip="conv_2")
    rows = {row.path: row for row in made.layers}
    assert rows["conv_in"].pattern is None
    assert "conv_2 stays: left out" in rows["conv_in"].reason
    assert rows["conv_1"].sparsity > 0


def test_elimination_counts_what_the_best_linear_guess_loses() -> None:
    """Against an oracle that solves the least squares problem for every set by itself."""
    model = wide()
    traced = trace(map_layers(model))
    x = np.random.default_rng(0).normal(size=(256, 12)).astype(np.float32)
    moments = measure_moments(traced, [x], lambda *_: None)
    readers = find_readers(traced, moments)
    group = next(g for g in find_groups(traced) if g.name == "hidden" and not g.frozen)
    found = eliminate(group, readers, 4)
    reader = next(r for r in readers if r.path == "more")
    covariance = np.asarray(reader.moments.covariance, np.float64) if reader.moments else None
    assert covariance is not None
    gone = found.order[:8]
    stay = np.setdiff1d(np.arange(32), gone)
    guess = np.linalg.solve(covariance[np.ix_(stay, stay)], covariance[np.ix_(stay, gone)])
    left = covariance[np.ix_(gone, gone)] - covariance[np.ix_(gone, stay)] @ guess
    weights = reader.weights[gone]
    lost = np.trace(weights.T @ left @ weights) / reader.total
    assert found.losses[:8].sum() == pytest.approx(lost, rel=0.02, abs=1e-5)
    assert found.losses.sum() == pytest.approx(1.0, rel=0.02)


def test_channels_that_others_can_stand_in_for_go_without_a_trace() -> None:
    model = wide()
    hidden = model.get_layer("hidden")
    kernel, bias = hidden.get_weights()
    hidden.set_weights([np.tile(kernel[:, :16], 2), np.tile(bias[:16], 2)])
    x = np.random.default_rng(0).normal(size=(4096, 12)).astype(np.float32)
    made = with_sparsity(plan(model, "xnnpack-x86"), hidden=0.5, more=0.0)
    smaller = prune_one_shot(model, made, [x])
    assert smaller.get_layer("hidden").units == 16
    before = np.asarray(model(x))
    assert float(np.std(smaller(x) - before)) < 0.1 * float(np.std(before))
    blind = prune_one_shot(model, made)
    assert float(np.std(blind(x) - before)) > 0.2 * float(np.std(before))


def test_taylor_scores_are_the_squared_derivative_by_a_factor_on_the_channel() -> None:
    model = wide()
    traced = trace(map_layers(model))
    generator = np.random.default_rng(0)
    data = Data((generator.normal(size=(8, 12)).astype(np.float32),), np.arange(8) % 4)
    found = taylor_scores(model, traced, data, lambda *_: None)
    group = next(g for g in find_groups(traced) if g.name == "more")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    step, channel = 1e-2, 5
    kernel = model.get_layer("scores").kernel
    before = np.asarray(kernel).copy()
    values = []
    for factor in (1 + step, 1 - step):
        changed = before.copy()
        changed[channel] *= factor
        kernel.assign(changed)
        outputs = np.asarray(model(data.x[0]))
        values.append(
            [
                float(loss(y[None], o[None]))
                for y, o in zip(np.asarray(data.y), outputs, strict=True)
            ]
        )
    slopes = (np.array(values[0]) - np.array(values[1])) / (2 * step)
    assert found[group.channels[channel]] == pytest.approx(np.mean(slopes**2), rel=0.05, abs=1e-9)


def test_nothing_goes_where_the_device_pads_it_back() -> None:
    """Storage that steps with every 64 outputs: 112 of 128 are as dear as all."""
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(128, name="hidden"), L.Dense(4, name="scores")]
    )
    traced = trace(map_layers(model))
    group = next(g for g in find_groups(traced) if not g.frozen)
    cost = ChannelCost(
        macs_per_byte=0,
        stored_outputs=(PaddedOutputs(multiple=64),),
        stored_inputs=64,
        source="a test",
    )
    candidate = Candidate(group, by_scores(np.linspace(1, 2, 128)), 16)
    counted = {"hidden": "kernel", "scores": "kernel"}
    found = distribute_removal(
        [candidate],
        CostModel(find_ops(traced, counted), [group], by_constants(cost, 1)),
        sparsity=0.4,
        whole=128 * 8,
        measure="stored",
    )
    assert found.kept == (64,)


def test_the_edge_tpus_storage_steps_are_those_of_its_compiler() -> None:
    cost = load_profile("edge-tpu").channel_cost
    assert [cost.stored_outputs_of(n) for n in (1, 8, 24, 64, 72, 144, 1001)] == [
        4, 16, 32, 64, 128, 192, 1024,
    ]  # fmt: skip


def test_a_measured_table_stands_in_for_multiples() -> None:
    rows = [{"outputs": 8, "cost": 1.0}, {"outputs": 16, "cost": 4.0}]
    cost = ChannelCost.model_validate({"measured": rows, "macs_per_byte": 0, "source": "a test"})
    assert [cost.computed_outputs(n) for n in (8, 12, 16)] == [4, 10, 16]


def test_training_starts_from_the_smaller_model() -> None:
    model = wide()
    generator = np.random.default_rng(0)
    data = Data((generator.normal(size=(64, 12)).astype(np.float32),), np.arange(64) % 4)
    made = plan(model, "xnnpack-x86", x=data)
    trained = train_pruned(model, made, data, epochs=1)
    assert trained.get_layer("hidden").units < 32
    assert reached_sparsity(trained, made) == pytest.approx(made.expected_sparsity)


def test_a_compiled_model_stays_compiled() -> None:
    model = wide()
    model.compile("sgd", "mse")
    smaller = prune_one_shot(model, plan(model, "xnnpack-x86"))
    assert smaller.compiled
    assert smaller.loss == "mse"


def need(share: float) -> Need:
    return Need("flash", round(share * 1000), 1000)


def test_the_search_finds_the_least_removal_that_fits() -> None:
    """Against a device on which a model takes as much as is left of it, and a fifth more."""
    model = wide()
    made = plan(model, "xnnpack-x86")
    tried = []

    def attempt(sparsity: float) -> Fitted:
        tried.append(sparsity)
        return Fitted(made, (need(1.2 + 0.4 * (1 - sparsity) ** 2 - sparsity),), ())

    found = search(attempt(0.0), attempt, lambda *_: None)
    assert found.ok
    assert found.needs[0].share > 0.95
    assert found.dense[0].share == pytest.approx(1.6)
    assert len(tried) <= TRIES + 1


@pytest.mark.parametrize("step", [0.1, 0.31, 0.5, 0.77, 0.94])
def test_the_search_finds_a_fit_where_memory_falls_in_one_step(step: float) -> None:
    """As an arena does, which is as large as its largest two maps."""
    made = plan(wide(), "xnnpack-x86")
    tried: list[float] = []

    def attempt(sparsity: float) -> Fitted:
        tried.append(sparsity)
        return Fitted(made, (need(1.012 if sparsity < step else 0.7),), ())

    found = search(Fitted(made, (need(1.3),), ()), attempt, lambda *_: None)
    assert found.ok
    assert tried[0] == MAX_SPARSITY
    assert len(tried) <= TRIES
    assert step <= min(sparsity for sparsity in tried if sparsity >= step) < step + 0.13


def test_a_fit_below_the_far_end_is_found_and_only_what_was_tried_is_advised() -> None:
    made = plan(wide(), "xnnpack-x86")
    tried: list[float] = []

    def attempt(fitting: float, sparsity: float) -> Fitted:
        tried.append(sparsity)
        return Fitted(made, (need(0.9 if sparsity == fitting else 1.2 - sparsity / 10),), ())

    whole = Fitted(made, (need(1.3),), ())
    assert search(whole, partial(attempt, 0.8), lambda *_: None).ok
    tried.clear()
    hopeless = search(whole, partial(attempt, 2.0), lambda *_: None)
    assert max(tried) == MAX_SPARSITY
    assert "Removing up to 95% was tried" in str(hopeless)


def test_a_model_that_fits_as_it_is_stays_whole() -> None:
    made = plan(wide(), "xnnpack-x86")
    whole = Fitted(made, (need(0.4),), ())
    assert search(whole, lambda _: pytest.fail("tried"), lambda *_: None).plan is made


def test_what_cannot_fit_says_how_close_it_came() -> None:
    made = plan(wide(), "xnnpack-x86")

    def attempt(sparsity: float) -> Fitted:
        return Fitted(made, (need(3 - sparsity),), ())

    found = search(attempt(0.0), attempt, lambda *_: None)
    assert not found.ok
    assert "Does not fit; the closest" in str(found)
    assert "of 1000 bytes" in str(found)


@pytest.mark.slow
def test_a_model_is_shrunk_until_its_file_fits_the_flash() -> None:
    model = build("cnn")
    x = np.random.default_rng(0).uniform(-1, 1, (32, 16, 16, 3)).astype(np.float32)
    profile = load_profile("edge-tpu")
    limit = profile.limits.flash_bytes.model_copy(update={"value": 45_000})
    chip = profile.limits.model_copy(update={"flash_bytes": limit})
    found = fit_plan(
        model, profile.model_copy(update={"limits": chip}), data=Data((x,)), goal="memory"
    )
    assert found.ok
    assert found.dense[0].value > 45_000
    assert {need.name for need in found.needs} == {"flash", "on-chip memory"}


def test_a_profile_without_limits_has_nothing_to_fit_into() -> None:
    with pytest.raises(ProfileError, match="expected a limit"):
        fit_plan(wide(), load_profile("xnnpack-x86"))
    with pytest.raises(DataError, match="needs calibration data"):
        fit_plan(wide(), load_profile("edge-tpu"))
