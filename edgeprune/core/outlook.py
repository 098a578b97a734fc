"""What a network can gain from a device's sparse kernels, known before it is pruned.

Plain values, part of every plan that asked: `network_plan` finds them, `plan` and reports show
them.
"""

from __future__ import annotations

from typing import Literal

from edgeprune.core.schema import Table, Text, WrittenPattern


class RuntimeOutlook(Table):
    """What one runtime would make of the network, rewritten and with enough zeros."""

    runtime: Text
    state: Literal["on", "off", "dangerous"]
    """"on": its sparse kernels run. "dangerous": a part would, and wrong; export keeps it dense."""
    reason: Text


class PlannedRewrite(Table):
    """An exact change of the exported network, and in how many places."""

    name: Text
    places: int


class Alternative(Table):
    """Another device and the pattern that pays there on this model."""

    device: Text
    pattern: WrittenPattern


class Outlook(Table):
    """Whether zeros would make a network faster on a device that wants it to fit as a whole."""

    gains: bool | None
    """None where it could not be found out, since the model was not converted."""
    wants_more_zeros: bool = False
    """Whether more zeros alone would let it gain."""
    reason: Text
    remedy: str = ""
    """What would let it gain; empty if nothing is to be mended, or nothing can be."""
    breaker: str = ""
    """The operator that stands in the way, with the layer it comes from; empty if none does."""
    runtimes: tuple[RuntimeOutlook, ...] = ()
    rewrites: tuple[PlannedRewrite, ...] = ()
    instructions: tuple[tuple[str, float, float], ...] = ()
    """Runtime, and the instructions of one inference that its cost table expects of the layers with
    weights, dense and pruned."""
    elsewhere: tuple[Alternative, ...] = ()
    """Devices whose patterns need nothing of the network; those measured alike come first."""

    def sentences(self) -> tuple[str, ...]:
        """What a user should know, for warnings."""
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
