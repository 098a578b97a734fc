"""Evaluating candidates: what each costs, and how good it is.

Findings are kept by all that they depend on, so that a search that goes on, or another one of the
same model and data, finds them again.
"""

from __future__ import annotations

import gc
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from edgeprune.core import digest
from edgeprune.core.digest import Fingerprint
from edgeprune.core.errors import CheckError, EdgepruneError, InputError, TargetError
from edgeprune.core.progress import Progress, no_progress
from edgeprune.inspection.input_order import in_file_order
from edgeprune.inspection.metric import Metric
from edgeprune.inspection.validate_file import CHECKED_SAMPLES, validate
from edgeprune.planning.route_cost import UNIT, expect_dense
from edgeprune.searching import fingerprint
from edgeprune.searching.boards import Job, measure_jobs
from edgeprune.searching.cache import Cache
from edgeprune.searching.candidate import Candidate, HalfAccuracy, Outcome, Stage, Task
from edgeprune.searching.clocked import Agree, Reference, reference_for
from edgeprune.searching.expected import BYTES, ExpectedCosts
from edgeprune.searching.judging import Judge
from edgeprune.searching.making import Clock, Made, make
from edgeprune.searching.subject import Subject
from edgeprune.targets.inference_cost import RANKED_BY, cost_in
from edgeprune.targets.measurement import Measurement
from edgeprune.tflite.format.file import read

CLOCKED = "ms"
"""The unit of instruments that have a clock."""


class Yardstick(Protocol):
    """What the files of a device are measured by."""

    @property
    def target(self) -> str | None:
        """The instrument, with its address if it has one; None where cost tables tell."""

    @property
    def unit(self) -> str:
        """Unit of costs: "ms", "instructions", "cycles" or "bytes"."""


@dataclass(frozen=True)
class _Cost:
    """What a file costs, in the unit of its front."""

    value: float
    expected: bool = False
    """Whether a table says it."""
    ci95: tuple[float, float] | None = None
    """What a clock leaves open of it."""


