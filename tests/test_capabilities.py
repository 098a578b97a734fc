"""Instruments and runtimes are asked what they are able to do, and never what they are called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import edgeprune
from edgeprune.core.runtime import RuntimeName
from edgeprune.core.terms import TargetName
from edgeprune.targets.find import TARGETS, find_target

NAMES = frozenset((*get_args(RuntimeName), *get_args(TargetName)))


def questions_about_names(source: str) -> Iterator[str]:
    """Comparisons, memberships and patterns of a module in which such a name is written out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        else:
            continue
        written = [leaf for each in asked for leaf in ast.walk(each)]
        if any(isinstance(leaf, ast.Constant) and leaf.value in NAMES for leaf in written):
            yield ast.unparse(node)


def test_no_module_asks_an_instrument_or_a_runtime_for_its_name() -> None:
    folder = Path(edgeprune.__file__).parent
    found = {
        str(path.relative_to(folder)): list(questions_about_names(path.read_text(encoding="utf-8")))
        for path in folder.rglob("*.py")
    }
    assert {path: questions for path, questions in found.items() if questions} == {}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('if name == "TFLM": pass', 1),
        ('if "vela" in profile.targets: pass', 1),
        ('if name in ("ssh", "adb"): pass', 1),
        ('match name:\n    case "LiteRT": pass', 1),
        ('MODULES = {"LiteRT": "ai_edge_litert"}', 0),
        ("if target.capabilities.says_flash: pass", 0),
    ],
)
def test_a_question_about_a_name_is_found_however_it_is_written(source: str, count: int) -> None:
    assert len(list(questions_about_names(source))) == count


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("says_flash", {"tflm", "vela"}),
        ("finds_zeros", {"vela"}),
        ("sparse_networks", {"arm64-emulated"}),
        ("every_numerics", {"adb", "arm64-emulated", "host", "ssh"}),
        ("this_computer", {"host"}),
        ("unpacks", {"tflm"}),
        ("repeatable", {"arm64-emulated", "edgetpu-model", "tflm", "vela"}),
    ],
)
def test_every_instrument_says_what_it_is_able_to_do(capability: str, names: set[str]) -> None:
    able = {name for name in TARGETS if getattr(find_target(name).capabilities, capability)}
    assert able == names


def test_every_instrument_but_one_says_how_much_work_an_inference_is() -> None:
    assert {name: find_target(name).capabilities.cost_unit for name in TARGETS} == {
        "host": "ms",
        "arm64-emulated": "instructions",
        "tflm": None,
        "vela": "cycles",
        "edgetpu-model": "cycles",
        "ssh": "ms",
        "adb": "ms",
    }
