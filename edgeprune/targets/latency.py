"""Statistics of timed rounds: medians, and how sure one can be of them.

NumPy is imported where it computes: commands that only pass measurements on start without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeprune.core.amounts import ms_text

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference over interleaved rounds; None is not known."""

    median: float | None
    p90: float | None
    ci95: tuple[float, float] | None
    """Bootstrap interval of the median."""
    runs: int
    """Rounds that were timed; each is the mean of enough inferences to fill 2 ms."""
    mean: float | None = None

    def __str__(self) -> str:
        if self.median is None:
            return "-" if self.mean is None else f"{ms_text(self.mean)} ms on average"
        spread = f" [{', '.join(map(ms_text, self.ci95))}]" if self.ci95 else ""
        return f"{ms_text(self.median)} ms{spread}"


@dataclass(frozen=True)
class Speedup:
    """How many times faster, or less work, than the first model of the same call.

    From latency it is the median of the rounds' ratios. Counted instructions and cycles have no
    rounds: the interval is what the counter itself leaves open.
    """

    median: float
    ci95: tuple[float, float]
    of: Literal["latency", "instructions", "cycles"] = "latency"

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 1."""
        return not self.ci95[0] <= 1 <= self.ci95[1]

    def __str__(self) -> str:
        if self.of != "latency":
            return f"{self.median:.2f}x by {self.of}"
        spread = f"{self.median:.2f}x [{self.ci95[0]:.2f}, {self.ci95[1]:.2f}]"
        return spread if self.significant else f"no significant difference ({spread})"


Rounds = Sequence[Sequence[float]]
"""Timed rounds in milliseconds, `[processes, rounds]`."""


def latency(rounds: Rounds, seed: int = 0) -> Latency:
    """Median, 90th percentile and the bootstrap interval of the median of timed rounds.

    Args:
      rounds: `[processes, rounds]`, milliseconds.
      seed: of the resampling.
    """
    import numpy as np

    samples = np.concatenate([np.asarray(process, float) for process in rounds])
    return Latency(
        median=float(np.median(samples)),
        p90=float(np.percentile(samples, 90)),
        ci95=median_interval(rounds, seed),
        runs=len(samples),
        mean=float(np.mean(samples)),
    )


def speedup(first: Rounds, other: Rounds, seed: int = 0) -> Speedup:
    """How many times faster `other` is than `first`, from rounds that were timed in turn.

    The ratio is taken within each round, so that a clock that drifts touches both alike.

    Args:
      first: `[processes, rounds]`, milliseconds of the model compared with.
      other: `[processes, rounds]`, milliseconds, of the same rounds.
      seed: of the resampling.
    """
    import numpy as np

    ratios = [
        [a / b for a, b in zip(*pair, strict=True)] for pair in zip(first, other, strict=True)
    ]
    return Speedup(float(np.median(np.concatenate(ratios))), median_interval(ratios, seed))


def median_interval(rounds: Rounds, seed: int) -> tuple[float, float]:
    """Bootstrap interval of the median; processes are resampled first, then rounds within each.

    Rounds of one process share where its memory happens to lie, which alone moves latency by a
    percent or two; resampling rounds only would call that significant.

    Source: Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013, section 6.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    shortest = min(len(process) for process in rounds)
    table = np.array([process[:shortest] for process in rounds], float)
    count = len(table)
    processes = generator.integers(0, count, (RESAMPLES, count, 1))
    chosen = generator.integers(0, shortest, (RESAMPLES, count, shortest))
    medians = np.median(table[processes, chosen].reshape(RESAMPLES, -1), axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(low), float(high)
