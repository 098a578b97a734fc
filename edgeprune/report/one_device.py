"""The pipeline for one device: plan, prune, export, validate, measure, name the accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgeprune.conversion.convert import Exported, export
from edgeprune.core.data import Data, Scale, Split, signature_name
from edgeprune.core.errors import DataError, EdgepruneError, quality_warnings
from edgeprune.core.files import Artifact
from edgeprune.core.plan import LayerSparsity, Plan
from edgeprune.core.progress import Progress
from edgeprune.core.terms import Allocation, Goal
from edgeprune.inspection.accuracy import accuracy
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.files import save_model
from edgeprune.keras_model.interface import input_specs
from edgeprune.keras_model.layers import Model
from edgeprune.keras_model.sparsity import layer_sparsities, reached_sparsity
from edgeprune.planning.plan_model import plan as plan_model
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.rules import Encoding
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.training.settings import Training
from edgeprune.report.headline import expected_by
from edgeprune.report.notes import plan_notes, storage_notes
from edgeprune.report.report import DeviceReport
from edgeprune.targets.find import measures_device
from edgeprune.targets.measurement import Settings
from edgeprune.targets.measuring import default_target, measure_each
from edgeprune.targets.missing import not_measured
from edgeprune.tflite.format.file import read as read_tflite
from edgeprune.tflite.format.signature import signature_specs

STEPS = ("plan", "prune", "export", "validate", "measure", "accuracy")
Tell = Callable[[str], None]
"""Told which of the steps begins."""
_DENSE = Encoding(runtimes=(), source="what pruned files are compared with is stored densely")


@dataclass(frozen=True)
class Job:
    """What is the same for every device of one `compare`."""

    model: Model
    name: str
    split: Split
    scale: Scale
    folder: Path
    sparsity: float | None
    goal: Goal | None
    padding: Literal["keep", "symmetric"]
    allocation: Allocation | None
    targets: tuple[str, ...]
    settings: Settings
    training: Training | None
    progress: Progress


def report_device(job: Job, profile: DeviceProfile, tell: Tell) -> DeviceReport:
    """One device, from plan to accuracy; an error ends this device and is reported."""
    report = DeviceReport(device=profile.name, summary=profile.summary, numerics=profile.numerics)
    try:
        tell("plan")
        plan = _plan(job, profile)
        notes = plan_notes(plan, profile.strategy(job.goal), job.sparsity)
        report = replace(report, plan=plan, asked=plan.asked, notes=notes)
        tell("prune")
        with quality_warnings() as warnings:
            pruned = _prune(job, plan, profile)
        report = replace(report, notes=(*notes, *warnings))
        save_model(pruned, job.folder / f"{profile.name}.keras")
        report = replace(
            report, reached=reached_sparsity(pruned, plan), layers=_pruned_layers(pruned, plan)
        )
        tell("export")
        dense = _export_dense(job, profile)
        exported = export(
            pruned,
            profile,
            job.folder / f"{profile.name}.tflite",
            x=list(job.split.train.x),
            plan=plan,
            scale=job.scale,
        )
        report = replace(_with_file(report, job, profile, plan, exported), dense_artifact=dense)
        return _judge(job, profile, report, exported.artifact, dense, tell)
    except EdgepruneError as error:
        return replace(report, error=str(error))


def _plan(job: Job, profile: DeviceProfile) -> Plan:
    asked = None if profile.strategy(job.goal).fixed else job.sparsity
    return plan_model(
        job.model,
        profile,
        sparsity=asked,
        goal=job.goal,
        padding=job.padding,
        allocation=job.allocation,
        x=Data(job.split.train.x),
        progress=job.progress,
    ).model_copy(update={"model": job.name})


def _prune(job: Job, plan: Plan, profile: DeviceProfile) -> Model:
    def tell(what: str, done: int, total: int) -> None:
        job.progress(f"{profile.name}: {what}", done, total)

    samples = job.split.train
    data = samples if job.training else Data(samples.x)
    return prune(job.model, plan, data, job.training, progress=tell)


def _pruned_layers(pruned: Model, plan: Plan) -> tuple[LayerSparsity, ...]:
    prunable = {layer.path for layer in plan.layers if layer.prunable}
    return tuple(row for row in layer_sparsities(pruned, plan) if row.path in prunable)


def _export_dense(job: Job, profile: DeviceProfile) -> Artifact:
    """The unpruned model in the device's number format, the same for all devices that share it."""
    dense_kind = "" if profile.per_channel_dense else "-per-tensor"
    path = job.folder / f"dense-{profile.numerics}{dense_kind}.tflite"
    plain = profile.model_copy(update={"encoding": _DENSE})
    return export(job.model, plain, path, x=list(job.split.train.x), scale=job.scale).artifact


def _with_file(
    report: DeviceReport, job: Job, profile: DeviceProfile, plan: Plan, exported: Exported
) -> DeviceReport:
    """The report with what is to be said of the file that was written."""
    runtimes = [job.settings.runtime] if job.settings.runtime else None
    names = runtimes or [runtime.name for runtime in profile.runtimes]
    return replace(
        report,
        artifact=exported.artifact,
        expected=expected_by(plan, names) if exported.network.on else None,
        notes=(*report.notes, *storage_notes(profile, plan, exported), *exported.warnings),
    )


def _judge(
    job: Job,
    profile: DeviceProfile,
    report: DeviceReport,
    pruned: Artifact,
    dense: Artifact,
    tell: Tell,
) -> DeviceReport:
    test = _in_file_order(job, pruned.path)
    tell("validate")
    verdict = validate(
        pruned.path, profile, reference=job.folder / f"{profile.name}.keras", x=list(test.x)
    )
    report = replace(report, verdict=verdict)
    if not verdict.ran:
        return replace(report, not_measured="the file does not run")
    tell("measure")
    report = _measured(job, profile, report, [dense.path, pruned.path])
    tell("accuracy")
    try:
        fractions = (accuracy(dense.path, profile, test), accuracy(pruned.path, profile, test))
        return replace(report, accuracy=fractions)
    except DataError as error:
        return replace(report, notes=(*report.notes, f"No accuracy: {error}"))


def _measured(
    job: Job, profile: DeviceProfile, report: DeviceReport, files: Sequence[Path]
) -> DeviceReport:
    """Measures both files with every target that is one of the device's own."""

    def tell(_: str, what: str, done: int, total: int) -> None:
        job.progress(f"{profile.name}: {what}", done, total)

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


def targets_for(asked: Sequence[str], profile: DeviceProfile) -> tuple[str, ...]:
    """The instruments to measure a device with: of those asked for its own, else its default.

    Empty where there is none: this computer is no device but those that are such a computer.
    """
    if asked:
        return tuple(name for name in asked if measures_device(name, profile))
    default = default_target(profile)
    return (default,) if default else ()


def _unmeasured(job: Job, profile: DeviceProfile, report: DeviceReport) -> DeviceReport:
    wanted = ", ".join(profile.targets)
    why = f"none of {', '.join(job.targets)} measures it, but {wanted} would"
    remedy = why if job.targets else not_measured(profile)
    said = f"Not measured: {remedy}. This computer only ran the file: its time says nothing here."
    return replace(report, not_measured=remedy, notes=(*report.notes, said))


def _in_file_order(job: Job, path: Path) -> Data:
    """Test samples with the inputs in the order that the file's signature has."""
    names = [signature_name(spec.name) for spec in input_specs(job.model)]
    order = [spec.name for spec in signature_specs(read_tflite(path))]
    by_name = dict(zip(names, job.split.test.x, strict=True))
    return Data(tuple(by_name[name] for name in order), job.split.test.y)
