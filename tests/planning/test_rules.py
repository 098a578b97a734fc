from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import PlanError
from edgeprune.core.pattern import Block, Channels, NofM, Unstructured
from edgeprune.core.plan import LayerInfo, Plan, check_plan
from edgeprune.core.terms import Goal
from edgeprune.planning.rules import make_plan
from tests.support.profiles import profile, rule, strategy


def conv(path: str, shape: tuple[int, ...], **facts: Any) -> LayerInfo:
    return LayerInfo(path, "Conv2D", shape, math.prod(shape), **{"pixels": 64, **facts})


def dense(path: str, inputs: int, outputs: int, **facts: Any) -> LayerInfo:
    return LayerInfo(path, "Dense", (inputs, outputs), inputs * outputs, pixels=1, **facts)


NETWORK = (
    conv("stem", (3, 3, 3, 32)),
    LayerInfo("bn", "BatchNormalization", None, 128),
    LayerInfo("relu", "ReLU", None, 0),
    LayerInfo("dw", "DepthwiseConv2D", (3, 3, 32, 1), 288, pixels=64),
    conv("pw_1", (1, 1, 32, 64)),
    conv("pw_2", (1, 1, 64, 64)),
    conv("downsample", (1, 1, 64, 64), strides=(2, 2)),
    conv("squeeze", (1, 1, 64, 16), pixels=1),
    dense("classes", 64, 10, feeds_output=True),
)

POINTWISE = profile(
    rule(Block(2, 1), kinds=("Conv2D",), min_pixels=2, stride_one=True),
    rule(Block(2, 1), kinds=("Conv2D",), feeds_map=True),
    prunable={"kinds": ("Conv2D",), "kernel": "1x1", "min_pixels": 2},
    also={"kinds": ("Conv2D",), "kernel": "1x1"},
)
"""Prunes 1x1 convolutions of stride 1 on maps, and those of squeeze-and-excite along with them."""
CHANNELS = profile(
    strategies=(
        strategy(rule(Channels(16))),
        strategy(rule(Channels(64), min_outputs=128), rule(Channels(16)), goals=("memory",)),
    )
)
ANYWHERE = profile(rule(Unstructured()))
TWO_OF_FOUR = profile(rule(NofM(2, 4)))


def rows(plan: Plan) -> dict[str, Any]:
    return {layer.path: layer for layer in plan.layers}


def test_every_layer_has_a_pattern_or_a_reason() -> None:
    plan = make_plan(NETWORK, POINTWISE)
    assert [layer.path for layer in plan.layers] == [layer.path for layer in NETWORK]
    patterns = {layer.path: layer.pattern for layer in plan.layers if layer.pattern}
    assert patterns == {"pw_1": Block(2, 1), "pw_2": Block(2, 1)}
    assert rows(plan)["pw_1"].reason == "layers that take Block(2,1)"
    assert all(layer.reason for layer in plan.layers)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("stem", "a kernel of 9 positions, not 1x1: the device skips no zeros there"),
        ("bn", "patterns are not defined on the weights of a BatchNormalization"),
        ("relu", "no weights"),
        ("dw", "a DepthwiseConv2D: the device skips no zeros there"),
        ("downsample", "stride 2, not 1 for Block(2,1)"),
        ("squeeze", "outputs that do not go back into a feature map for Block(2,1)"),
        ("classes", "a Dense: the device skips no zeros there"),
    ],
)
def test_reasons_name_what_the_kernel_does_not_take(path: str, reason: str) -> None:
    row = rows(make_plan(NETWORK, POINTWISE))[path]
    assert row.pattern is None
    assert row.reason == reason


@pytest.mark.parametrize("first", [0, 1, 2])
def test_the_rule_that_comes_nearest_gives_the_reason_wherever_it_stands(first: int) -> None:
    wide = rule(Block(2, 1), kinds=("Dense",), min_outputs=256)
    others = [rule(Block(4, 1), kinds=("Conv2D",)), rule(Block(1, 4), kinds=("Conv1D",))]
    others.insert(first, wide)
    row = rows(make_plan(NETWORK, profile(*others)))["classes"]
    assert row.reason == "10 outputs, fewer than 256 for Block(2,1)"


def test_of_rules_that_come_equally_near_the_first_gives_the_reason() -> None:
    kinds = [rule(Block(4, 1), kinds=("Conv1D",)), rule(Block(2, 1), kinds=("Conv1D",))]
    assert rows(make_plan(NETWORK, profile(*kinds)))["classes"].reason == "a Dense for Block(4,1)"


def test_layers_that_must_stay_dense_are_made_up_for_by_the_others() -> None:
    """The stride-2 convolution counts towards the asked sparsity, so the other two take more."""
    plan = make_plan(NETWORK, POINTWISE, sparsity=0.5)
    covered, counted = 32 * 64 + 64 * 64, 32 * 64 + 2 * 64 * 64
    assert rows(plan)["pw_1"].sparsity == pytest.approx(0.5 * counted / covered)
    assert plan.expected_sparsity == pytest.approx(0.5)
    assert plan.warnings() == ()


def test_a_raise_stops_short_of_emptying_a_layer_and_says_so() -> None:
    """Raised in full, 0.8 of 10240 weights would be 8192 zeros in the 6144 that take any."""
    plan = make_plan(NETWORK, POINTWISE, sparsity=0.8)
    assert rows(plan)["pw_1"].sparsity == rows(plan)["pw_2"].sparsity == 0.95
    (warning,) = plan.warnings()
    assert f"{0.95 * 6144 / 10240:.3f} instead of 0.8" in warning


