"""A plan as a value and as a file that people edit."""

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
from edgeprune.core.outlook import Outlook
from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured
from edgeprune.core.plan import LayerInfo, LayerPlan, LayerSparsity, Plan, check_plan, read_plan
from edgeprune.core.plan_verdict import Expected, Island
from tests.support.printing import HOSTILE, check_printed

KINDS = {"Dense": 2, "Conv1D": 3, "Conv2D": 4, "DepthwiseConv2D": 4}
SIZES = st.integers(1, 70)
PATTERNS: st.SearchStrategy[Pattern | None] = st.one_of(
    st.none(),
    st.just(Unstructured()),
    st.builds(Block, st.integers(1, 4), st.integers(1, 4)),
    st.just(NofM(2, 4)),
    st.builds(Channels, st.integers(1, 32)),
)


@st.composite
def row_plans(draw: st.DrawFn) -> LayerPlan:
    kind = draw(st.sampled_from(sorted(KINDS)))
    pattern = draw(PATTERNS)
    sparsity = {type(None): 0.0, NofM: 0.5}.get(type(pattern))
    return LayerPlan(
        path=draw(st.text(min_size=1, max_size=8)),
        kind=kind,
        shape=tuple(draw(SIZES) for _ in range(KINDS[kind])),
        pattern=pattern,
        sparsity=draw(st.floats(0, 0.99)) if sparsity is None else sparsity,
        reason="drawn",
        prunable=draw(st.booleans()),
        expected_error=draw(st.none() | st.floats(0, 1)),
    )


PLANS = st.builds(
    Plan,
    device=st.just("imagined"),
    model=st.text(max_size=8),
    goal=st.sampled_from(["latency", "flash", "memory"]),
    asked=st.floats(0, 0.99),
    layers=st.lists(row_plans(), max_size=4).map(tuple),
)


@given(PLANS)
def test_a_plan_survives_json(plan: Plan) -> None:
    content = json.loads(json.dumps(plan.to_json()))
    assert Plan.model_validate(content) == plan
    assert Plan.model_validate(content).to_json() == content
    assert [row["pattern"] for row in content["layers"]] == [
        str(row.pattern) if row.pattern else None for row in plan.layers
    ]


def pruned_rows(rows: int, multiple: int, sparsity: float) -> int:
    """How many rows a removal of channels takes, by trying every number of them."""
    allowed = [kept for kept in range(1, rows + 1) if kept % multiple == 0 or kept == rows]
    return rows - min(allowed, key=lambda kept: (abs(kept - (1 - sparsity) * rows), -kept))


