"""Prune Keras 3 models for a named device, and prove the gain on it.

The verbs of the command line, as functions, and the values that they take. Each is loaded with all
that it needs when it is first used, so that importing this package costs nearly nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.conversion.convert import export
    from edgeprune.core.data import Data
    from edgeprune.core.errors import EdgepruneError
    from edgeprune.core.plan import Plan
    from edgeprune.inspection.inspect_file import inspect
    from edgeprune.inspection.validate_file import validate
    from edgeprune.planning.plan_model import plan
    from edgeprune.profiles.devices import devices
    from edgeprune.profiles.profile import load_profile
    from edgeprune.pruning.carry_out import prune, prune_one_shot, train_pruned
    from edgeprune.pruning.training.callbacks import PruningSummaries, UpdatePruningStep
    from edgeprune.pruning.training.schedule import ConstantSparsity, LinearDecay, PolynomialDecay
    from edgeprune.pruning.training.settings import Training
    from edgeprune.pruning.training.strip import strip_pruning
    from edgeprune.pruning.training.wrap import prune_low_magnitude
    from edgeprune.report.compare import compare
    from edgeprune.report.loading.snippet import snippet
    from edgeprune.report.routes import routes
    from edgeprune.report.search import search
    from edgeprune.targets.measuring import measure

_MODULES = {
    "ConstantSparsity": "pruning.training.schedule",
    "Data": "core.data",
    "EdgepruneError": "core.errors",
    "LinearDecay": "pruning.training.schedule",
    "Plan": "core.plan",
    "PolynomialDecay": "pruning.training.schedule",
    "Training": "pruning.training.settings",
    "PruningSummaries": "pruning.training.callbacks",
    "UpdatePruningStep": "pruning.training.callbacks",
    "compare": "report.compare",
    "devices": "profiles.devices",
    "export": "conversion.convert",
    "inspect": "inspection.inspect_file",
    "load_profile": "profiles.profile",
    "measure": "targets.measuring",
    "plan": "planning.plan_model",
    "prune": "pruning.carry_out",
    "prune_low_magnitude": "pruning.training.wrap",
    "prune_one_shot": "pruning.carry_out",
    "routes": "report.routes",
    "search": "report.search",
    "snippet": "report.loading.snippet",
    "strip_pruning": "pruning.training.strip",
    "train_pruned": "pruning.carry_out",
    "validate": "inspection.validate_file",
}

__all__ = [
    "ConstantSparsity",
    "Data",
    "EdgepruneError",
    "LinearDecay",
    "Plan",
    "PolynomialDecay",
    "PruningSummaries",
    "Training",
    "UpdatePruningStep",
    "compare",
    "devices",
    "export",
    "inspect",
    "load_profile",
    "measure",
    "plan",
    "prune",
    "prune_low_magnitude",
    "prune_one_shot",
    "routes",
    "search",
    "snippet",
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
