"""The file that others are timed beside, where a device is measured by a clock.

A clock drifts with all else that a computer does: files that are timed minutes apart differ by that
alone. So each is timed in turn with one dense file, and its cost is what the dense file took at
first, divided by how many times faster it is in the same rounds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.conversion.convert import export
from edgeprune.core.digest import Fingerprint
from edgeprune.core.errors import EdgepruneError, TargetError
from edgeprune.profiles.dense import dense_on
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.searching.boards import Job, measure_jobs
from edgeprune.searching.cache import Cache
from edgeprune.searching.subject import Subject
from edgeprune.targets.inference_cost import cost_in
from edgeprune.targets.measurement import Measurement, Settings

Agree = Callable[[str, Any], Any]
"""What all workers of a search take for a value, by its name: that of the first one."""


@dataclass(frozen=True)
class Reference:
    """A dense file that others are timed beside."""

    path: Path
    ms: float
    """What one inference of it took when it was timed first."""

    def cost(self, found: Measurement) -> float | None:
        """Milliseconds of a file that was timed in turn with it; None where they are not known."""
        if found.speedup is not None:
            return self.ms / found.speedup.median
        own = cost_in(found, "ms")
        return None if own is None else own.value

    def interval(self, found: Measurement) -> tuple[float, float] | None:
        """The 95 % interval of that cost, by the ratios of the rounds; None where none is known."""
        if found.speedup is None:
            return None
        low, high = found.speedup.ci95
        return self.ms / high, self.ms / low


def reference_for(
    subject: Subject,
    profile: DeviceProfile,
    target: str,
    cache: Cache,
    made_from: Fingerprint,
    agree: Agree,
    settings: Settings,
) -> Reference:
    """The dense model in a device's number format, timed once for all workers of a search.

    Args:
      subject: what is searched for.
      profile: the first of the devices that the instrument measures.
      target: the instrument.
      cache: where the file and its time are kept.
      made_from: the digests of all that the time depends on.
      agree: shares it with the other workers.
      settings: how to measure.

    Raises:
      TargetError: the instrument cannot be used, or times nothing.
      EdgepruneError: the file cannot be made or run.
    """
    kept = cache.find("references", made_from)
    if not isinstance(kept, dict) or not cache.has_file(kept["file"]):
        dense = dense_on(profile, profile.route.numerics)
        path = _file(subject, dense, cache)
        kept = {"file": path.stem, "ms": _time(Job(path, dense, target), settings)}
        cache.keep("references", made_from, kept)
    return Reference(cache.file(kept["file"]), float(agree(f"dense file by {target}", kept["ms"])))


def _file(subject: Subject, dense: DeviceProfile, cache: Cache) -> Path:
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = Path(folder, f"{dense.name}-{dense.route.name}.tflite")
        made = export(
            subject.given,
            dense,
            path,
            x=subject.calibration,
            scale=subject.scale,
            measuring_only=True,
        )
        return cache.keep_file(made.artifact)


def _time(job: Job, settings: Settings) -> float:
    found = measure_jobs([job], settings)[job]
    if isinstance(found, EdgepruneError):
        raise found
    cost = cost_in(found, "ms")
    if cost is None:
        raise TargetError(
            f"Target '{job.target}': expected the time of one inference of the dense model. "
            "Received: a measurement without. Choose another target."
        )
    return cost.value