@given(PLANS)
def test_the_expected_sparsity_is_a_count_over_the_prunable_layers(plan: Plan) -> None:
    weights, zeros = 0, 0.0
    for row in plan.layers:
        if not row.prunable:
            continue
        size = math.prod(row.shape)
        weights += size
        if isinstance(row.pattern, Channels):
            outputs = row.shape[-1] * (row.shape[-2] if row.kind.startswith("Depthwise") else 1)
            removed = pruned_rows(outputs, row.pattern.multiple, row.sparsity)
            zeros += removed * (size // outputs)
        elif row.pattern is not None:
            zeros += row.sparsity * size
    assert plan.expected_sparsity == pytest.approx(zeros / weights if weights else 0)


def row(path: str, **facts: Any) -> LayerPlan:
    """A 1x1 convolution with 32 inputs and 64 outputs, half of whose weights become zero."""
    return LayerPlan(
        **{
            "path": path,
            "kind": "Conv2D",
            "shape": (1, 1, 32, 64),
            "pattern": Block(2, 1),
            "sparsity": 0.5,
            "reason": "by hand",
            "prunable": True,
            **facts,
        }
    )


NORM = row("bn", kind="BatchNormalization", shape=(), pattern=None, sparsity=0, prunable=False)
PLAN = Plan(
    device="imagined",
    model="m.keras",
    goal="latency",
    asked=0.5,
    layers=(NORM, row("pw_1"), row("pw_2")),
)
LAYERS = (
    LayerInfo("bn", "BatchNormalization", None, 128),
    LayerInfo("pw_1", "Conv2D", (1, 1, 32, 64), 2048, pixels=64),
    LayerInfo("pw_2", "Conv2D", (1, 1, 32, 64), 2048, pixels=64),
)


def planned(*layers: LayerPlan, asked: float = 0.5) -> Plan:
    return PLAN.model_copy(update={"layers": layers, "asked": asked})


def test_a_shape_that_channels_are_removed_from_counts_both_its_axes() -> None:
    """Inputs go where the layer before loses outputs: 3/4 of 1/2 of the weights stay."""
    removed = row("pw", pattern=Channels(16), sparsity=0.5, after=(1, 1, 24, 32))
    assert removed.expected_sparsity == 1 - 3 / 8


def test_zeros_of_a_layer_are_a_fraction_of_its_weights() -> None:
    assert LayerSparsity("pw", weights=8, zeros=6).sparsity == 0.75


def test_a_plan_warns_where_it_prunes_nothing_or_less_than_asked() -> None:
    assert PLAN.warnings() == ()
    assert planned(NORM).warnings() == (
        "Nothing to prune for imagined: see the reason beside each layer.",
    )
    (warning,) = planned(row("a"), row("b", pattern=None, sparsity=0)).warnings()
    assert "a sparsity of 0.250 instead of 0.5" in warning
    assert planned(row("a"), asked=0.509).warnings() == ()
    assert len(planned(row("a"), asked=0.511).warnings()) == 1


def test_only_layers_that_get_zeros_are_pruned() -> None:
    plan = planned(NORM, row("zero", sparsity=0.0), row("half"))
    assert [layer.path for layer in plan.pruned] == ["half"]


def written(tmp_path: Path, **changes: Any) -> Path:
    """A plan on disk, its layer pw_1 edited."""
    content = PLAN.to_json()
    content["layers"][1].update(changes)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content))
    return path


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_plan(written(tmp_path)) == PLAN
    check_plan(PLAN, LAYERS)


def test_an_edited_plan_is_taken_as_it_is(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, pattern="Block(4, 1)", sparsity=0.25))
    check_plan(plan, LAYERS)
    assert plan.layers == (NORM, row("pw_1", pattern=Block(4, 1), sparsity=0.25), row("pw_2"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patern": "x"}, "unknown key 'layers.1.patern'. Did you mean 'pattern'?"),
        ({"pattern": "Blok(2,1)"}, "Expected a pattern"),
        ({"sparsity": 1.0}, "layers.1.sparsity"),
        ({"sparsity": "much"}, "layers.1.sparsity"),
        ({"path": "pw_2"}, "Received twice: pw_2"),
    ],
)
def test_what_is_wrong_in_an_edited_plan_is_said(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(PlanError, match=re.escape(said)) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "pw_9"}, "'pw_9', which this model does not have. Did you mean"),
        ({"shape": [1, 1, 32, 32]}, "made for a kernel [1, 1, 32, 32]"),
        ({"pattern": "NofM(2,4)", "sparsity": 0.8}, "pw_1: NofM(2,4) has sparsity 0.5"),
    ],
)
def test_a_plan_that_does_not_fit_the_model_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(PlanError, match=re.escape(said)):
        check_plan(read_plan(written(tmp_path, **changes)), LAYERS)


def test_a_pattern_on_a_layer_without_a_kernel_is_refused() -> None:
    plan = planned(NORM.model_copy(update={"pattern": Unstructured()}), row("pw_1"))
    with pytest.raises(PlanError, match="bn: a BatchNormalization has no kernel"):
        check_plan(plan, LAYERS)


@pytest.mark.parametrize("content", ["", "{", "[]", "nonsense"])
def test_a_file_that_is_no_plan_names_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(PlanError, match=re.escape(str(path))):
        read_plan(path)


