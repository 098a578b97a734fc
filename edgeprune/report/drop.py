"""What a file loses in accuracy against the dense float model, held against what it may lose.

What was measured decides; the interval says whether other samples could have decided otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from edgeprune.core.grid import Grid, Judgement, grid
from edgeprune.report.accuracies import AccuracyRow
from edgeprune.targets.checks import Check

ROUNDING = 1e-9
"""Accuracy that is lost in sums of floats alone."""
Finding: TypeAlias = Literal["within", "loses more", "not sure", "not known"]
"""Where the 95 % interval lies: below the limit, above it or on both sides; or there is none."""


@dataclass(frozen=True)
class Drop:
    """What a file loses against the dense float model on the same samples."""

    limit: float
    """The most that it may lose, as a fraction of samples."""
    lost: float | None = None
    """Below 0 if it gains; None if it is not known."""
    ci95: tuple[float, float] | None = None
    samples: int | None = None
    reason: str = ""
    """Why it is not known."""

    @property
    def ok(self) -> bool:
        """Whether it is known to be within the limit, on the samples that there are."""
        return self.lost is not None and self.lost <= self.limit + ROUNDING

    @property
    def finding(self) -> Finding:
        """What the 95 % interval says."""
        if self.ci95 is None:
            return "not known"
        low, high = self.ci95
        if high <= self.limit + ROUNDING:
            return "within"
        return "loses more" if low > self.limit + ROUNDING else "not sure"

    @property
    def text(self) -> str:
        """A sentence for people."""
        allowed = f"{_points(self.limit)} may be lost against the dense float model"
        if self.lost is None or self.ci95 is None:
            return f"not known, where {allowed}: {self.reason}"
        verb = "loses" if self.lost >= 0 else "gains"
        low, high = self.ci95
        found = f"{verb} {_points(abs(self.lost))}, where {allowed}"
        between = f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}, {self.samples} samples"
        doubt = ", which straddles the limit: more samples would tell"
        return f"{found} ({between}{doubt if self.finding == 'not sure' else ''})"

    def check(self) -> Check:
        """The same as one of the checks of the file."""
        lost = None if self.lost is None else round(self.lost, 6)
        return Check("accuracy lost", self.ok, lost, self.limit, self.text, kind="accuracy")

    def to_json(self) -> dict[str, Any]:
        """The fields, what the interval says, and whether the limit is kept."""
        return {
            "limit": self.limit,
            "lost": self.lost,
            "ci95": list(self.ci95) if self.ci95 else None,
            "samples": self.samples,
            "finding": self.finding,
            "ok": self.ok,
            "reason": self.reason or None,
        }


def drop_of(rows: Sequence[AccuracyRow], limit: float, reason: str) -> Drop:
    """What the last of the networks loses against the first, the dense float one.

    Args:
      rows: accuracies of networks, the dense float one first and the file to judge last.
      limit: the most that may be lost.
      reason: why it is not known, where it is not.
    """
    last = rows[-1] if rows else None
    if last is None or last.change is None or last.change_ci95 is None:
        return Drop(limit, reason=reason)
    low, high = last.change_ci95
    return Drop(limit, 0.0 - last.change, (-high, -low), last.samples)


def drop_grid(found: Iterable[tuple[str, Drop]]) -> Grid:
    """What the files of devices lose, each behind its device's name."""
    return grid(
        "Accuracy lost against the dense float model, in points",
        ("=device", ">lost", ">95 % interval", ">may be lost", "verdict"),
        (
            (
                device,
                "-" if drop.lost is None else f"{100 * drop.lost:.2f}",
                "-" if not drop.ci95 else "{:+.2f} to {:+.2f}".format(*_hundredfold(drop.ci95)),
                f"{100 * drop.limit:.2f}",
                Judgement(_verdict(drop), drop.ok),
            )
            for device, drop in found
        ),
    )


def _verdict(drop: Drop) -> str:
    if drop.finding != "not sure":
        return drop.finding
    side = "within" if drop.ok else "more"
    return f"not sure: {side} on these samples, and the interval straddles the limit"


def _hundredfold(pair: tuple[float, float]) -> tuple[float, float]:
    low, high = pair
    return 100 * low, 100 * high


def _points(value: float) -> str:
    return f"{100 * value:.2f} points"
