"""One device of a comparison: what an earlier run left where it still holds, else made now.

Files are made from the model, the samples, the profile and the options; they are judged by the
instruments. So a device whose instrument was set up since is measured, and not pruned again.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from edgeprune.core import digest
from edgeprune.core.digest import Fingerprint
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.files import Artifact
from edgeprune.profiles.dense import dense_on
from edgeprune.report.baseline import Baseline
from edgeprune.report.baseline_files import make_baselines
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.drop import drop_of
from edgeprune.report.entry import Entry
from edgeprune.report.judging import are_elsewhere, judge_files, judged_by
from edgeprune.report.kept import Kept, for_people
from edgeprune.report.loading.snippet import snippets
from edgeprune.report.making import FILE_ENDINGS, Job, Tell, export_dense, make_files
from edgeprune.report.results import from_content, to_content
from edgeprune.searching import fingerprint
from edgeprune.targets.measuring import targets_for

_TRAINING, _JUDGED = "+training-", "+judged"


def report_device(
    job: Job, entry: Entry, tell: Tell, baselines: tuple[Baseline, ...] = ()
) -> DeviceReport:
    """One device on one route, from plan to accuracy; an error ends it and is reported.

    Args:
      job: what is the same for every device.
      entry: the device and its route.
      tell: told which step begins.
      baselines: of this device, where another of its routes has them; made if empty.
    """
    report, why_made = _files(job, entry, tell)
    pruned = report.artifact
    if report.error is not None or pruned is None:
        return replace(report, history=_history(report, why_made, ""))
    try:
        dense = export_dense(job, dense_on(entry.offered, entry.profile.numerics))
    except EdgepruneError as error:
        return replace(report, error=str(error))
    report = replace(report, dense_artifact=dense)
    report, why_judged = _judged(job, entry, report, dense, pruned, tell)
    if report.error is None:
        tell("baselines")
        beside = baselines or make_baselines(job, entry.offered, report)
        report = replace(report, baselines=beside)
    report = replace(report, history=_history(report, why_made, why_judged))
    return _with_loading(with_drop(report, job.max_drop), entry)


def with_drop(report: DeviceReport, limit: float | None) -> DeviceReport:
    """The report with what its file loses, as a check too; as it is where nothing limits that.

    Args:
      report: what was found out about a device.
      limit: the most accuracy that may be lost against the dense float model, as a fraction.
    """
    if limit is None or report.verdict is None or report.error is not None:
        return report
    reason = report.no_accuracy or "the file does not run, or its classes cannot be told"
    drop = drop_of(report.accuracies, limit, reason)
    verdict = replace(report.verdict, checks=(*report.verdict.checks, drop.check()))
    return replace(report, drop=drop, verdict=verdict)


def _with_loading(report: DeviceReport, entry: Entry) -> DeviceReport:
    """The report with the code that loads the file to ship, where its checks passed."""
    ship = report.ship
    if ship is None or report.artifact is None:
        return report
    path = ship.artifact or report.artifact.path
    route = entry.profile.route.name if path == report.artifact.path else None
    try:
        loading = snippets(path, entry.offered, route)
    except EdgepruneError as error:
        return replace(report, notes=(*report.notes, f"No code that loads it: {error}"))
    return replace(report, loading=loading)


def _files(job: Job, entry: Entry, tell: Tell) -> tuple[DeviceReport, str]:
    """The report on a device's files, and why they were made again if they were."""
    made_from = {
        **job.made_from,
        "options": job.options,
        "profile": fingerprint.of_profile(entry.offered),
        "route": entry.route or "",
    }
    found, why = _find(job, entry.name, made_from)
    if found is not None:
        return replace(found, reused=("files",), measured_at=""), ""
    checkpoint = _checkpoint(job, entry, made_from)
    report = make_files(job, entry, checkpoint, tell)
    if report.error is not None:
        return report, why
    written = [job.folder / f"{entry.name}{ending}" for ending in FILE_ENDINGS]
    report = replace(
        report, made_at=job.store.keep(entry.name, made_from, written, to_content(report))
    )
    shutil.rmtree(checkpoint, ignore_errors=True)
    return report, why


def _checkpoint(job: Job, entry: Entry, made_from: Fingerprint) -> Path:
    """The folder for the state of training; what runs from something else left there is removed."""
    name = f"{entry.name}{_TRAINING}"
    folder = job.store.folder / f"{name}{digest.of_json(dict(made_from))[:16]}"
    for left in job.store.folder.glob(f"{name}*"):
        if left != folder or job.store.force:
            shutil.rmtree(left, ignore_errors=True)
    return folder


def _judged(
    job: Job,
    entry: Entry,
    report: DeviceReport,
    dense: Artifact,
    pruned: Artifact,
    tell: Tell,
) -> tuple[DeviceReport, str]:
    """The report with what is found out about the files, and why that was done again if it was."""
    used = targets_for(job.targets, entry.profile)
    by = judged_by(job, entry.offered, used, [dense.sha256, pruned.sha256, report.made_at])
    step = f"{entry.name}{_JUDGED}"
    found, why = _find(job, step, by)
    if found is not None and not are_elsewhere(used):
        return replace(found, reused=(*report.reused, "measurements"), made_at=report.made_at), ""
    report = judge_files(job, entry, report, dense, pruned, tell)
    if report.error is None:
        made = [Path(found.artifact) for found in (*report.dense, *report.pruned) if found.artifact]
        date = job.store.keep(step, by, made, to_content(report))
        report = replace(report, measured_at=date)
    return report, why or ("boards are measured again" if found is not None else "")


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
