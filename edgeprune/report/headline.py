"""The headline of a device: what its file gains, by its own instrument or as is expected.

A ratio is shown for a device only if one of its own instruments gave it. Else it is what its cost
table expects, and called that, with what would measure it. Another computer's time is never shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeprune.core.files import Artifact
from edgeprune.core.plan import Plan
from edgeprune.targets.inference_cost import InferenceCost
from edgeprune.targets.measurement import Measurement

LOST_ACCURACY = 0.02
"""Fraction of samples from which on a loss of accuracy has to be looked at before a file is
shipped; below it the chance of a few hundred samples says as much."""
SMALLER = 0.95
"""Part of the unpruned file's bytes below which a file is worth shipping for its size alone."""
_PARTS = {"arena_bytes": "arena", "sram_bytes": "SRAM", "flash_bytes": "flash"}
"""What instruments without a clock or counter say of memory, as a headline names it."""


@dataclass(frozen=True)
class Expected:
    """What a device's cost table expects of both files, in its unit per inference."""

    unit: str
    dense: float
    pruned: float
    source: str
    """What expects it: `cost table`."""
    runtime: str

    @property
    def gain(self) -> float:
        """How many times less the pruned file costs."""
        return self.dense / self.pruned

    def __str__(self) -> str:
        return f"expected {self.gain:.2f}x ({self.source})"

    def to_json(self) -> dict[str, Any]:
        """The fields and the gain."""
        return {**self.__dict__, "gain": self.gain}


def expected_by(plan: Plan, runtimes: Sequence[str]) -> Expected | None:
    """What the cost table expected when the plan was made; None where there is none.

    Args:
      plan: as it is carried out.
      runtimes: names of the device's, the one that is measured first.
    """
    found = plan.network.instructions if plan.network and plan.pruned else ()
    by_runtime = {name: (dense, pruned) for name, dense, pruned in found}
    name = next((name for name in runtimes if name in by_runtime), None)
    if name is None:
        return None
    dense, pruned = by_runtime[name]
    return Expected("instructions", dense, pruned, "cost table", name)


@dataclass(frozen=True)
class Gain:
    """What a pruned file gains over the unpruned one in the same number format."""

    text: str
    """For people, with what said so."""
    factor: float | None = None
    """Times less it takes, by the device's own instrument; None if that did not say."""
    proven: Literal["gain", "loss"] | None = None
    """Which side of 1 the factor is on by more than the instrument leaves open, if any."""


def gain_of(
    dense: Measurement | None,
    pruned: Measurement | None,
    expected: Expected | None,
    not_measured: str,
) -> Gain:
    """The gain by a device's own instrument, else what is expected and what would measure it.

    Args:
      dense: what the instrument said of the unpruned file.
      pruned: the same of the pruned file.
      expected: by the device's cost table.
      not_measured: what would measure it, or why nothing did.
    """
    if dense is not None and pruned is not None and not pruned.stand_in:
        return _measured_gain(dense, pruned)
    missing = f"not measured: {not_measured}" if not_measured else ""
    told = [str(part) for part in (expected, missing) if part]
    return Gain(", ".join(told) or "-")


def _measured_gain(dense: Measurement, pruned: Measurement) -> Gain:
    if pruned.speedup is not None:
        factor = pruned.speedup.median
        return Gain(f"{pruned.speedup} ({pruned.target})", factor, _side(pruned.speedup.ci95))
    if "plain_arena_bytes" in pruned.memory:
        return _packed_gain(dense, pruned)
    pairs = {
        name: (dense.memory[key], pruned.memory[key])
        for key, name in _PARTS.items()
        if dense.memory.get(key) and pruned.memory.get(key)
    }
    if not pairs or pruned.cycles is not None:
        return Gain("-")
    told = ", ".join(f"{a / b:.2f}x less {name}" for name, (a, b) in pairs.items())
    before, after = next(iter(pairs.values()))
    return Gain(f"{told} ({pruned.target})", before / after, _side((before / after,) * 2))


