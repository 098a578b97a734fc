from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import PlanError
from edgeprune.core.pattern import Block, Channels, NofM, Unstructured
from edgeprune.core.plan import LayerInfo, Plan, check_plan, read_plan
from edgeprune.planning.rules import make_plan
from edgeprune.profiles.profile import load_profile


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


def rows(plan: Plan) -> dict[str, Any]:
    return {layer.path: layer for layer in plan.layers}


def test_every_layer_has_a_pattern_or_a_reason() -> None:
    plan = make_plan(NETWORK, load_profile("xnnpack-arm64"))
    assert [layer.path for layer in plan.layers] == [layer.path for layer in NETWORK]
    assert all(layer.reason for layer in plan.layers)
    assert {layer.path for layer in plan.pruned} == {"pw_1", "pw_2"}
    assert all(layer.pattern == Block(2, 1) for layer in plan.pruned)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("stem", "a kernel of 9 positions, not 1x1"),
        ("bn", "not defined on the weights of a BatchNormalization"),
        ("relu", "no weights"),
        ("dw", "a DepthwiseConv2D"),
        ("downsample", "stride 2, not 1"),
        ("squeeze", "a feature map of 1 pixel"),
        ("classes", "a Dense"),
    ],
)
def test_reasons_name_what_the_kernel_does_not_take(path: str, reason: str) -> None:
    row = rows(make_plan(NETWORK, load_profile("xnnpack-arm64")))[path]
    assert row.pattern is None
    assert reason in row.reason


def test_layers_that_must_stay_dense_are_made_up_for_by_the_others() -> None:
    """The stride-2 convolution counts towards the asked sparsity, so the other two take more."""
    plan = make_plan(NETWORK, load_profile("xnnpack-arm64"), sparsity=0.5)
    covered, counted = 32 * 64 + 64 * 64, 32 * 64 + 2 * 64 * 64
    assert rows(plan)["pw_1"].sparsity == pytest.approx(0.5 * counted / covered)
    assert plan.expected_sparsity == pytest.approx(0.5)
    assert plan.warnings() == ()


def test_a_raise_stops_short_of_emptying_a_layer_and_says_so() -> None:
    plan = make_plan(NETWORK, load_profile("xnnpack-arm64"), sparsity=0.8)
    assert rows(plan)["pw_1"].sparsity == 0.95
    assert "instead of 0.8" in plan.warnings()[0]


def test_layers_that_the_user_leaves_out_are_not_made_up_for() -> None:
    plan = make_plan(NETWORK, load_profile("ethos-u55"), sparsity=0.6, skip="pw_1|stem")
    assert rows(plan)["pw_2"].sparsity == 0.6
    assert "left out" in rows(plan)["pw_1"].reason
    assert plan.expected_sparsity < 0.6
    assert plan.warnings()


def test_only_and_skip_are_searched_in_the_path() -> None:
    plan = make_plan(NETWORK, load_profile("ethos-u55"), only="^pw", skip="2$")
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
        make_plan(NETWORK, load_profile("ethos-u55"), **options)


def test_channels_leave_the_outputs_of_the_model_and_narrow_layers_alone() -> None:
    plan = rows(make_plan(NETWORK, load_profile("edge-tpu")))
    assert plan["pw_1"].pattern == Channels(16)
    assert "model's outputs" in plan["classes"].reason
    assert "no more than the 16" in plan["squeeze"].reason


def test_squeeze_and_excite_is_pruned_along_but_not_counted() -> None:
    """XNNPACK counts its weights among those of which two thirds must be zero."""
    excite = conv("excite", (1, 1, 16, 64), pixels=1, feeds_map=True)
    plan = make_plan((*NETWORK, excite), load_profile("xnnpack-arm64"), sparsity=0.5)
    assert rows(plan)["excite"].pattern == Block(2, 1)
    assert not rows(plan)["excite"].prunable
    assert rows(plan)["squeeze"].pattern is None
    assert plan.expected_sparsity == pytest.approx(0.5)


def test_a_goal_chooses_the_pattern_by_the_width_of_the_layer() -> None:
    wide = (*NETWORK, conv("wide", (1, 1, 64, 128)))
    plan = rows(make_plan(wide, load_profile("edge-tpu"), goal="memory"))
    assert (plan["wide"].pattern, plan["pw_1"].pattern) == (Channels(64), Channels(16))


