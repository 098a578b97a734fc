"""The dense files of a device held against the file that would be shipped: what is cheaper ships.

A pruned file that beats the dense one of its own number format may still cost more than the dense
model in another format, which anyone can have without pruning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeprune.core.files import Artifact
from edgeprune.report.accuracies import AccuracyRow
from edgeprune.report.baseline import Baseline
from edgeprune.report.drop import ROUNDING, Drop
from edgeprune.report.headline import LOST_ACCURACY, Shipping
from edgeprune.targets.inference_cost import InferenceCost, ranking_costs
from edgeprune.targets.measurement import Measurement

AS_GOOD = 0.005
"""Fraction by which two counts may differ and still be called as good."""


@dataclass(frozen=True)
class Rival:
    """A dense file that costs no more than the file that would be shipped."""

    baseline: Baseline
    artifact: Artifact
    cost: InferenceCost
    against: InferenceCost
    """What the file costs that would be shipped."""
    core: str
    """The core of modelled cycles; empty for other units."""
    standing: Literal["cheaper", "as good"]

    def sentence(self, than: str) -> str:
        """What it needs, in words, against `than`."""
        numbers = f"({self.cost.number} against {self.against.number})"
        return f"dense {self.baseline.numerics} {self._needs} {than} {numbers}"

    @property
    def _needs(self) -> str:
        if self.cost.unit == "ms":
            return "needs less time than" if self.standing == "cheaper" else "needs as much time as"
        unit = f"{self.cost.unit} of {self.core}" if self.core else self.cost.unit
        return (
            f"needs fewer {unit} than" if self.standing == "cheaper" else f"needs as many {unit} as"
        )


def rivals(
    chosen: Measurement,
    baselines: Iterable[Baseline],
    needed: float | None,
    known: Sequence[str],
) -> tuple[Rival, ...]:
    """The dense files that are as accurate and cost no more by the same instrument.

    Args:
      chosen: what the instrument said of the file that would be shipped.
      baselines: the dense files of its device.
      needed: the least accuracy, as a fraction of samples; None without labels.
      known: hashes of files that were compared already.

    Returns:
      The cheapest first.
    """
    found = [
        rival
        for baseline in baselines
        if baseline.artifact is not None and baseline.artifact.sha256 not in known
        if _as_accurate(baseline, needed)
        for rival in _rivals(chosen, baseline, baseline.artifact)
    ]
    return tuple(sorted(found, key=lambda rival: rival.cost.value))


def least_accuracy(
    drop: Drop | None, rows: Sequence[AccuracyRow], files: tuple[float, float] | None
) -> float | None:
    """What a dense file has to reach to be shipped: the usual limit, or that of a person.

    Args:
      drop: what the pruned file loses, where a person limited that.
      rows: accuracies of networks, the dense float one first.
      files: accuracy of the dense and of the pruned file; None without labels.
    """
    if drop is not None and rows:
        return rows[0].value - drop.limit
    return files[0] - LOST_ACCURACY if files else None


def _as_accurate(baseline: Baseline, needed: float | None) -> bool:
    if needed is None:
        return True
    return baseline.accuracy is not None and baseline.accuracy >= needed - ROUNDING


def _rivals(chosen: Measurement, baseline: Baseline, artifact: Artifact) -> Iterator[Rival]:
    for measured in baseline.measurements:
        if measured.stand_in or measured.source != chosen.source:
            continue
        costs = ranking_costs([measured, chosen])
        if not costs:
            continue
        cost, against = costs
        standing = _standing(measured, chosen, cost, against)
        if standing is not None:
            core = measured.cycles_core if cost.unit == "modelled cycles" else None
            yield Rival(baseline, artifact, cost, against, core or "", standing)


def _standing(
    measured: Measurement, chosen: Measurement, cost: InferenceCost, against: InferenceCost
) -> Literal["cheaper", "as good"] | None:
    low, high = _between(measured, cost)
    least, most = _between(chosen, against)
    if high < least:
        return "cheaper"
    return "as good" if low <= most else None


def _between(measured: Measurement, cost: InferenceCost) -> tuple[float, float]:
    """The 95 % interval of a time; a count, half of what two of them may differ by on each side."""
    if cost.unit == "ms":
        interval = measured.latency_ms.ci95 if measured.latency_ms else None
        return interval or (cost.value, cost.value)
    return cost.value * (1 - AS_GOOD / 2), cost.value * (1 + AS_GOOD / 2)


def or_cheaper(ship: Shipping, than: str, size: int, found: Sequence[Rival]) -> Shipping:
    """What to ship once the dense files are looked at too.

    Args:
      ship: what would be shipped without them.
      than: that file in words.
      size: its bytes.
      found: the dense files that cost no more, the cheapest first.
    """
    if not found:
        return ship
    best = found[0]
    sentence = best.sentence(than)
    if best.standing == "as good" and best.artifact.size_bytes >= size:
        return replace(ship, reason=f"{ship.reason}; {sentence}, and is no smaller")
    named = best.baseline.accuracy
    facts = (
        sentence,
        "accuracy not measured" if named is None else f"accuracy {named:.3f}",
        f"{best.artifact.size_bytes / 1024:.0f} KiB",
        f"beside it {than}: {ship.reason}",
    )
    return Shipping(best.artifact.path, "; ".join(facts), best.cost)
