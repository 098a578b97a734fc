"""The file of a candidate: planned, pruned or trained, and exported, as far as its stage asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgeprune.conversion.convert import export
from edgeprune.core.data import Data
from edgeprune.core.errors import quality_warnings
from edgeprune.core.files import Artifact
from edgeprune.core.plan import Plan
from edgeprune.core.progress import Progress
from edgeprune.keras_model.layers import Model
from edgeprune.keras_model.sparsity import reached_sparsity
from edgeprune.planning.plan_model import plan as plan_model
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.searching.cache import Cache
from edgeprune.searching.candidate import Candidate, Stage
from edgeprune.searching.routing import is_dense, profile_of
from edgeprune.searching.subject import Subject
from edgeprune.searching.weights import in_one_shot, trained

PART_OF_SAMPLES = 4
"""One of so many samples is pruned by before a candidate is pruned by all."""
FEWEST_OF_PART = 128
"""Samples of a part at least: with fewer nothing is fine-tuned, which ranks otherwise."""


@dataclass(frozen=True)
class Clock:
    """Seconds of work by its kind."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """Counts a block as work of a kind."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Made:
    """A file, and what it was made of."""

    artifact: Artifact
    model: Model
    """In Keras; what was written into a .tflite file has its twin here."""
    profile: DeviceProfile
    """On the route of the file."""
    plan: Plan | None
    """None where nothing is pruned."""
    reached: float
    """Fraction of the prunable weights that is zeroed or removed."""


def make(
    subject: Subject,
    candidate: Candidate,
    stage: Stage,
    path: Path,
    cache: Cache,
    clock: Clock,
    progress: Progress,
) -> Made:
    """Writes the file of a candidate.

    Before the stage `PART` weights are chosen by their magnitude, and the file is for measuring
    only.

    Args:
      subject: what is searched for.
      candidate: the candidate.
      stage: says how much work its weights are worth.
      path: the file.
      cache: where models are kept that others may want too.
      clock: counts the seconds.
      progress: told what is done.

    Raises:
      EdgepruneError: as `plan`, `prune` and `export`.
    """
    offered = subject.profile(candidate.device)
    profile = profile_of(offered, candidate)
    samples = samples_for(subject.samples, stage)
    plan = None
    if candidate.epochs or not is_dense(offered, candidate):
        with clock.of("prune"), quality_warnings():
            plan = _plan(subject, candidate, profile, samples, progress)
    model = subject.model
    if plan is not None:
        kind = "train" if stage is Stage.TRAINED else "prune"
        with clock.of(kind), quality_warnings():
            if stage is Stage.TRAINED:
                model = trained(subject, plan, candidate.epochs, profile, cache, progress)
            else:
                model = in_one_shot(subject, plan, samples, cache, progress)
    mended_by = samples.x if samples is not None and stage is Stage.ONE_SHOT else None
    with clock.of("export"):
        artifact = export(
            subject.given if plan is None else subject.given.pruned(model, mended_by),
            profile,
            path,
            x=subject.calibration,
            plan=plan,
            scale=subject.scale,
            measuring_only=stage is Stage.INSTRUMENT,
        ).artifact
    reached = reached_sparsity(model, plan) if plan is not None else 0.0
    return Made(artifact, model, profile, plan, reached)


def samples_for(samples: Data, stage: Stage) -> Data | None:
    """The samples that a stage prunes by; None where weights are chosen by their magnitude."""
    if stage < Stage.PART:
        return None
    if stage is Stage.PART:
        return samples.some(max(FEWEST_OF_PART, len(samples) // PART_OF_SAMPLES))
    return samples


def _plan(
    subject: Subject,
    candidate: Candidate,
    profile: DeviceProfile,
    samples: Data | None,
    progress: Progress,
) -> Plan:
    return plan_model(
        subject.given,
        subject.profile(candidate.device) if not profile.route.dense else profile,
        route=profile.route.name,
        sparsity=None if profile.route.dense else candidate.sparsity,
        cost=candidate.cost,
        padding=candidate.padding,
        activation=candidate.activation,
        allocation=candidate.allocation if samples is not None else None,
        x=samples,
        samples=subject.most,
        look_around=False,
        progress=progress,
    ).model_copy(update={"model": subject.name})
