"""What a network can gain from a device's sparse kernels, predicted before it is pruned.

Plain values, part of a plan: `planning.network_gain` computes them, `plan` and reports show them.
"""

from __future__ import annotations

from typing import Literal

from edgeprune.core.grid import Grid, Printable, grid
from edgeprune.core.schema import Table, Text, WrittenPattern


class RuntimeOutlook(Table):
    """How one runtime would run the network, rewritten and with enough zeros."""

    runtime: Text
    state: Literal["on", "off", "dangerous"]
    """"on": its sparse kernels run. "dangerous": they would run a part of it and compute wrong
    results, so `export` stores the network densely."""
    reason: Text


class PlannedRewrite(Table):
    """A rewrite of the exported network that keeps its function, and how often it applies."""

    name: Text
    places: int


class Alternative(Table):
    """Another device, and the pattern that its kernels can use on this model."""

    device: Text
    pattern: WrittenPattern


class Outlook(Printable, Table):
    """Whether zeros make a network faster on a device whose sparse kernels run whole networks."""

    gains: bool | None
    """None if it is not known, since the model was not converted."""
    wants_more_zeros: bool = False
    """Whether a higher sparsity alone would make it faster."""
    reason: Text
    remedy: str = ""
    """What would make it faster; empty if there is nothing to fix, or no way to."""
    breaker: str = ""
    """The operator that prevents it, with the layer it comes from; empty if there is none."""
    runtimes: tuple[RuntimeOutlook, ...] = ()
    rewrites: tuple[PlannedRewrite, ...] = ()
    instructions: tuple[tuple[str, float, float], ...] = ()
    """`(runtime, dense, pruned)`: the instructions per inference that the runtime's cost table
    predicts for the layers with weights."""
    activations: str = ""
    """What the activation functions cost, in words, where that is a large part; else empty."""
    elsewhere: tuple[Alternative, ...] = ()
    """Devices whose patterns do not depend on the rest of the network; those measured by the same
    target come first."""

    def sentences(self) -> tuple[str, ...]:
        """The warnings for the user; none if the network gains."""
        if self.gains:
            return ()
        if self.gains is None:
            return (f"It was not found out whether the network can gain: {self.reason}.",)
        parts = [f"Zeros gain no speed on this device: {self.reason}."]
        if self.remedy:
            parts.append(self.remedy)
        if self.elsewhere:
            patterns = list(dict.fromkeys(str(entry.pattern) for entry in self.elsewhere))
            named = "; ".join(
                f"{pattern} on "
                + ", ".join(e.device for e in self.elsewhere if str(e.pattern) == pattern)
                for pattern in patterns
            )
            parts.append(f"What pays on other devices: {named}.")
        return (" ".join(parts),)

    def grids(self) -> tuple[Grid, ...]:
        """What is expected of every runtime, and what stands behind it."""
        rows = [(each.runtime, f"{each.state}: {each.reason}") for each in self.runtimes]
        facts = (
            ("it gains", {True: "yes", False: "no", None: "not known"}[self.gains]),
            ("because it", self.reason),
            ("rewritten, exactly", ", ".join(f"{r.name} ({r.places})" for r in self.rewrites)),
            ("in the way", self.breaker),
            ("remedy", self.remedy),
            *(
                (f"{runtime}, expected", _instructions(dense, sparse))
                for runtime, dense, sparse in self.instructions
            ),
            ("activations", self.activations),
            ("elsewhere", ", ".join(f"{e.pattern} on {e.device}" for e in self.elsewhere)),
        )
        title = "The network as a whole, with zeros enough"
        rows += [fact for fact in facts if fact[1]]
        return (grid(title, ("", "what is expected"), rows),)


def _instructions(dense: float, sparse: float) -> str:
    return (
        f"{dense / 1e6:.1f} to {sparse / 1e6:.1f} M instructions in layers with weights, "
        f"{dense / sparse:.2f}x"
    )
