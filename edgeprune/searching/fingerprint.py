"""By what the work of a comparison or a search is known again: model, data, profile, versions.

Content counts, not names or dates: a model that is moved or saved again is the same one.
"""

from __future__ import annotations

import functools
import inspect
import json
import platform
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from edgeprune.conversion.given import Given
from edgeprune.conversion.manifest import hash_model, installed_versions
from edgeprune.core import digest
from edgeprune.core.data import Data, Scale
from edgeprune.core.digest import Fingerprint
from edgeprune.core.sources import AnySource, Table
from edgeprune.keras_model.files import lost_compilation
from edgeprune.keras_model.layers import Model
from edgeprune.profiles.kernel_costs import costs_of
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.training.settings import Training
from edgeprune.targets.find import find_target, own_targets
from edgeprune.targets.host import HOST
from edgeprune.targets.measurement import Settings
from edgeprune.targets.target import Remote
from edgeprune.targets.worker import machine

_WITHOUT_EFFECT = frozenset({"checkpoint", "resume", "tell_epoch", "tensorboard"})
"""Fields of `Training` that change nothing in the result."""


def of_model(model: Model) -> str:
    """The digest of layers, weights and what the model is compiled with."""
    compiled = json.dumps(model.get_compile_config(), sort_keys=True, default=str)
    layers = hash_model(model.get_config(), model.get_weights())
    return digest.of_json([layers, compiled, lost_compilation(model)])


def of_given(given: Given) -> str:
    """The digest of a model as a verb was given it: of a .tflite file, that of its bytes."""
    return of_model(given.model) if given.lifted is None else given.sha256


def of_samples(data: AnySource) -> str:
    """The digest of samples and labels; of a stream, which nobody reads twice, one of its own."""
    if isinstance(data, Table):
        return digest.of_parts(data.identity())
    if not isinstance(data, Data):
        return str(uuid.uuid4())
    return digest.of_json([digest.of_arrays(data.x), digest.of_arrays(data.labels)])


def of_inputs(given: Given, data: AnySource, scale: Scale) -> Fingerprint:
    """What every file is made from, whatever the device.

    Args:
      given: the dense model.
      data: the samples that it is pruned and calibrated on.
      scale: how they were asked to be scaled; files keep it.
    """
    return {
        "model": of_given(given),
        "data": digest.of_json([of_samples(data), scale]),
        "versions": of_versions(),
    }


def of_profile(profile: DeviceProfile) -> str:
    """The digest of a profile, and of its cost table."""
    table = costs_of(profile)
    costs = table.model_dump_json() if table is not None else ""
    return digest.of_json([profile.model_dump_json(), costs])


def of_versions() -> str:
    """The digest of edgeprune's own code, and of the versions of what converts and runs files."""
    versions = {name: found for name, found in installed_versions().items() if name != "python"}
    return digest.of_json([versions, _own_code()])


@functools.cache
def _own_code() -> str:
    package = Path(__file__).parents[1]
    return digest.of_parts(path.read_bytes() for path in sorted(package.rglob("*.py")))


def of_function(function: Any) -> str | None:
    """The digest of the file that a function is in, or of its own text where it is in none.

    None where nobody can read its code, as that of an object that is called.
    """
    try:
        path = inspect.getsourcefile(function)
        whole = digest.of_file(Path(path)) if path else None
        return whole or digest.of_parts([inspect.getsource(function).encode()])
    except (TypeError, OSError):
        return None


def of_training(training: Training | None) -> Any:
    """How a model is trained, as JSON; what nobody can know again is never the same."""
    if training is None:
        return None
    names = [field.name for field in fields(training) if field.name not in _WITHOUT_EFFECT]
    return {name: _of_value(getattr(training, name)) for name in names}


def _of_value(value: Any) -> Any:
    if value is None or value == () or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return sorted(value.items())
    if isinstance(value, Data | Table):
        return of_samples(value)
    if hasattr(value, "get_weights"):
        return of_model(value)
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, asdict(value)]
    return str(uuid.uuid4())


def of_instruments(profile: DeviceProfile, used: Sequence[str]) -> str:
    """The digest of what checks and measures a device here, at its versions.

    Args:
      profile: the device.
      used: names of the instruments that measure it.
    """
    named = {"host": HOST, **dict(own_targets(profile)), **{n: find_target(n) for n in used}}
    states = {
        name: asdict(target.readiness())
        for name, target in named.items()
        if not isinstance(target, Remote)
    }
    return digest.of_json(states)


def of_settings(settings: Settings, used: Sequence[str]) -> str:
    """The digest of how a device is measured, and of this computer where a clock is used."""
    clock = any(not find_target(name).capabilities.repeatable for name in used)
    here = {"node": platform.node(), **machine()} if clock else None
    chosen = {
        **{name: getattr(settings, name) for name in ("runtime", "threads", "affinity", "python")},
        "benchmark_binary": str(settings.benchmark_binary),
    }
    if settings.runtime_version is not None:
        chosen["runtime_version"] = settings.runtime_version
    return digest.of_json([list(used), chosen, here])
