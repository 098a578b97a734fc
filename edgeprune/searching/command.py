"""The commands that make a file of a search again, for a shell."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from edgeprune.core.files import is_saved_model, is_tflite
from edgeprune.searching.candidate import Candidate
from edgeprune.searching.space import RouteSpace


@dataclass(frozen=True)
class Typed:
    """What the search was given, in the words of its command line."""

    model: str
    data: str
    """What names the samples; empty where they have no name."""
    signature: tuple[str, ...] = ()
    """The option that chooses a signature of a SavedModel."""
    samples: tuple[str, ...] = ()
    """Options that say how samples are read, alike at every command."""
    prune: tuple[str, ...] = ()
    """Options of `prune` alone, such as `--samples`."""
    training: tuple[str, ...] = ()
    """Options of `prune` with `--epochs`."""

    def command(self, candidate: Candidate, route: RouteSpace) -> str:
        """What makes the file of a candidate again, as `OUT.tflite`."""
        device = ["--device", candidate.device]
        on = [*device, "--route", candidate.route]
        data = ["--data", self.data, *self.samples] if self.data else []
        export = data if route.numerics == "int8" and not candidate.epochs else []
        if route.dense:
            return _said("export", self.model, *self.signature, *on, *export, "-o", "OUT.tflite")
        how = [*_how(candidate), *self.prune, *(self.training if candidate.epochs else ())]
        lifted = is_tflite(self.model) or is_saved_model(self.model)
        between = "PRUNED.tflite" if lifted else "OUT.keras"
        pruned = _said("prune", self.model, *self.signature, *on, *how, *data, "-o", between)
        # `export` takes the plan that `prune` keeps beside its model, and so the route.
        exported = _said("export", between, *device, *export, "-o", "OUT.tflite")
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


def _said(*words: str) -> str:
    return shlex.join(["edgeprune", *words])