def test_a_plan_that_is_not_there_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"gone\.json: cannot read"):
        read_plan(tmp_path / "gone.json")


def written_row(path: str, **facts: object) -> dict[str, object]:
    return {
        "path": path,
        "kind": "Conv2D",
        "shape": (1, 1, 32, 64),
        "pattern": None,
        "sparsity": 0,
        "reason": "pays here",
        "prunable": True,
        **facts,
    }


def printed() -> Plan:
    """Two layers that are pruned, one with a hostile name, and one without a kernel."""
    return Plan.model_validate(
        {
            "device": "xnnpack-arm64",
            "model": "m.keras",
            "goal": "latency",
            "asked": 0.8,
            "layers": [
                written_row(HOSTILE, pattern="Block(2,1)", sparsity=0.75, expected_error=0.0123),
                written_row("small", pattern="Channels(8)", sparsity=0.5, after=(1, 1, 32, 32)),
                written_row("relu", shape=(), reason="no weights"),
            ],
            "padding": [{"path": "dw", "before": "same", "after": "((1, 1), (1, 1))"}],
            "network": {
                "gains": False,
                "reason": "needs a kernel for SOFTMAX",
                "instructions": [("LiteRT 2.1.6", 2e8, 1e8)],
            },
        }
    )


def test_a_plan_prints_what_is_done_with_each_layer_and_why() -> None:
    made = printed()
    check_printed(
        made,
        "Plan for xnnpack-arm64: sparsity 0.8 asked",
        *("Block(2,1)", "0.750", "0.0123", "1x1x32x64", "1x1x32x32", "pays here"),
        "1 more layers have no kernel",
        "Padding made symmetric",
        "needs a kernel for SOFTMAX",
        "200.0 to 100.0 M instructions",
    )
    assert "&lt;script&gt;" in made._repr_html_()


def titles(plan: Plan, *, every_layer: bool = False) -> list[str]:
    return [grid.title.partition(":")[0] for grid in plan.grids(every_layer=every_layer)]


def test_the_verdict_comes_first_then_pruned_layers_then_the_others_by_reason() -> None:
    assert titles(printed()) == [
        *("Plan for xnnpack-arm64", "Pruned", "Left alone, by reason"),
        *("Padding made symmetric before training", "The network as a whole, with zeros enough"),
    ]
    assert titles(PLAN, every_layer=True) == ["Plan for imagined", "Every layer"]


def test_islands_are_printed_in_one_line_each_and_survive_json(tmp_path: Path) -> None:
    islands = (Island(ops=(1, 2, 3, 7), reason="IF: calls"), Island(ops=(9,), reason="LSTM: none"))
    made = PLAN.model_copy(update={"islands": islands})
    grid = made.grids()[-1]
    assert grid.rows == (("1-3, 7", "IF: calls"), ("9", "LSTM: none"))
    (tmp_path / "plan.json").write_text(json.dumps(made.to_json()))
    assert read_plan(tmp_path / "plan.json").islands == islands


def verdict(plan: Plan) -> dict[str, str]:
    return {str(row[0]): str(row[1]) for row in plan.grids()[0].rows}


EXPECTED = Expected(unit="instructions", dense=3e6, pruned=1e6, source="a cost table")


def test_the_verdict_says_the_gain_to_expect_what_is_pruned_and_what_to_type() -> None:
    plan = PLAN.model_copy(update={"expected": EXPECTED, "next_step": "edgeprune prune"})
    assert verdict(plan) == {
        "gain": "expected: 3.00x fewer instructions (a cost table); not measured",
        "pruned": "2 of 2 layers with a kernel: Block(2,1) in 2",
        "next": "edgeprune prune",
    }
    assert verdict(PLAN)["gain"] == "not known before it is measured"