@dataclass(frozen=True)
class Evaluation:
    """Evaluates the candidates of a search on this computer."""

    subject: Subject
    cache: Cache
    yardsticks: Mapping[str, Yardstick]
    """By the name of the device."""
    agree: Agree = lambda _, value: value
    """Shares values with the other workers of the search."""
    _references: dict[str, Reference] = field(default_factory=dict)
    """By the instrument."""
    _judged: list[HalfAccuracy | None] = field(default_factory=list)

    @cached_property
    def judge(self) -> Judge:
        """What judges files."""
        return Judge(self.subject)

    def dense(self) -> HalfAccuracy | None:
        """How good the dense float model is on both halves; None where there are no labels.

        Raises:
          DataError: the metric cannot be told of its outputs.
        """
        if not self._judged:
            self._judged.append(self.judge.of_dense())
        return self._judged[0]

    @cached_property
    def _tables(self) -> ExpectedCosts:
        return ExpectedCosts(self.subject)

    def expected(self, candidates: Sequence[Candidate]) -> dict[str, float | None]:
        """What candidates are expected to cost, by their keys; None where nothing tells.

        The same model and profiles give the same costs on every machine.
        """
        made_from = {
            **self._always,
            "candidates": digest.of_json([[each.key, self._unit(each)] for each in candidates]),
            "profiles": digest.of_json(
                [fingerprint.of_profile(each) for each in self.subject.profiles.values()]
            ),
        }
        found = self.cache.find("expected", made_from)
        if not isinstance(found, dict):
            found = {each.key: self._tables.of(each, self._unit(each)) for each in candidates}
            self.cache.keep("expected", made_from, found)
        return found

    def evaluate(self, task: Task, progress: Progress = no_progress) -> Outcome:
        """What comes of a candidate at a stage.

        Args:
          task: the candidate and the stage.
          progress: told what is done.

        Raises:
          TargetError: the instrument cannot be used or reached, whatever the candidate.
          EdgepruneError: the candidate's file cannot be made, run or judged.
        """
        candidate, stage = task.candidate, task.stage
        if stage is Stage.TABLE:
            return self._by_table(candidate)
        made_from = self._made_from(candidate, stage)
        known = self._known(made_from)
        if known is not None:
            return known
        with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
            outcome = self._evaluated(candidate, stage, Path(folder), progress)
        self.cache.keep("outcomes", made_from, outcome.to_json())
        gc.collect()  # models hold on to themselves, and a search makes many
        return outcome

    def _by_table(self, candidate: Candidate) -> Outcome:
        cost = self.expected([candidate])[candidate.key]
        if cost is None:
            raise InputError(
                f"{candidate.device}, {candidate.route}: expected a cost table. Received: none "
                "that tells what it costs. Use an instrument: edgeprune targets"
            )
        return Outcome(cost, expected=True)

    def _known(self, made_from: Fingerprint) -> Outcome | None:
        """What an earlier evaluation found, without its seconds, if its file is still there."""
        content = self.cache.find("outcomes", made_from)
        if content is None:
            return None
        found = replace(Outcome.from_json(content), seconds={})
        gone = found.sha256 is not None and not self.cache.has_file(found.sha256)
        return None if gone else found

    def _evaluated(
        self, candidate: Candidate, stage: Stage, folder: Path, progress: Progress
    ) -> Outcome:
        clock = Clock()
        path = folder / f"{candidate.device}-{candidate.route}.tflite"
        made = make(self.subject, candidate, stage, path, self.cache, clock, progress)
        failed: tuple[str, ...] = ()
        if stage >= Stage.ONE_SHOT:
            progress("validating", 0, 1)
            with clock.of("validate"):
                failed = self._failed_checks(made)
        progress("measuring", 0, 1)
        with clock.of("measure"):
            cost = self._cost(made, progress)
        accuracy = None
        if stage >= Stage.PART:
            progress("running labelled samples", 0, 1)
            with clock.of("accuracy"):
                accuracy = self._accuracy(made, both=stage >= Stage.ONE_SHOT)
        if stage >= Stage.ONE_SHOT:
            self.cache.keep_file(made.artifact)
        return Outcome(
            cost=cost.value,
            expected=cost.expected,
            cost_ci95=cost.ci95,
            accuracy=accuracy,
            size_bytes=made.artifact.size_bytes,
            sha256=made.artifact.sha256 if stage >= Stage.ONE_SHOT else None,
            reached=made.reached,
            failed_checks=failed,
            seconds=dict(clock.seconds),
        )

    def _failed_checks(self, made: Made) -> tuple[str, ...]:
        samples = self.subject.samples.some(CHECKED_SAMPLES)
        ordered = in_file_order(self.subject.model, made.artifact.path)
        verdict = validate(
            made.artifact.path,
            made.profile,
            reference=made.model,
            x=ordered(list(samples.x)),
        )
        failed = tuple(check.message for check in verdict.checks if not check.ok)
        if failed and not verdict.ran:
            raise CheckError(f"{made.artifact.path.name}: does not run: {'; '.join(failed)}")
        return failed

    def _cost(self, made: Made, progress: Progress) -> _Cost:
        """The cost of a file in the unit of its front."""
        yardstick = self.yardsticks[made.profile.name]
        if yardstick.unit == BYTES:
            return _Cost(float(made.artifact.size_bytes))
        if yardstick.target is None:
            return _Cost(self._cost_by_table(made), expected=True)
        beside = self._timed_beside(made.profile.name)
        job = Job(
            made.artifact.path,
            made.profile,
            yardstick.target,
            beside=None if beside is None else beside.path,
        )
        settings = replace(
            self.subject.settings, artifacts=made.artifact.path.parent, tell=progress
        )
        found = measure_jobs([job], settings)[job]
        if isinstance(found, EdgepruneError):
            raise found
        cost = _in_unit(found, yardstick.unit) if beside is None else beside.cost(found)
        if cost is None:
            raise TargetError(
                f"Target '{yardstick.target}': expected {yardstick.unit} of one inference of "
                f"{made.artifact.path.name}. Received: a measurement without. Choose another "
                "target."
            )
        return _Cost(cost, ci95=None if beside is None else beside.interval(found))

    def _timed_beside(self, device: str) -> Reference | None:
        """The dense file that those of a device are timed beside; None where no clock measures."""
        yardstick = self.yardsticks[device]
        target = yardstick.target
        if target is None or yardstick.unit != CLOCKED:
            return None
        if target not in self._references:
            first = next(name for name, other in self.yardsticks.items() if other.target == target)
            profile = self.subject.profile(first)
            self._references[target] = reference_for(
                self.subject,
                profile,
                target,
                self.cache,
                {**self._always, "data": self.subject.data_sha256, **self._measured_by(first)},
                self.agree,
                self.subject.settings,
            )
        return self._references[target]

    def _cost_by_table(self, made: Made) -> float:
        plan = made.plan
        if plan is not None and plan.pruned:
            told = plan.expected if plan.expected and plan.expected.unit == UNIT else None
            cost = told.pruned if told else None
        else:
            cost = expect_dense(read(made.artifact.path), made.profile)
        if cost is None:
            raise InputError(
                f"{made.profile.name}, {made.profile.route.name}: expected a cost table that tells "
                "what this pattern costs. Received: none. Use an instrument: edgeprune targets"
            )
        return cost

    def _accuracy(self, made: Made, *, both: bool) -> HalfAccuracy | None:
        try:
            return self.judge.of_file(made.artifact.path, made.profile, both=both)
        except TargetError as error:  # no core for half precision: other candidates need none
            raise InputError(f"No accuracy, without which it is not chosen: {error}") from error

    def _unit(self, candidate: Candidate) -> str:
        return self.yardsticks[candidate.device].unit

    @cached_property
    def _always(self) -> dict[str, str]:
        return {"model": self.subject.model_sha256, "versions": fingerprint.of_versions()}

    def _made_from(self, candidate: Candidate, stage: Stage) -> Fingerprint:
        """All that an outcome depends on."""
        subject = self.subject
        beside = self._timed_beside(candidate.device)
        training = fingerprint.of_training(subject.training) if candidate.epochs else None
        metric = _identity(subject.metric) if subject.metric else None
        how = [str(subject.scale), subject.most, subject.seed, training, metric]
        return {
            **self._always,
            "data": subject.data_sha256,
            "candidate": candidate.key,
            "stage": stage.name,
            "options": digest.of_json(how),
            "timed beside": digest.of_json(
                None if beside is None else [beside.path.stem, beside.ms]
            ),
            **self._measured_by(candidate.device),
        }

    def _measured_by(self, device: str) -> dict[str, str]:
        """What the cost of any file on a device depends on."""
        profile, yardstick = self.subject.profile(device), self.yardsticks[device]
        used = [yardstick.target] if yardstick.target else []
        return {
            "profile": fingerprint.of_profile(profile),
            "unit": yardstick.unit,
            "instruments": fingerprint.of_instruments(profile, used),
            "way of measuring": fingerprint.of_settings(self.subject.settings, used),
        }


def _in_unit(found: Measurement, unit: str) -> float | None:
    known = next((each for each in RANKED_BY if each == unit), None)
    cost = cost_in(found, known) if known else None
    return None if cost is None else cost.value


def _identity(metric: Metric) -> list[Any]:
    """By what a metric is known again; one whose code nobody can read is never the same."""
    code = fingerprint.of_function(metric.function) or str(uuid.uuid4())
    return [metric.name, metric.minimize, code]
