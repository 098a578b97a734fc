"""The plan that `prune` keeps beside a model, so that `export` knows on which route it was made."""

from __future__ import annotations

import json
import os
from pathlib import Path

from edgeprune.conversion.manifest import sha256_of
from edgeprune.core.errors import PlanError
from edgeprune.core.files import write_file
from edgeprune.core.plan import Plan, read_plan
from edgeprune.keras_model.layers import Model

_LONGEST_NAME = 255


def plan_beside(model: Path) -> Path | None:
    """Where the plan of a model's file is: `m.plan.json` for `m.keras`; None if no name is left."""
    path = model.with_suffix(".plan.json")
    return path if len(os.fsencode(path.name)) <= _LONGEST_NAME else None


def keep_plan(plan: Plan, pruned: Model, model: Path) -> None:
    """Writes a plan beside the file of the model that came of it, which is written by now.

    Raises:
      OutputError: the file cannot be written.
    """
    path = plan_beside(model)
    if path is not None:
        content = plan.model_copy(update={"pruned_sha256": sha256_of(pruned, model)}).to_json()
        write_file(path, (json.dumps(content, indent=2) + "\n").encode())


def kept_plan(loaded: Model, model: Path, device: str) -> Plan | None:
    """The plan that a model was pruned by for a device, if it lies beside its file.

    Args:
      loaded: the Keras model; not looked at for a .tflite file.
      model: the file.
      device: the profile's name.

    Returns:
      None where it is of another model or device, or cannot be read.
    """
    path = plan_beside(model)
    try:
        found = read_plan(path) if path is not None and path.is_file() else None
    except PlanError:
        return None
    if found is None or found.device != device:
        return None
    return found if found.pruned_sha256 == sha256_of(loaded, model) else None
