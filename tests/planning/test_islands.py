"""What a plan says of a file that is not lifted wholly."""

from __future__ import annotations

from pathlib import Path

from edgeprune.conversion.given import Given
from edgeprune.conversion.lift.walk import lift
from edgeprune.core.plan import LayerPlan, Plan
from edgeprune.planning.islands import with_islands
from edgeprune.planning.plan_model import plan
from tests.support.islands import two_parts


def row(path: str) -> LayerPlan:
    return LayerPlan(
        path=path, kind="Conv2D", shape=(1, 1, 4, 4), pattern=None, sparsity=0, reason="no"
    )


def test_a_plan_says_the_islands_and_the_part_that_each_layer_lies_in(tmp_path: Path) -> None:
    lifted = lift(two_parts(tmp_path / "two.tflite"))
    rows = tuple(row(path) for path in ("first", "second", "third", "fourth"))
    plan = Plan(device="imagined", model="two", goal="latency", asked=0.5, layers=rows)
    made = with_islands(plan, lifted)
    assert [layer.part for layer in made.layers] == [0, 0, 1, 1]
    assert made.to_json()["islands"] == [
        {"ops": [2], "reason": "REVERSE_SEQUENCE: there is no counterpart for it"}
    ]
    assert with_islands(plan, None) is plan


def test_a_file_with_an_island_is_priced_as_the_smaller_file_that_it_becomes(
    tmp_path: Path,
) -> None:
    lifted = lift(two_parts(tmp_path / "two.tflite", channels=64))
    given = Given("two.tflite", lifted.model, lifted)
    route = "float32-channels"
    half = plan(given, "android-phone", route=route, sparsity=0.5, look_around=False)
    within = plan(given, "android-phone", route=route, cost=0.7, look_around=False)
    for made in (half, within):
        assert made.expected is not None
        assert made.expected.unit == "instructions"
        assert made.expected.pruned < 0.8 * made.expected.dense
        assert {row.part for row in made.pruned} == {0, 1}
    assert within.expected is not None
    assert within.expected.pruned <= 0.7 * within.expected.dense
