"""The commands that make a file of a search again, for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.core.files import is_saved_model, is_tflite
from edgeprune.core.scaling import ChannelScale, Scale
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.searching.candidate import Candidate
from edgeprune.searching.space import RouteSpace

if TYPE_CHECKING:
    from edgeprune.pruning.training.settings import Training


@dataclass(frozen=True)
class Typed:
    """What the search was given, in the words of a command line."""

    model: str
    data: str
    """What names the samples; empty where they have no name."""
    signature: tuple[str, ...] = ()
    """The option that chooses a signature of a SavedModel."""
    objects: tuple[str, ...] = ()
    """The option that names a file with custom layers, which every command needs."""
    runtime: tuple[str, ...] = ()
    """The option that names the runtime that files are made for."""
    devices: Mapping[str, str] = field(default_factory=dict)
    """What was written for a device, such as the path of a profile, by the profile's name."""
    samples: tuple[str, ...] = ()
    """Options that say how samples are read, alike at every command that takes them."""
    held_out: bool = False
    """Whether files were judged by every fifth sample of the data, which made none of them."""
    prune: tuple[str, ...] = ()
    """Options of `prune` alone, such as `--samples`."""
    training: tuple[str, ...] = ()
    """Options of `prune` with `--epochs`."""

    def command(self, candidate: Candidate, route: RouteSpace) -> str:
        """What makes the file of a candidate again, as `OUT.tflite`."""
        device = ["--device", self.devices.get(candidate.device, candidate.device), *self.runtime]
        on = [*device, "--route", candidate.route]
        given = [self.model, *self.signature, *self.objects]
        # `export` calibrates by the samples, and writes into the file how they are scaled.
        data = ["--data", self.data, *self.samples] if self.data else []
        data += ["--hold-out"] if data and self.held_out else []
        if route.dense:
            return _said("export", *given, *on, *data, "-o", "OUT.tflite")
        how = [*_how(candidate), *self.prune, *(self.training if candidate.epochs else ())]
        lifted = is_tflite(self.model) or is_saved_model(self.model)
        between = "PRUNED.tflite" if lifted else "OUT.keras"
        pruned = _said("prune", *given, *on, *how, *data, "-o", between)
        # `export` takes the plan that `prune` keeps beside its model, and so the route.
        exported = _said("export", between, *self.objects, *device, *data, "-o", "OUT.tflite")
        return f"{pruned} && {exported}"


def _how(candidate: Candidate) -> list[str]:
    words: list[str] = []
    if candidate.cost is not None:
        words += ["--cost", f"{candidate.cost:g}"]
    if candidate.sparsity is not None:
        words += ["--sparsity", f"{candidate.sparsity:g}"]
    if candidate.allocation is not None:
        words += ["--allocation", candidate.allocation]
    if candidate.epochs:
        words += ["--epochs", str(candidate.epochs)]
    if candidate.activation != "keep":
        words += ["--activation", candidate.activation]
    return [*words, "--padding", candidate.padding]


def written_devices(devices: Iterable[str | Path | DeviceProfile]) -> dict[str, str]:
    """The paths of users' own profiles, by the name in each; no command knows them by that."""
    own = [str(each) for each in devices if str(each).endswith(".toml")]
    return {load_profile(path).name: path for path in own}


def scale_words(scale: Scale) -> tuple[str, ...]:
    """The option that scales samples so; none for "auto", or where no option says it."""
    if isinstance(scale, ChannelScale):
        return ("--preprocess", scale.name) if scale.name else ()
    return () if scale == "auto" else ("--scale", ",".join(map(str, scale)))


def training_words(how: Training) -> tuple[str, ...]:
    """The options of `prune` that train so, but for the number of epochs.

    Args:
      how: what is not its default is said, as far as an option says it: no teacher, no callback.
    """
    usual = type(how)(epochs=how.epochs)
    given = {name: getattr(how, name) for name in _OF_TRAINING}
    changed = {name: value for name, value in given.items() if value != getattr(usual, name)}
    if how.distillation.weight != usual.distillation.weight:
        changed["distill"] = how.distillation.weight
    if isinstance(how.validation, float) and how.validation:
        changed["validation"] = how.validation
    return tuple(word for name, value in changed.items() for word in _option(name, value))


_OF_TRAINING = (
    *("quantize_aware", "loss", "augment", "start", "learning_rate", "batch_size"),
    *("monitor", "patience", "seed"),
)
"""Fields of `Training` that an option of the same name says."""


def _option(name: str, value: Any) -> Iterator[str]:
    spelt = name.replace("_", "-")
    if isinstance(value, bool):
        yield f"--{spelt}" if value else f"--no-{spelt}"
    elif isinstance(value, Mapping):
        yield from (word for each in value.items() for word in (f"--{spelt}", "=".join(each)))
    else:
        yield from (f"--{spelt}", str(value))


def _said(*words: str) -> str:
    return shlex.join(["edgeprune", *words])
