"""One device of a comparison: what an earlier run left where it still holds, else made now.

Files are made from the model, the samples, the profile and the options; they are judged by the
instruments. So a device whose instrument was set up since is measured, and not pruned again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeprune.core import digest
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.files import Artifact
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.report import fingerprint
from edgeprune.report.judging import judge_files, targets_for
from edgeprune.report.kept import Fingerprint, Kept, for_people
from edgeprune.report.making import FILE_ENDINGS, Job, Tell, export_dense, make_files
from edgeprune.report.report import DeviceReport
from edgeprune.report.results import from_content, to_content
from edgeprune.targets.find import find_target
from edgeprune.targets.target import Remote

_TRAINING, _JUDGED = "+training-", "+judged"


def report_device(job: Job, profile: DeviceProfile, tell: Tell) -> DeviceReport:
    """One device, from plan to accuracy; an error ends this device and is reported."""
    report, why_made = _files(job, profile, tell)
    pruned = report.artifact
    if report.error is not None or pruned is None:
        return replace(report, history=_history(report, why_made, ""))
    try:
        dense = export_dense(job, profile)
    except EdgepruneError as error:
        return replace(report, error=str(error))
    report = replace(report, dense_artifact=dense)
    report, why_judged = _judged(job, profile, report, dense, pruned, tell)
    return replace(report, history=_history(report, why_made, why_judged))


def _files(job: Job, profile: DeviceProfile, tell: Tell) -> tuple[DeviceReport, str]:
    """The report on a device's files, and why they were made again if they were."""
    profile_sha256 = fingerprint.of_profile(profile)
    made_from = {**job.made_from, "options": job.options, "profile": profile_sha256}
    found, why = _find(job, profile.name, made_from)
    if found is not None:
        return replace(found, reused=("files",), measured_at=""), ""
    checkpoint = _checkpoint(job, profile, made_from)
    report = make_files(job, profile, checkpoint, tell)
    if report.error is not None:
        return report, why
    written = [job.folder / f"{profile.name}{ending}" for ending in FILE_ENDINGS]
    report = replace(
        report, made_at=job.store.keep(profile.name, made_from, written, to_content(report))
    )
    shutil.rmtree(checkpoint, ignore_errors=True)
    return report, why


def _checkpoint(job: Job, profile: DeviceProfile, made_from: Fingerprint) -> Path:
    """The folder for the state of training; what runs from something else left there is removed."""
    name = f"{profile.name}{_TRAINING}"
    folder = job.store.folder / f"{name}{digest.of_json(dict(made_from))[:16]}"
    for left in job.store.folder.glob(f"{name}*"):
        if left != folder or job.store.force:
            shutil.rmtree(left, ignore_errors=True)
    return folder


def _judged(
    job: Job,
    profile: DeviceProfile,
    report: DeviceReport,
    dense: Artifact,
    pruned: Artifact,
    tell: Tell,
) -> tuple[DeviceReport, str]:
    """The report with what is found out about the files, and why that was done again if it was."""
    used = targets_for(job.targets, profile)
    judged_by = {
        **job.made_from,
        "test data": fingerprint.of_samples(job.split.test),
        "profile": fingerprint.of_profile(profile),
        "files": digest.of_json([dense.sha256, pruned.sha256, report.made_at]),
        "instruments": fingerprint.of_instruments(profile, used),
        "way of measuring": fingerprint.of_settings(job.settings, used),
    }
    step = f"{profile.name}{_JUDGED}"
    found, why = _find(job, step, judged_by)
    if found is not None and not _elsewhere(used):
        return replace(found, reused=(*report.reused, "measurements"), made_at=report.made_at), ""
    report = judge_files(job, profile, report, dense, pruned, tell)
    if report.error is None:
        made = [Path(found.artifact) for found in (*report.dense, *report.pruned) if found.artifact]
        date = job.store.keep(step, judged_by, made, to_content(report))
        report = replace(report, measured_at=date)
    return report, why or ("boards are measured again" if found is not None else "")


def _elsewhere(used: Sequence[str]) -> bool:
    """Whether an instrument is on another machine, which may be another one by now."""
    return any(isinstance(find_target(name), Remote) for name in used)


def _find(job: Job, step: str, made_from: Fingerprint) -> tuple[DeviceReport | None, str]:
    """What a step left, dated, if it still holds; else what changed since."""
    found = job.store.find(step, made_from)
    if not isinstance(found, Kept):
        return None, found
    report = from_content(found.content, job.folder, job.name)
    if report is None:
        return None, "its record is damaged"
    return replace(report, made_at=found.date, measured_at=found.date), ""


def _history(report: DeviceReport, why_made: str, why_judged: str) -> str:
    """What was reused of an earlier run, and what was done again and why; empty on a first run."""
    told = []
    if "files" in report.reused:
        told.append(f"the files of {for_people(report.made_at)} are reused")
    elif why_made:
        told.append(f"made again, since {why_made}")
    if "measurements" in report.reused:
        told.append(f"so are the checks and measurements of {for_people(report.measured_at)}")
    elif why_judged and not why_made:
        told.append(f"checked and measured again, since {why_judged}")
    text = "; ".join(told)
    return f"{text[0].upper()}{text[1:]}." if text else ""
