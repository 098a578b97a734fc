"""Measurements: what an instrument said about an artifact, with unit, runtime and spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeprune.errors import TargetError
from edgeprune.profile import DeviceProfile, load_profile

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference over interleaved rounds."""

    median: float
    p90: float
    ci95: tuple[float, float]
    """Bootstrap interval of the median."""
    runs: int
    """Rounds that were timed; each is the mean of enough inferences to fill 2 ms."""


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


@dataclass(frozen=True)
class LayerCost:
    """What one operator costs by an instrument; None is a thing that it cannot say."""

    name: str
    op: str
    where: str
    """What it runs on, such as `NPU` or `CPU`."""
    cycles: int | None = None
    bytes: int | None = None
    """Of parameters, as the device stores them."""
    note: str = ""


@dataclass(frozen=True)
class Settings:
    """How to measure; a target takes of it what it can."""

    runtime: str | None = None
    """The one that a person chose; the reference if None."""
    threads: int = 1
    artifacts: Path | None = None
    """Folder for what the instrument makes of the files; beside them if None."""


@dataclass(frozen=True)
class Measurement:
    """What a target said about one artifact; None is a thing that it cannot say."""

    model: str
    device: str
    target: str
    runtime: str
    simulated: bool
    size_bytes: int
    gzip_bytes: int
    latency_ms: Latency | None = None
    speedup: Speedup | None = None
    instructions: int | None = None
    """Executed by one inference."""
    instruction_classes: dict[str, int] = field(default_factory=dict)
    """The same by kind."""
    cycles: int | None = None
    memory: dict[str, int] = field(default_factory=dict)
    ops_on_device: int | None = None
    ops_on_cpu: int | None = None
    layers: tuple[LayerCost, ...] = ()
    conditions: str = ""
    """Machine, threads and how the runs were made, in words."""
    rounds_ms: tuple[tuple[float, ...], ...] = ()
    """Raw samples, `[processes, rounds]`."""
    warnings: tuple[str, ...] = ()
    """What the numbers do not hold for."""

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        content = asdict(self)
        if self.speedup is not None:
            content["speedup"]["significant"] = self.speedup.significant
        return content


Rounds = Sequence[Sequence[float]]
"""Timed rounds in milliseconds, `[processes, rounds]`."""


def latency(rounds: Rounds, seed: int = 0) -> Latency:
    """Median, 90th percentile and the bootstrap interval of the median of timed rounds.

    Args:
      rounds: `[processes, rounds]`, milliseconds.
      seed: of the resampling.
    """
    samples = np.concatenate([np.asarray(process, float) for process in rounds])
    return Latency(
        median=float(np.median(samples)),
        p90=float(np.percentile(samples, 90)),
        ci95=_median_interval(rounds, seed),
        runs=len(samples),
    )


def speedup(first: Rounds, other: Rounds, seed: int = 0) -> Speedup:
    """How many times faster `other` is than `first`, from rounds that were timed in turn.

    The ratio is taken within each round, so that a clock that drifts touches both alike.

    Args:
      first: `[processes, rounds]`, milliseconds of the model compared with.
      other: `[processes, rounds]`, milliseconds, of the same rounds.
      seed: of the resampling.
    """
    ratios = [
        [a / b for a, b in zip(*pair, strict=True)] for pair in zip(first, other, strict=True)
    ]
    return Speedup(float(np.median(np.concatenate(ratios))), _median_interval(ratios, seed))


def _median_interval(rounds: Rounds, seed: int) -> tuple[float, float]:
    """Bootstrap interval of the median; processes are resampled first, then rounds within each.

    Rounds of one process share where its memory happens to lie, which alone moves latency by a
    percent or two; resampling rounds only would call that significant.

    Source: Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013, section 6.
    """
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


def measure(
    models: Sequence[str | Path],
    device: str | Path | DeviceProfile,
    *,
    target: str | None = None,
    runtime: str | None = None,
    threads: int = 1,
    artifacts: Path | None = None,
) -> tuple[Measurement, ...]:
    """Measures .tflite files with an instrument, in turn with each other.

    Args:
      models: the files; with several, each is also compared with the first.
      device: a profile, its name, or the path of a user's own `.toml` file.
      target: an instrument's name, with its address behind a colon if it has one; the first of the
        profile's that is ready if None, else `host`.
      runtime: `tflite-runtime` or `LiteRT`, where the target has both; the reference if None.
      threads: that the runtime may use.
      artifacts: folder for what the instrument makes of the files; beside them if None.

    Raises:
      TargetError: the target is unknown or not ready, or it does not have the runtime.
      TfliteError: a file does not parse.
      CheckError: the runtime refuses a file, crashes on it or does not end.
    """
    from edgeprune.targets import find_target  # the targets build on this module

    profile = load_profile(device)
    name = target or default_target(profile)
    instrument = find_target(name)
    readiness = instrument.readiness()
    if not readiness.ready:
        raise TargetError(f"Target '{name}' is not ready: {readiness.detail}. {readiness.remedy}")
    settings = Settings(runtime, threads, artifacts)
    return instrument.measure([Path(model) for model in models], profile, settings)


def default_target(profile: DeviceProfile) -> str:
    """The first of the profile's targets that is ready here; `host` stands in if none is."""
    from edgeprune.targets import TARGETS, find_target

    known = (name for name in profile.targets if name in TARGETS)
    return next((name for name in known if find_target(name).readiness().ready), "host")