def test_layers_that_the_user_leaves_out_are_not_made_up_for() -> None:
    """They count all the same: 2048 and 864 of 16032 weights stay, of the others 0.6 go."""
    plan = make_plan(NETWORK, ANYWHERE, sparsity=0.6, skip="pw_1|stem")
    assert {layer.sparsity for layer in plan.pruned} == {0.6}
    assert "left out" in rows(plan)["pw_1"].reason
    assert rows(plan)["stem"].pattern is None
    weights = 864 + 288 + 2048 + 2 * 4096 + 1024 + 640
    assert plan.expected_sparsity == pytest.approx(0.6 * (weights - 2048 - 864) / weights)
    assert len(plan.warnings()) == 1


def test_only_and_skip_are_searched_in_the_path() -> None:
    plan = make_plan(NETWORK, ANYWHERE, only="^pw", skip="2$")
    assert [layer.path for layer in plan.pruned] == ["pw_1"]


@pytest.mark.parametrize(
    ("option", "expression", "said"),
    [
        ("only", "pw_3", "found in no layer's path"),
        ("skip", "dense", "found in no layer's path"),
        ("skip", "(", "expected a regular expression"),
    ],
)
def test_an_expression_that_selects_nothing_is_an_error(
    option: str, expression: str, said: str
) -> None:
    options: Any = {option: expression}
    with pytest.raises(PlanError, match=said):
        make_plan(NETWORK, ANYWHERE, **options)


def test_channels_leave_the_outputs_of_the_model_and_narrow_layers_alone() -> None:
    plan = rows(make_plan(NETWORK, CHANNELS))
    assert plan["pw_1"].pattern == Channels(16)
    assert plan["classes"].pattern is None
    assert plan["squeeze"].pattern is None
    assert "model's outputs" in plan["classes"].reason
    assert "no more than the 16" in plan["squeeze"].reason


def test_squeeze_and_excite_is_pruned_along_but_not_counted() -> None:
    excite = conv("excite", (1, 1, 16, 64), pixels=1, feeds_map=True)
    plan = make_plan((*NETWORK, excite), POINTWISE, sparsity=0.5)
    assert rows(plan)["excite"].pattern == Block(2, 1)
    assert not rows(plan)["excite"].prunable
    assert rows(plan)["squeeze"].pattern is None
    assert plan.expected_sparsity == pytest.approx(0.5)


def test_a_goal_chooses_the_pattern_by_the_width_of_the_layer() -> None:
    wide = (*NETWORK, conv("wide", (1, 1, 64, 128)))
    cases: list[tuple[Goal | None, Channels]]
    cases = [("memory", Channels(64)), ("latency", Channels(16)), (None, Channels(16))]
    for goal, pattern in cases:
        plan = rows(make_plan(wide, CHANNELS, goal=goal))
        assert (plan["wide"].pattern, plan["pw_1"].pattern) == (pattern, Channels(16))


def test_two_of_four_wants_input_channels_in_fours() -> None:
    plan = rows(make_plan(NETWORK, TWO_OF_FOUR))
    assert plan["pw_1"].pattern == NofM(2, 4)
    assert plan["pw_1"].sparsity == 0.5
    assert "3 input channels, not a multiple of 4" in plan["stem"].reason


@pytest.mark.parametrize("sparsity", [0.0, 0.8, 1.0, -1.0, math.nan])
def test_two_of_four_refuses_another_sparsity(sparsity: float) -> None:
    with pytest.raises(PlanError, match=r"by definition|0 <= sparsity < 1"):
        make_plan(NETWORK, TWO_OF_FOUR, sparsity=sparsity)


def test_a_network_with_nothing_to_prune_is_said_to_be_one() -> None:
    plan = make_plan([dense("a", 8, 8)], POINTWISE)
    assert "Nothing to prune" in plan.warnings()[0]
    assert plan.expected_sparsity == 0


@st.composite
def networks(draw: st.DrawFn) -> list[LayerInfo]:
    sizes = st.integers(1, 96)
    return [
        conv(f"layer_{i}", (k, k, draw(sizes), draw(sizes)), feeds_output=draw(st.booleans()))
        for i in range(draw(st.integers(1, 6)))
        for k in [draw(st.sampled_from([1, 3]))]
    ]


PROFILES = {
    "pointwise": POINTWISE,
    "channels": CHANNELS,
    "anywhere": ANYWHERE,
    "two of four": TWO_OF_FOUR,
}


@given(networks(), st.sampled_from(sorted(PROFILES)))
def test_a_plan_fits_its_layers_and_goes_to_json_and_back(
    layers: list[LayerInfo], name: str
) -> None:
    plan = make_plan(layers, PROFILES[name], model="m.keras")
    assert Plan.model_validate_json(json.dumps(plan.to_json())) == plan
    check_plan(plan, layers)
    assert [layer.shape for layer in plan.layers] == [layer.shape for layer in layers]


@given(networks(), st.floats(0, 0.99))
def test_where_every_layer_can_be_pruned_the_plan_expects_what_was_asked(
    layers: list[LayerInfo], sparsity: float
) -> None:
    plan = make_plan(layers, ANYWHERE, sparsity=sparsity)
    assert plan.expected_sparsity == pytest.approx(sparsity)
    assert all(layer.pattern == Unstructured() for layer in plan.layers)
