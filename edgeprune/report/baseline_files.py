"""Makes, measures and judges the dense files that a device would run in place of a pruned one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from pydantic import TypeAdapter, ValidationError

from edgeprune.core.errors import EdgepruneError
from edgeprune.core.terms import Numerics
from edgeprune.inspection.accuracy import accuracy
from edgeprune.inspection.input_order import in_file_order
from edgeprune.profiles.dense import dense_on
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.report.baseline import BASELINES, Baseline
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.judging import are_elsewhere, judged_by
from edgeprune.report.kept import Kept
from edgeprune.report.making import Job, export_dense
from edgeprune.report.results import moved_artifact, moved_measurement
from edgeprune.targets.find import runs_numerics
from edgeprune.targets.measuring import measure_each, targets_for

_STEP = "+baselines"


def make_baselines(job: Job, profile: DeviceProfile, report: DeviceReport) -> tuple[Baseline, ...]:
    """The dense model in every number format of `BASELINES` that a device runs.

    What the report has found out of its own dense file is taken from there.

    Args:
      job: what is the same for every device.
      profile: the device, with all its routes.
      report: of one of them, finished.
    """
    formats = [numerics for numerics in BASELINES if runs_numerics(profile, numerics)]
    made = [
        _own(report) if numerics == report.numerics else _exported(job, profile, numerics)
        for numerics in formats
    ]
    others = [each for each in made if each.numerics != report.numerics and each.artifact]
    judged = _judged(job, profile, others, report.not_measured) if others else ()
    found = {each.numerics: each for each in judged}
    return tuple(found.get(each.numerics, each) for each in made)


def _own(report: DeviceReport) -> Baseline:
    """The report's own dense file, with what was found out of it."""
    missing = [
        "" if report.dense else f"not measured: {report.not_measured}",
        "" if report.accuracy else f"no accuracy: {report.no_accuracy or 'the file does not run'}",
    ]
    return Baseline(
        numerics=report.numerics,
        artifact=report.dense_artifact,
        measurements=report.dense,
        accuracy=report.accuracy[0] if report.accuracy else None,
        accuracy_samples=report.accuracy_samples,
        accuracy_runtime=report.accuracy_runtime,
        reason="; ".join(filter(None, missing)),
    )


def _exported(job: Job, profile: DeviceProfile, numerics: Numerics) -> Baseline:
    try:
        return Baseline(numerics, export_dense(job, dense_on(profile, numerics)))
    except EdgepruneError as error:
        return Baseline(numerics, reason=f"not exported: {error}")


def _judged(
    job: Job, profile: DeviceProfile, made: list[Baseline], not_measured: str
) -> tuple[Baseline, ...]:
    """The files with measurements and accuracy, from an earlier run where nothing changed.

    Args:
      job: what is the same for every device.
      profile: the device.
      made: dense files.
      not_measured: why nothing measures the device, where that is so.
    """
    used = targets_for(job.targets, profile)
    files = [each.artifact.sha256 for each in made if each.artifact]
    by = judged_by(job, profile, used, files)
    step = f"{profile.name}{_STEP}"
    found = job.store.find(step, by)
    if isinstance(found, Kept) and not are_elsewhere(used):
        kept = _from_content(job, found.content)
        if kept is not None:
            return kept
    unmeasured = [replace(each, reason=f"not measured: {not_measured}") for each in made]
    measured = _measured(job, profile, made, used) if used else unmeasured
    judged = tuple(_with_accuracy(job, profile, each) for each in measured)
    job.store.keep(step, by, [], _adapter().dump_python(judged, mode="json"))
    return judged


def _measured(
    job: Job, profile: DeviceProfile, made: list[Baseline], used: Sequence[str]
) -> list[Baseline]:
    """All files in turn, with every instrument that measures the device."""
    paths = [each.artifact.path for each in made if each.artifact]

    def tell(_: str, what: str, done: int, total: int) -> None:
        job.progress(f"{profile.name}: {what}", done, total)

    settings = replace(job.settings, artifacts=job.folder)
    outcomes = measure_each(paths, profile, used, settings, tell)
    failed = "; ".join(f"{each.target}: {each.error}" for each in outcomes if each.error)
    said = [each.measurements for each in outcomes if each.error is None]
    return [
        replace(
            baseline,
            measurements=tuple(replace(by_one[row], speedup=None) for by_one in said),
            reason=failed,
        )
        for row, baseline in enumerate(made)
    ]


def _with_accuracy(job: Job, profile: DeviceProfile, found: Baseline) -> Baseline:
    if found.artifact is None:
        return found
    path = found.artifact.path
    try:
        named = accuracy(path, profile, job.split.test, in_file_order(job.model, path))
    except EdgepruneError as error:
        reason = "; ".join(filter(None, [found.reason, f"no accuracy: {error}"]))
        return replace(found, reason=reason)
    return replace(
        found,
        accuracy=named.value,
        accuracy_samples=named.samples,
        accuracy_runtime=named.runtime,
    )


@cache
def _adapter() -> TypeAdapter[tuple[Baseline, ...]]:
    return TypeAdapter(tuple[Baseline, ...])


def _from_content(job: Job, content: object) -> tuple[Baseline, ...] | None:
    """What an earlier run found, for files that may have moved; None if it is damaged."""
    try:
        found = _adapter().validate_python(content)
    except ValidationError:
        return None
    return tuple(
        replace(
            each,
            artifact=moved_artifact(each.artifact, job.folder),
            measurements=tuple(moved_measurement(m, job.folder) for m in each.measurements),
        )
        for each in found
    )
