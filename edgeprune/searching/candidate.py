"""What a search tries: candidates, the stages that they go through, and what came of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, Literal

from edgeprune.core import digest
from edgeprune.core.terms import Activation, Allocation


class Stage(IntEnum):
    """How far a candidate is evaluated; each stage costs more than the one before."""

    TABLE = 0
    """Its cost as the tables expect it; nothing is made."""
    INSTRUMENT = 1
    """Its cost by the device's instrument, of a file whose weights are pruned by magnitude."""
    PART = 2
    """Pruned in one shot on a part of the samples; accuracy on the selecting half."""
    ONE_SHOT = 3
    """Pruned in one shot on all samples; exported, validated, measured, accuracy on both halves."""
    TRAINED = 4
    """The same after training."""


@dataclass(frozen=True)
class Candidate:
    """One way to make a file for a device."""

    device: str
    """Name of the profile."""
    route: str
    sparsity: float | None = None
    """Asked for, as by `--sparsity`; None where `cost` is, and on dense and fixed routes."""
    cost: float | None = None
    """Asked for, as by `--cost`."""
    allocation: Allocation | None = None
    padding: Literal["keep", "symmetric"] = "keep"
    activation: Activation = "keep"
    epochs: int = 0
    """Epochs of training; 0 for one shot."""

    @property
    def key(self) -> str:
        """The digest of all fields, by which it is known on every machine."""
        return digest.of_json(self.to_json())[:16]

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True)
class Task:
    """A candidate to be evaluated up to a stage, in a round of a search."""

    round: int
    candidate: Candidate
    stage: Stage

    @property
    def key(self) -> str:
        """What it is known by on every machine."""
        return f"{self.round}:{self.candidate.key}:{int(self.stage)}"


@dataclass(frozen=True)
class HalfAccuracy:
    """Accuracy of a file on both halves of the labelled samples."""

    selected_on: float
    """On the half by which candidates are chosen: a fraction, or the value of the metric."""
    reported_on: float | None
    """On the other half; None where it was not measured yet."""
    ci95: tuple[float, float] | None
    """The interval of `reported_on`; None for a metric without one."""
    samples: tuple[int, int]
    """How many samples of each half were run."""
    runtime: str
    """Where the file ran, with its version."""
    dense: tuple[float, float | None] | None = None
    """The same of the dense float model on the very samples that the file ran on: of half-precision
    files these are a few of each half."""


@dataclass(frozen=True)
class Outcome:
    """What an evaluation found."""

    cost: float
    """In the unit of its front."""
    expected: bool = False
    """Whether the cost is that of a table, not of an instrument."""
    accuracy: HalfAccuracy | None = None
    """None before the stage `PART`."""
    size_bytes: int | None = None
    sha256: str | None = None
    """Digest of the file, its key in the cache; None where none is kept."""
    reached: float | None = None
    """Sparsity reached, by the pattern's own count."""
    failed_checks: tuple[str, ...] = ()
    """Messages of checks of the verdict that are not ok; such a file is never shipped."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Work by its kind: "prune", "export", "validate", "measure", "accuracy", "train"."""
    cost_ci95: tuple[float, float] | None = None
    """What rounds of a clock leave open of the cost, 95 %; None where nothing is timed."""

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Outcome:
        """What `to_json` wrote."""
        found = dict(content)
        accuracy = found["accuracy"]
        if accuracy is not None:
            pair = accuracy["ci95"]
            low, high = accuracy["samples"]
            found["accuracy"] = HalfAccuracy(
                **{
                    **accuracy,
                    "ci95": (pair[0], pair[1]) if pair else None,
                    "samples": (low, high),
                    "dense": tuple(accuracy["dense"]) if accuracy.get("dense") else None,
                }
            )
        interval = found.get("cost_ci95")
        found["cost_ci95"] = (interval[0], interval[1]) if interval else None
        return cls(**{**found, "failed_checks": tuple(found["failed_checks"])})


@dataclass(frozen=True)
class Finished:
    """A task that is over: with an outcome, or failed for good."""

    task: Task
    outcome: Outcome | None
    error: str = ""
    """Why there is no outcome."""