@pytest.mark.parametrize(
    ("outlook", "gain", "obstacle"),
    [
        (
            Outlook(gains=False, reason="has a softmax", breaker="top", remedy="Take it out."),
            "no speed: has a softmax",
            "top; Take it out",
        ),
        (Outlook(gains=None, reason="not converted"), "not known: not converted", None),
    ],
)
def test_the_verdict_says_what_is_in_the_way(
    outlook: Outlook, gain: str, obstacle: str | None
) -> None:
    said = verdict(PLAN.model_copy(update={"network": outlook, "expected": EXPECTED}))
    assert said["gain"] == gain
    assert said.get("in the way") == obstacle


def test_a_plan_that_prunes_nothing_says_so_first() -> None:
    said = verdict(planned(NORM, row("a", pattern=None, sparsity=0)))
    assert said == {"gain": "none: no layer takes a pattern that pays here", "pruned": "nothing"}


def test_layers_left_alone_are_counted_by_their_reason_the_most_weights_first() -> None:
    alone = [row(f"a{i}", pattern=None, sparsity=0, reason="first") for i in range(5)]
    large = row("b", pattern=None, sparsity=0, shape=(1, 1, 500, 500), reason="second")
    kept = row("c", pattern=Channels(8), sparsity=0, reason="pays")
    grid = planned(NORM, *alone, large, kept, row("d")).grids()[2]
    assert [tuple(map(str, cells)) for cells in grid.rows] == [
        ("second", "1", "250000", "b"),
        ("first", "5", str(5 * 2048), "a0, a1, a2 and 2 more"),
        ("Channels(8) leaves all of it at this sparsity", "1", "2048", "c"),
    ]
    assert grid.notes == ("1 more layers have no kernel and are left alone.",)


def test_every_layer_is_listed_on_demand() -> None:
    shown = printed().grids(every_layer=True)[1]
    assert [str(cells[0]) for cells in shown.rows] == [HOSTILE, "small", "relu"]


def test_a_plan_written_before_it_had_a_verdict_is_read() -> None:
    older = {k: v for k, v in PLAN.to_json().items() if k not in {"expected", "next_step"}}
    assert Plan.model_validate(older) == PLAN


PLAN_TEXT = (
    '{"device": "edge-tpu", "model": "m", "goal": "latency", "asked": 0.5, "layers": '
    '[{"path": "a", "kind": "Dense", "shape": [4, 4], "pattern": "Block(2,1)", '
    '"sparsity": 0.5, "reason": "r", "expected_error": 0.1}]}'
)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (PLAN_TEXT, "[" * 100_000, "expected JSON"),
        (PLAN_TEXT, '{"a":' * 100_000, "expected JSON"),
        ('"r"', "[" * 5000 + "]" * 5000, "expected JSON"),
        ("0.5, ", "9" * 6000 + ", ", "expected JSON"),
        ("[4, 4]", f"[{'9' * 4000}, 4]", "'layers.0.shape.0'"),
        ("[4, 4]", "[-4, 4]", "'layers.0.shape.0'"),
        ("[4, 4]", "[0, 4]", "'layers.0.shape.0'"),
        ("Block(2,1)", f"Block({'9' * 6000},1)", "'layers.0.pattern'"),
        ('"asked": 0.5', '"asked": 1e400', "'asked'"),
        ('"asked": 0.5', '"asked": NaN', "'asked'"),
        ("0.1", "NaN", "'layers.0.expected_error': expected a finite number"),
        ("0.1", "1e400", "'layers.0.expected_error': expected a finite number"),
        (PLAN_TEXT, "null", "Input should be an object"),
        (PLAN_TEXT, "", "expected JSON"),
        ('"r"', '{"a": 1}', "'layers.0.reason'"),
    ],
)
def test_a_plan_that_is_hostile_is_refused_in_a_few_words(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(PLAN_TEXT)
    assert read_plan(path).layers[0].expected_error == 0.1
    path.write_text(PLAN_TEXT.replace(before, after))
    with pytest.raises(PlanError, match=said) as caught:
        read_plan(path)
    assert len(str(caught.value)) < 1000
    assert str(path) in str(caught.value)
