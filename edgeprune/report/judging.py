"""What is found out about the files of one device: checks, measurements and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeprune.core import digest
from edgeprune.core.arrays import Array
from edgeprune.core.digest import Fingerprint
from edgeprune.core.errors import DataError, EdgepruneError, TargetError
from edgeprune.core.files import Artifact
from edgeprune.core.sources import AnySource
from edgeprune.inspection.accuracy import (
    EMULATED_SAMPLES,
    Accuracy,
    accuracy,
    model_accuracy,
)
from edgeprune.inspection.input_order import in_file_order
from edgeprune.inspection.validate_file import CHECKED_SAMPLES, validate
from edgeprune.keras_model.files import as_model
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.report.accuracies import AccuracyRow, accuracy_rows
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.entry import Entry
from edgeprune.report.headline import expected_by
from edgeprune.report.making import Job, Tell
from edgeprune.searching import fingerprint
from edgeprune.targets.find import find_target
from edgeprune.targets.measuring import measure_each, targets_for
from edgeprune.targets.missing import not_measured
from edgeprune.targets.target import Remote

_JUDGING = "2"
"""Another one where files are judged in another way, so that what was found before is no longer
reused: half precision beside the float networks, and intervals that allow for few samples."""


def judge_files(
    job: Job,
    entry: Entry,
    report: DeviceReport,
    dense: Artifact,
    pruned: Artifact,
    tell: Tell,
) -> DeviceReport:
    """The report with the verdict, the measurements and the accuracy; an error is reported.

    Args:
      job: what is the same for every device.
      entry: the device on its route.
      report: what is known of the files.
      dense: the unpruned file.
      pruned: the pruned file.
      tell: told which step begins.
    """
    if report.expected and report.plan and job.settings.runtime:
        report = replace(report, expected=expected_by(report.plan, [job.settings.runtime]))
    try:
        profile = entry.profile
        test, ordered = job.split.test, in_file_order(job.model, pruned.path)
        tell("validate")
        reference = job.folder / f"{entry.name}.keras"
        x = ordered(list(test.some(CHECKED_SAMPLES).x))
        verdict = validate(pruned.path, profile, reference=reference, x=x)
        report = replace(report, verdict=verdict)
        if not verdict.ran:
            return replace(report, not_measured="the file does not run")
        tell("measure")
        report = _measured(job, entry, report, [dense.path, pruned.path])
        tell("accuracy")
        return _with_accuracy(
            report, profile, [dense.path, pruned.path], test, ordered, [job.model, reference]
        )
    except EdgepruneError as error:
        return replace(report, error=str(error))


def _with_accuracy(
    report: DeviceReport,
    profile: DeviceProfile,
    files: Sequence[Path],
    test: AnySource,
    ordered: Callable[[list[Array]], list[Array]],
    models: Sequence[Any],
) -> DeviceReport:
    """The report with the accuracy of both files, and of the float networks that they are of."""
    try:
        dense, pruned = (accuracy(path, profile, test, ordered) for path in files)
    except (DataError, TargetError) as error:
        notes = (*report.notes, f"No accuracy: {error}")
        return replace(report, notes=notes, no_accuracy=str(error))
    said = f"Accuracy of {pruned.samples} samples, in {pruned.runtime}."
    return replace(
        report,
        accuracy=(dense.value, pruned.value),
        accuracy_samples=pruned.samples,
        accuracy_runtime=pruned.runtime,
        accuracies=_rows(report.numerics, (dense, pruned), models, test),
        notes=(*report.notes, *((said,) if pruned.emulated else ())),
    )


def _rows(
    numerics: str, files: tuple[Accuracy, Accuracy], models: Sequence[Any], test: AnySource
) -> tuple[AccuracyRow, ...]:
    """Both files beside both models in Keras, where a file is another network than its model.

    Args:
      numerics: number format of the files.
      files: accuracy of the dense and of the pruned one.
      models: both models, or paths of them.
      test: the samples of the files' accuracy, which on an emulated core are some of these.
    """
    networks = ("dense", "pruned")
    exact = numerics == "float32"
    kind = "float" if exact else numerics
    own = [(f"{kind} {name}", found) for name, found in zip(networks, files, strict=True)]
    if exact:
        return accuracy_rows(own)
    emulated = any(found.emulated for found in files)
    same = test.some(EMULATED_SAMPLES) if emulated else test
    floats = [
        (f"float {name}", model_accuracy(as_model(model), same))
        for name, model in zip(networks, models, strict=True)
    ]
    return accuracy_rows([*floats, *own])


def _measured(job: Job, entry: Entry, report: DeviceReport, files: Sequence[Path]) -> DeviceReport:
    """Measures both files with every target that is one of the device's own."""

    def tell(_: str, what: str, done: int, total: int) -> None:
        job.progress(f"{entry.name}: {what}", done, total)

    profile = entry.profile
    names = targets_for(job.targets, profile)
    if not names:
        return _unmeasured(job, profile, report)
    settings = replace(job.settings, artifacts=job.folder)
    outcomes = measure_each(files, profile, names, settings, tell)
    pairs = [outcome.measurements for outcome in outcomes if outcome.error is None]
    failed = [f"{outcome.target}: {outcome.error}" for outcome in outcomes if outcome.error]
    return replace(
        report,
        dense=tuple(first for first, _ in pairs),
        pruned=tuple(second for _, second in pairs),
        not_measured="" if pairs else f"{', '.join(names)} failed",
        error="; ".join(failed) or None,
    )


def judged_by(
    job: Job, profile: DeviceProfile, used: Sequence[str], files: Sequence[str]
) -> Fingerprint:
    """What the judgement of files on a device depends on.

    Args:
      job: what is the same for every device.
      profile: the device.
      used: names of the instruments that measure it.
      files: digests of the files.
    """
    return {
        **job.made_from,
        "test data": fingerprint.of_samples(job.split.test),
        "profile": fingerprint.of_profile(profile),
        "files": digest.of_json(list(files)),
        "instruments": fingerprint.of_instruments(profile, used),
        "way of measuring": fingerprint.of_settings(job.settings, used),
        "way of judging": _JUDGING,
    }


def are_elsewhere(used: Sequence[str]) -> bool:
    """Whether an instrument is on another machine, which may be another one by now."""
    return any(isinstance(find_target(name), Remote) for name in used)


def _unmeasured(job: Job, profile: DeviceProfile, report: DeviceReport) -> DeviceReport:
    wanted = ", ".join(profile.targets)
    why = f"none of {', '.join(job.targets)} measures it, but {wanted} would"
    remedy = why if job.targets else not_measured(profile)
    said = f"Not measured: {remedy}. This computer only ran the file: its time says nothing here."
    return replace(report, not_measured=remedy, notes=(*report.notes, said))
