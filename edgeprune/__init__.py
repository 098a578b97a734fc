"""Prune Keras 3 models for a named device, and prove the gain on it.

The verbs of the command line, as functions. Importing this package imports neither TensorFlow nor a
runtime; the names that need Keras are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgeprune.inspect import inspect
from edgeprune.measure import measure
from edgeprune.plan import plan
from edgeprune.profile import load_profile
from edgeprune.schedule import ConstantSparsity, LinearDecay, PolynomialDecay
from edgeprune.validate import validate

if TYPE_CHECKING:
    from edgeprune.callbacks import PruningSummaries, UpdatePruningStep
    from edgeprune.convert import export
    from edgeprune.pipeline import compare
    from edgeprune.prune import prune_one_shot
    from edgeprune.strip import strip_pruning
    from edgeprune.train import train_pruned
    from edgeprune.wrapping import prune_low_magnitude

_NEEDS_KERAS = {
    "PruningSummaries": "edgeprune.callbacks",
    "UpdatePruningStep": "edgeprune.callbacks",
    "compare": "edgeprune.pipeline",
    "export": "edgeprune.convert",
    "prune_low_magnitude": "edgeprune.wrapping",
    "prune_one_shot": "edgeprune.prune",
    "strip_pruning": "edgeprune.strip",
    "train_pruned": "edgeprune.train",
}

__all__ = [
    "ConstantSparsity",
    "LinearDecay",
    "PolynomialDecay",
    "PruningSummaries",
    "UpdatePruningStep",
    "compare",
    "export",
    "inspect",
    "load_profile",
    "measure",
    "plan",
    "prune_low_magnitude",
    "prune_one_shot",
    "strip_pruning",
    "train_pruned",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_KERAS:
        raise AttributeError(f"module 'edgeprune' has no attribute '{name}'")
    return getattr(importlib.import_module(_NEEDS_KERAS[name]), name)
