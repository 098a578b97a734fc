"""Prune Keras 3 models for a named device, and prove the gain on it.

The verbs of the command line, as functions. Importing this package imports neither TensorFlow nor a
runtime; the names that need Keras are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgeprune.measure import measure
from edgeprune.plan import plan
from edgeprune.profile import load_profile
from edgeprune.schedule import ConstantSparsity, LinearDecay, PolynomialDecay
from edgeprune.validate import validate

if TYPE_CHECKING:
    from edgeprune.convert import export
    from edgeprune.pipeline import compare
    from edgeprune.prune import prune_one_shot

_NEEDS_KERAS = {
    "compare": "edgeprune.pipeline",
    "export": "edgeprune.convert",
    "prune_one_shot": "edgeprune.prune",
}

__all__ = [
    "ConstantSparsity",
    "LinearDecay",
    "PolynomialDecay",
    "compare",
    "export",
    "load_profile",
    "measure",
    "plan",
    "prune_one_shot",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_KERAS:
        raise AttributeError(f"module 'edgeprune' has no attribute '{name}'")
    return getattr(importlib.import_module(_NEEDS_KERAS[name]), name)
