"""Prune Keras 3 models for a named device, and prove the gain on it.

The verbs of the command line, as functions. Each is loaded with all that it needs when it is first
used, so that importing this package costs nearly nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.callbacks import PruningSummaries, UpdatePruningStep
    from edgeprune.convert import export
    from edgeprune.inspection import inspect
    from edgeprune.measuring import measure
    from edgeprune.pipeline import compare
    from edgeprune.planning import plan
    from edgeprune.profile import load_profile
    from edgeprune.prune import prune_one_shot
    from edgeprune.schedule import ConstantSparsity, LinearDecay, PolynomialDecay
    from edgeprune.strip import strip_pruning
    from edgeprune.train import train_pruned
    from edgeprune.validation import validate
    from edgeprune.wrapping import prune_low_magnitude

_MODULES = {
    "ConstantSparsity": "schedule",
    "LinearDecay": "schedule",
    "PolynomialDecay": "schedule",
    "PruningSummaries": "callbacks",
    "UpdatePruningStep": "callbacks",
    "compare": "pipeline",
    "export": "convert",
    "inspect": "inspection",
    "load_profile": "profile",
    "measure": "measuring",
    "plan": "planning",
    "prune_low_magnitude": "wrapping",
    "prune_one_shot": "prune",
    "strip_pruning": "strip",
    "train_pruned": "train",
    "validate": "validation",
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
    if name not in _MODULES:
        raise AttributeError(f"module 'edgeprune' has no attribute '{name}'")
    return getattr(importlib.import_module(f"edgeprune.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
