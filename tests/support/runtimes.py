"""The runtimes that tests run files in: LiteRT, and the reference where a wheel of it exists.

A wheel that should be there and is not makes tests fail; where none exists, those that need the
reference are not collected (`tests/conftest.py`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
REFERENCE = "tflite-runtime"
NEEDS_REFERENCE = "tflite_runtime"
"""Marker of tests that are about the reference."""


def has_wheel() -> bool:
    """Whether pyproject.toml asks for the reference in this Python, on this computer."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    (asked,) = (
        requirement
        for requirement in map(Requirement, project["dependencies"])
        if requirement.name == REFERENCE
    )
    return asked.marker is None or asked.marker.evaluate()


MODULES = {
    **({REFERENCE: "tflite_runtime.interpreter"} if has_wheel() else {}),
    "LiteRT": "ai_edge_litert.interpreter",
}
"""By the name of a runtime, the module that has its interpreter; the reference first."""
RUNTIMES = tuple(MODULES)