def test_two_of_four_wants_input_channels_in_fours() -> None:
    plan = rows(make_plan(NETWORK, load_profile("ethos-u85")))
    assert plan["pw_1"].pattern == NofM(2, 4)
    assert plan["pw_1"].sparsity == 0.5
    assert "3 input channels, not a multiple of 4" in plan["stem"].reason


@pytest.mark.parametrize("sparsity", [0.0, 0.8, 1.0, -1.0, math.nan])
def test_two_of_four_refuses_another_sparsity(sparsity: float) -> None:
    with pytest.raises(PlanError, match=r"by definition|0 <= sparsity < 1"):
        make_plan(NETWORK, load_profile("ethos-u85"), sparsity=sparsity)


def test_a_network_with_nothing_to_prune_is_said_to_be_one() -> None:
    plan = make_plan([dense("a", 8, 8)], load_profile("xnnpack-arm64"))
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


DEVICES = st.sampled_from(["xnnpack-arm64", "xnnpack-x86", "edge-tpu", "ethos-u55", "ethos-u85"])


@given(networks(), DEVICES)
def test_a_plan_goes_to_json_and_back(layers: list[LayerInfo], device: str) -> None:
    plan = make_plan(layers, load_profile(device), model="m.keras")
    assert Plan.model_validate_json(json.dumps(plan.to_json())) == plan
    check_plan(plan, layers)


@given(networks(), st.floats(0, 0.99))
def test_where_every_layer_can_be_pruned_the_plan_expects_what_was_asked(
    layers: list[LayerInfo], sparsity: float
) -> None:
    plan = make_plan(layers, load_profile("ethos-u55"), sparsity=sparsity)
    assert plan.expected_sparsity == pytest.approx(sparsity)
    assert all(layer.pattern == Unstructured() for layer in plan.layers)


def written(tmp_path: Path, **changes: Any) -> Path:
    """A plan on disk, its layer pw_1 edited."""
    content = make_plan(NETWORK, load_profile("xnnpack-arm64"), model="m.keras").to_json()
    row = next(layer for layer in content["layers"] if layer["path"] == "pw_1")
    row.update(changes)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content))
    return path


def test_an_edited_plan_is_taken_as_it_is(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, pattern="Block(4, 1)", sparsity=0.25))
    check_plan(plan, NETWORK)
    assert (rows(plan)["pw_1"].pattern, rows(plan)["pw_1"].sparsity) == (Block(4, 1), 0.25)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patern": "x"}, "Did you mean 'pattern'?"),
        ({"pattern": "Blok(2,1)"}, "Expected a pattern"),
        ({"sparsity": 1.0}, "sparsity"),
        ({"sparsity": "much"}, "sparsity"),
        ({"path": "pw_2"}, "Received twice: pw_2"),
    ],
)
def test_what_is_wrong_in_an_edited_plan_is_said(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(PlanError, match=re.escape(said)):
        read_plan(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "pw_9"}, "'pw_9', which this model does not have. Did you mean"),
        ({"shape": [1, 1, 32, 32]}, "made for a kernel [1, 1, 32, 32]"),
        ({"pattern": "NofM(2,4)"}, "0.5 by definition"),
    ],
)
def test_a_plan_that_does_not_fit_the_model_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(PlanError, match=re.escape(said)):
        check_plan(read_plan(written(tmp_path, **changes)), NETWORK)


def test_a_pattern_on_a_layer_without_a_kernel_is_refused(tmp_path: Path) -> None:
    content = json.loads(written(tmp_path).read_text())
    content["layers"][1]["pattern"] = "Unstructured"
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content))
    with pytest.raises(PlanError, match="a BatchNormalization has no kernel"):
        check_plan(read_plan(path), NETWORK)


@pytest.mark.parametrize("content", ["", "{", "[]", "nonsense"])
def test_a_file_that_is_no_plan_names_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(PlanError, match=re.escape(str(path))):
        read_plan(path)
    with pytest.raises(PlanError, match="cannot read"):
        read_plan(tmp_path / "gone.json")
