"""The files for one device: its plan, the pruned model, and both models as `.tflite` files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgeprune.conversion.convert import export
from edgeprune.conversion.exported import Exported
from edgeprune.conversion.given import Given, PrunedFile, keras_model_of
from edgeprune.conversion.trained_ranges import keep_ranges
from edgeprune.core import digest
from edgeprune.core.data import Data, Scale, Split
from edgeprune.core.digest import Fingerprint
from edgeprune.core.errors import EdgepruneError, InputError, quality_warnings
from edgeprune.core.files import Artifact, describe_file
from edgeprune.core.plan import LayerSparsity, Plan
from edgeprune.core.progress import Progress
from edgeprune.core.sources import AnySource
from edgeprune.core.terms import Allocation, Goal
from edgeprune.keras_model.files import save_model
from edgeprune.keras_model.layers import Model
from edgeprune.keras_model.sparsity import layer_sparsities, reached_sparsity
from edgeprune.planning.cost_asked import why_no_cost
from edgeprune.planning.plan_model import plan as plan_model
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.training.checkpoint import FILE, remove_checkpoint
from edgeprune.pruning.training.settings import Training
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.entry import Entry
from edgeprune.report.headline import expected_by
from edgeprune.report.kept import Kept, Store
from edgeprune.report.notes import plan_notes, storage_notes
from edgeprune.searching import fingerprint
from edgeprune.targets.measurement import Settings
from edgeprune.tflite.metadata import manifest_path

STEPS = ("plan", "prune", "export", "validate", "measure", "accuracy", "baselines")
Tell = Callable[[str], None]
"""Told which of the steps begins."""
FILE_ENDINGS = (".keras", ".tflite", ".manifest.json")
"""Endings of the files that are named after a device."""


@dataclass(frozen=True)
class Job:
    """What is the same for every device of one `compare`."""

    given: Given
    name: str
    split: Split[AnySource]
    samples: Data
    """Those of the training set that are calibrated on, read once for all devices."""
    most_samples: int | None
    """How many those are at most; the default if None."""
    scale: Scale
    folder: Path
    sparsity: float | None
    cost: float | None
    goal: Goal | None
    padding: Literal["keep", "symmetric"]
    allocation: Allocation | None
    max_drop: float | None
    """The most accuracy that may be lost against the dense float model; it changes no file."""
    targets: tuple[str, ...]
    settings: Settings
    training: Training | None
    progress: Progress
    store: Store
    """What earlier runs left in the folder."""
    made_from: Fingerprint
    """What the unpruned files are made from: the model, the data and how they are read."""

    @property
    def model(self) -> Model:
        """The dense Keras model."""
        return self.given.model

    @property
    def options(self) -> str:
        """The digest of what else the files of every device follow."""
        training = fingerprint.of_training(self.training)
        chosen = [self.sparsity, self.cost, self.goal, self.padding, self.allocation, training]
        # Left out where it is not given, so that what was made before there was the option is kept.
        more = [] if self.most_samples is None else [self.most_samples]
        return digest.of_json([*chosen, *more])


def make_files(job: Job, entry: Entry, checkpoint: Path, tell: Tell) -> DeviceReport:
    """Plans, prunes and exports for one device; an error ends it and is reported.

    Args:
      job: what is the same for every device.
      entry: the device and its route.
      checkpoint: folder for the state of training; an interrupted one of the same run goes on.
      tell: told which step begins.
    """
    offered = entry.offered
    report = DeviceReport(
        device=offered.name, summary=offered.summary, name=entry.name, route=entry.route
    )
    try:
        tell("plan")
        profile = entry.profile
        report = replace(report, route=profile.route.name, numerics=profile.numerics)
        plan = _plan(job, entry)
        notes = plan_notes(plan, profile, job.sparsity, job.cost)
        report = replace(report, plan=plan, asked=plan.asked, notes=notes)
        tell("prune")
        with quality_warnings() as warnings:
            made = _prune(job, plan, entry, checkpoint)
        pruned = keras_model_of(made)
        report = replace(report, notes=(*notes, *warnings))
        save_model(pruned, job.folder / f"{entry.name}.keras")
        keep_ranges(pruned, job.folder / f"{entry.name}.keras")
        report = replace(
            report, reached=reached_sparsity(pruned, plan), layers=_pruned_layers(pruned, plan)
        )
        tell("export")
        return _with_file(report, profile, plan, _export(job, plan, entry, made))
    except EdgepruneError as error:
        return replace(report, error=str(error))


def _plan(job: Job, entry: Entry) -> Plan:
    route = entry.profile.route
    return plan_model(
        job.given,
        entry.offered,
        sparsity=None if route.fixed or route.dense else job.sparsity,
        cost=None if why_no_cost(entry.profile) else job.cost,
        goal=entry.goal,
        route=route.name,
        padding=job.padding,
        allocation=job.allocation,
        x=Data(job.samples.x),
        samples=job.most_samples,
        look_around=False,
        progress=job.progress,
    ).model_copy(update={"model": job.name})


def _prune(job: Job, plan: Plan, entry: Entry, checkpoint: Path) -> Model | PrunedFile:
    def tell(what: str, done: int, total: int) -> None:
        job.progress(f"{entry.name}: {what}", done, total)

    samples = job.split.train
    if job.training is None:
        data = Data(job.samples.x)
        return prune(job.given, plan, data, samples=job.most_samples, progress=tell)
    device = entry.profile
    asked = job.training
    if asked.quantize_aware and device.numerics != "int8":
        asked = replace(asked, quantize_aware=None)  # it is asked of the int8 devices among others
    if asked.checkpoint is not None:
        return prune(job.given, plan, samples, asked, device=device, progress=tell)
    training = replace(asked, checkpoint=checkpoint)
    if (checkpoint / FILE).exists():
        try:
            again = replace(training, resume=True)
            return prune(job.given, plan, samples, again, device=device, progress=tell)
        except InputError:  # damaged, or of another run after all
            remove_checkpoint(checkpoint)
    return prune(job.given, plan, samples, training, device=device, progress=tell)


def _pruned_layers(pruned: Model, plan: Plan) -> tuple[LayerSparsity, ...]:
    prunable = {layer.path for layer in plan.layers if layer.prunable}
    return tuple(row for row in layer_sparsities(pruned, plan) if row.path in prunable)


def _export(job: Job, plan: Plan, entry: Entry, pruned: Model | PrunedFile) -> Exported:
    return export(
        pruned,
        entry.profile,
        job.folder / f"{entry.name}.tflite",
        x=job.samples,
        plan=plan,
        scale=job.scale,
    )


def _with_file(
    report: DeviceReport, profile: DeviceProfile, plan: Plan, exported: Exported
) -> DeviceReport:
    """The report with what is to be said of the file that was written."""
    names = [runtime.name for runtime in profile.runtimes]
    return replace(
        report,
        artifact=exported.artifact,
        expected=expected_by(plan, names) if exported.network.on else None,
        notes=(*report.notes, *storage_notes(profile, plan, exported), *exported.warnings),
    )


def export_dense(job: Job, profile: DeviceProfile) -> Artifact:
    """The unpruned model in a number format, made once for all devices that share it.

    Args:
      job: what is the same for every device.
      profile: a device on a dense route, as `dense_on` gives it.

    Raises:
      EdgepruneError: as `export`.
    """
    name = f"dense-{profile.numerics}{'' if profile.per_channel_dense else '-per-tensor'}"
    path = job.folder / f"{name}.tflite"
    step = f"+{name}"
    if isinstance(job.store.find(step, job.made_from), Kept):
        return describe_file(path)
    made = export(
        job.given,
        profile,
        path,
        x=job.samples,
        route=profile.route.name,
        scale=job.scale,
    )
    job.store.keep(step, job.made_from, [path, manifest_path(path)], None)
    return made.artifact