def _packed_gain(dense: Measurement, pruned: Measurement) -> Gain:
    """The gain of a file with packed weights, in flash with the code that unpacks them.

    It is one only where flash saved is more than the arena that unpacking takes.
    """
    before, after = dense.memory["flash_bytes"], pruned.memory["flash_bytes"]
    grows = pruned.memory["arena_bytes"] - pruned.memory["plain_arena_bytes"]
    code = pruned.memory.get("code_bytes")
    words = "without the code that unpacks, which is not known"
    if code is not None:
        words = f"{code} bytes of code among it"
    pays = code is not None and before - after > max(grows, 0)
    text = (
        f"{'' if pays else 'no gain: '}{before / after:.2f}x less flash, {words}, {grows} bytes "
        f"more arena ({pruned.target})"
    )
    return Gain(text, before / after, "gain" if pays else "loss")


def _side(interval: tuple[float, float]) -> Literal["gain", "loss"] | None:
    low, high = interval
    return "gain" if low > 1 else "loss" if high < 1 else None


@dataclass(frozen=True)
class Shipping:
    """The file to ship for a device, or none yet, and why."""

    artifact: Path | None
    reason: str
    cost: InferenceCost | None = None
    """Cost of one inference, by which files of a device are ranked; None if not known."""

    def __str__(self) -> str:
        what = f"Ship {self.artifact}" if self.artifact else "Nothing to ship yet"
        return f"{what}: {self.reason}."

    @property
    def sentence(self) -> str:
        """The reason as a sentence of its own."""
        return f"{self.reason[:1].upper()}{self.reason[1:]}."

    def to_json(self) -> dict[str, Any]:
        """File and reason, the path as text."""
        return {"artifact": str(self.artifact) if self.artifact else None, "reason": self.reason}


def cheapest(ships: Sequence[Shipping | None]) -> int:
    """Which of the routes of a device has the file to ship that costs least.

    They are compared as far as their costs have the unit of the first one's.

    Args:
      ships: what each of them ships.

    Returns:
      Its place; 0 if none ships anything.
    """
    known = [(place, ship.cost) for place, ship in enumerate(ships) if ship and ship.artifact]
    if not known:
        return 0
    first, unit = known[0][0], known[0][1] and known[0][1].unit
    alike = [(cost.value, place) for place, cost in known if cost and cost.unit == unit]
    return min(alike)[1] if alike else first


def what_to_ship(
    gain: Gain,
    accuracy: tuple[float, float] | None,
    dense: Artifact,
    pruned: Artifact,
    source: str,
    *,
    limited: bool = False,
) -> Shipping:
    """The pruned file if an instrument says that it gains and it is as accurate, else the dense.

    Args:
      gain: of the pruned file.
      accuracy: of the dense and the pruned file; None without labels.
      dense: the unpruned file.
      pruned: the pruned file, whose checks passed.
      source: what measured the gain, and how; empty if nothing did.
      limited: whether a person said what may be lost, which the pruned file keeps.
    """
    size = f"{dense.size_bytes / 1024:.0f} → {pruned.size_bytes / 1024:.0f} KiB"
    named = "accuracy not measured"
    if accuracy:
        named = "accuracy {:.3f} → {:.3f}".format(*accuracy)
    facts = f"{gain.text}; {named}; {size}"
    if source:
        facts += f"; {source}"
    if accuracy and not limited and accuracy[0] - accuracy[1] > LOST_ACCURACY:
        return Shipping(None, f"the pruned file loses accuracy; prune less, or train ({facts})")
    if not source:
        return Shipping(None, f"nothing proves a gain on the device yet ({facts})")
    if gain.proven == "gain":
        return Shipping(pruned.path, facts)
    if gain.proven is None and pruned.size_bytes < SMALLER * dense.size_bytes:
        return Shipping(pruned.path, f"smaller, not faster ({facts})")
    return Shipping(dense.path, f"the unpruned file, since pruning gains nothing here ({facts})")
