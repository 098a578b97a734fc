"""Tables that people write: what is wrong with one is said in words that help."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, ValidationError

from edgeprune.core.pattern import Block
from edgeprune.core.schema import (
    Count,
    Fraction,
    Table,
    Text,
    WrittenPattern,
    explain_invalid,
    not_finite,
)


class Leaf(Table):
    pattern: WrittenPattern | None = None
    zeros: Fraction = 0.5
    count: Count = 1


class Tree(Table):
    name: Text
    form: int = Field(default=1, alias="schema")
    leaves: tuple[Leaf, ...] = ()
    top: Leaf | None = None


def said(content: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        Tree.model_validate(content)
    return explain_invalid(caught.value, Tree)


def test_a_table_is_read_and_cannot_be_changed() -> None:
    tree = Tree.model_validate({"name": "oak", "leaves": [{"pattern": "Block(2,1)"}]})
    assert tree == Tree(name="oak", leaves=(Leaf(pattern=Block(2, 1)),))
    assert tree.model_dump(mode="json")["leaves"] == [
        {"pattern": "Block(2,1)", "zeros": 0.5, "count": 1}
    ]
    with pytest.raises(ValidationError, match="frozen"):
        tree.name = "elm"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"name": "oak", "nmae": "elm"},
            "unknown key 'nmae'. Did you mean 'name'? Valid keys there: name, schema, leaves, top.",
        ),
        (
            {"name": "oak", "leaves": [{}, {"zeroes": 0.1}]},
            "unknown key 'leaves.1.zeroes'. Did you mean 'zeros'? "
            "Valid keys there: pattern, zeros, count.",
        ),
        (
            {"name": "oak", "top": {"xyz": 1}},
            "unknown key 'top.xyz'. Valid keys there: pattern, zeros, count.",
        ),
        ({}, "key 'name' is missing."),
        (
            {"name": "oak", "top": {"zeros": 1.5}},
            "key 'top.zeros': Input should be less than 1. Received: 1.5.",
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_the_key(content: dict[str, Any], message: str) -> None:
    assert said(content) == message


def test_a_pattern_that_does_not_parse_is_explained_at_its_key() -> None:
    message = said({"name": "oak", "leaves": [{"pattern": "Block(2)"}]})
    assert message.startswith("key 'leaves.0.pattern': Expected Block(out,in)")
    assert message.endswith("Received: 'Block(2)'.")


def test_every_problem_has_a_line() -> None:
    lines = said({"name": "", "top": {"zeros": -1, "x": 0}}).splitlines()
    assert [line.split("'")[1] for line in lines] == ["name", "top.zeros", "top.x"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.0, -0.1])
def test_a_fraction_is_a_number_from_0_to_below_1(value: float) -> None:
    assert "'zeros'" in explain_leaf(value)


def explain_leaf(zeros: float) -> str:
    with pytest.raises(ValidationError) as caught:
        Leaf(zeros=zeros)
    return explain_invalid(caught.value, Leaf)


def test_what_is_huge_or_deep_is_said_in_short() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for content, key in (
        ({"name": deep}, "name"),
        ({"name": 16**20000}, "name"),
        ({"x" * 100_000: 1}, "x" * 200),
        ({"leaves": [{"zeros": -1}] * 10_000}, "leaves.19.zeros"),
        ({"top": {"count": 16**20000}}, "top.count"),
        ({"top": {"zeros": 16**20000}}, "top.zeros"),
        ({"top": {"pattern": f"Block({'9' * 5000},1)"}}, "top.pattern"),
        ({"top": {"pattern": "?" * 5000}}, "top.pattern"),
    ):
        message = said({"name": "oak", **content})
        assert f"key '{key}" in message
        assert len(message) < 2500


def test_the_first_number_that_is_not_finite_is_known_by_its_key() -> None:
    assert not_finite({"a": [1, 2.5, {"b": ["NaN", None]}], "c": True}) is None
    assert not_finite({"a": [1, {"b": (0.0, float("nan"))}]}) == "a.1.b.1"
    assert not_finite([float("-inf")]) == "0"
