"""The whole pipeline for several devices: one model in, measured files and a report out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from edgeprune.conversion.convert import CHECKED_SPARSITY, Exported, export
from edgeprune.core.arrays import Array
from edgeprune.core.data import Data, Scale, Split, signature_name
from edgeprune.core.errors import DataError, EdgepruneError, OutputError, quality_warnings
from edgeprune.core.files import make_output_folder, require_output_folder
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import LayerSparsity, Plan
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.sources import AnySource, Table, open_split
from edgeprune.core.terms import Allocation, Goal
from edgeprune.inspection.accuracy import accuracy
from edgeprune.inspection.validate_file import CHECKED_SAMPLES, validate
from edgeprune.keras_model.files import as_model, name_of, save_model
from edgeprune.keras_model.interface import input_specs
from edgeprune.keras_model.layers import Model
from edgeprune.keras_model.ports import ports_of
from edgeprune.keras_model.sparsity import layer_sparsities, reached_sparsity
from edgeprune.planning.plan_model import plan as plan_model
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.dense_accuracy import LOOKED_AT, warn_at_chance
from edgeprune.pruning.reconstruct.samples import RECONSTRUCTION_SAMPLES
from edgeprune.pruning.training.labels import check_training
from edgeprune.pruning.training.settings import Training
from edgeprune.report.memory import Memory
from edgeprune.report.report import REPORT_FILES, DeviceReport, Report
from edgeprune.targets.find import TARGETS, find_target
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.measuring import (
    PROXY_TARGET,
    default_target,
    measure_each,
    require_ready,
)
from edgeprune.tflite.format.file import read as read_tflite
from edgeprune.tflite.format.signature import signature_specs

_STEPS = ("plan", "prune", "export", "validate", "measure", "accuracy")


@dataclass(frozen=True)
class Job:
    """What is the same for every device of one `compare`."""

    model: Model
    name: str
    split: Split[AnySource]
    samples: Data
    """Those of the training set that are calibrated on, read once for all devices."""
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


def compare(
    model_path: Any,
    devices: Sequence[str | Path | DeviceProfile],
    data_path: Any,
    folder: str | Path,
    *,
    validation_data: Any = None,
    sparsity: float | None = None,
    goal: Goal | None = None,
    epochs: int = 0,
    padding: Literal["keep", "symmetric"] | None = None,
    allocation: Allocation | None = None,
    training: Training | None = None,
    scale: Scale = "auto",
    targets: Sequence[str] = (),
    settings: Settings | None = None,
    progress: Progress = no_progress,
    memory: Memory | None = None,
) -> Report:
    """Prunes, exports, validates and measures a model for several devices.

    Writes, into `folder`: `<device>.keras` and `<device>.tflite` (pruned),
    `dense-<numerics>.tflite` (what they are compared with), `report.json` and `report.html`. Every
    device is finished, also when another one fails.

    Args:
      model_path: a `.keras` file, or a built Keras model.
      devices: profiles, their names, or paths of a user's own `.toml` files.
      data_path: samples of any kind that `open_source` takes.
      folder: is made if its parent exists.
      validation_data: samples to measure accuracy on; if None, as `open_split` finds them.
      sparsity: fraction of zeros; each profile's default if None. A pattern with a sparsity of its
        own (2:4) keeps it.
      goal: which strategy of the profiles that have several.
      epochs: short for `training=Training(epochs=epochs)`; 0 prunes in one shot.
      padding: "symmetric" where the device wants it, or "keep"; if None, symmetric with training.
      allocation: how zeros are spread over layers; if None, as each profile says.
      training: how to train with masks; one shot if None.
      scale: what uint8 data is scaled by; "auto" takes the scale of each input.
      targets: instruments, each used for the devices that it measures, `host` for all; one per
        device, the first of its own that is ready, if empty.
      settings: how to measure.
      progress: told what is done.
      memory: keeps the reports of devices for another process, if this one crashes.

    Raises:
      InputError: bad model, data, device or folder, before any work.
      TargetError: a target is unknown or not ready, before any work.

    Warns:
      QualityWarning: samples that look wrongly scaled, before any work.
    """
    training = training or (Training(epochs=epochs) if epochs else None)
    profiles = [load_profile(device) for device in devices]
    _require_distinct(profiles)
    require_ready(targets)
    output = Path(folder)
    require_output_folder(output, *_file_names(profiles))
    model, name = as_model(model_path), name_of(model_path)
    split = open_split(data_path, ports_of(model), validation=validation_data, scale=scale)
    if training is not None:
        split = replace(split, train=_readable(split.train))
        check_training(model, split.train, training)
    samples = split.train.some(RECONSTRUCTION_SAMPLES)
    warn_at_chance(model, split.test.some(LOOKED_AT))
    make_output_folder(output)
    pads = padding or ("symmetric" if training else "keep")
    job = Job(
        model=model,
        name=name,
        split=split,
        samples=samples,
        scale=scale,
        folder=output,
        sparsity=sparsity,
        goal=goal,
        padding=pads,
        allocation=allocation,
        targets=tuple(targets),
        settings=settings or Settings(),
        training=training,
        progress=progress,
    )
    reports = []
    for index, profile in enumerate(profiles):

        def tell(step: str, profile: DeviceProfile = profile, index: int = index) -> None:
            done = index * len(_STEPS) + _STEPS.index(step)
            progress(f"{profile.name}: {step}", done, len(profiles) * len(_STEPS))

        make = partial(_device_report, job, profile, tell)
        reports.append(memory.report(index, profile, make) if memory else make())
    progress("report", len(profiles) * len(_STEPS), len(profiles) * len(_STEPS))
    report = Report(name, tuple(reports), split.train.scaling)
    report.write(output)
    return report


def _require_distinct(profiles: list[DeviceProfile]) -> None:
    names = [profile.name for profile in profiles]
    if not names or len(set(names)) < len(names):
        raise OutputError(
            "Expected different devices, at least one, since files are named after them. "
            f"Received: {', '.join(names) or 'none'}."
        )


def _file_names(profiles: list[DeviceProfile]) -> list[str]:
    """The names of the files that a comparison writes."""
    endings = (".keras", ".tflite", ".manifest.json")
    return [
        *REPORT_FILES,
        *(f"{profile.name}{ending}" for profile in profiles for ending in endings),
    ]


def _device_report(job: Job, profile: DeviceProfile, tell: Any) -> DeviceReport:
    """One device, from plan to accuracy; an error ends this device and is reported."""
    report = DeviceReport(device=profile.name, summary=profile.summary)
    try:
        tell("plan")
        plan, notes = _plan(job, profile)
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
            x=job.samples,
            plan=plan,
            scale=job.scale,
        )
        notes = (*report.notes, *_storage_notes(profile, plan, exported), *exported.warnings)
        report = replace(report, artifact=exported.artifact, notes=notes)
        return _judge(job, profile, report, dense, exported, tell)
    except EdgepruneError as error:
        return replace(report, error=str(error))


def _plan(job: Job, profile: DeviceProfile) -> tuple[Plan, tuple[str, ...]]:
    strategy = profile.strategy(job.goal)
    fixed = strategy.fixed
    asked = None if fixed else job.sparsity
    made = plan_model(
        job.model,
        profile,
        sparsity=asked,
        goal=job.goal,
        padding=job.padding,
        allocation=job.allocation,
        x=Data(job.samples.x),
        progress=job.progress,
    ).model_copy(update={"model": job.name})
    notes = list(made.warnings())
    if made.padding:
        notes.append(
            f"The padding of {len(made.padding)} stride-2 convolutions was made symmetric before "
            "pruning, as the device's sparse kernels want it."
        )
    if fixed and job.sparsity is not None and job.sparsity != fixed.sparsity:
        notes.append(f"{fixed} fixes the sparsity: {fixed.sparsity:g} instead of {job.sparsity:g}.")
    return made, tuple(notes)


def _prune(job: Job, plan: Plan, profile: DeviceProfile) -> Model:
    def tell(what: str, done: int, total: int) -> None:
        job.progress(f"{profile.name}: {what}", done, total)

    data = job.split.train if job.training else Data(job.samples.x)
    return prune(job.model, plan, data, job.training, progress=tell)


def _storage_notes(profile: DeviceProfile, plan: Plan, exported: Exported) -> tuple[str, ...]:
    """What became of the zeros in the file, in words."""
    notes = []
    smaller = [layer for layer in plan.pruned if isinstance(layer.pattern, Channels)]
    if smaller:
        most = max(smaller, key=lambda layer: layer.sparsity)
        notes.append(
            f"Channels were taken out of {len(smaller)} layers, most of them ({most.sparsity:.0%}) "
            f"out of {most.path}: the file is a smaller network without zeros."
        )
    restored = [tensor for tensor in exported.sparse if tensor.storage == "densify"]
    direct = [tensor for tensor in exported.sparse if tensor.storage == "direct"]
    if exported.network.on:
        changes = ", ".join(
            f"{change.name} ({change.places})" for change in exported.network.applied
        )
        notes.append(
            "On ARM64 the network runs on XNNPACK's sparse kernels as a whole"
            + (f"; rewritten for that, with equal outputs: {changes}." if changes else ".")
        )
    elif restored:
        notes.append(
            f"{len(restored)} weights are stored sparsely and made dense again when the file is "
            "loaded: smaller, not faster."
        )
    if direct:
        notes.append(f"{len(direct)} weights are computed on as they are stored, sparse.")
    reasons = {
        tensor.reason
        for tensor in exported.tensors
        if tensor.storage == "dense" and tensor.sparsity > CHECKED_SPARSITY
    }
    instruments = [find_target(name) for name in profile.targets if name in TARGETS]
    if reasons and any(instrument.capabilities.finds_zeros for instrument in instruments):
        notes.append(
            "The zeros lie in dense weights, where the device's compiler finds them by itself."
        )
    elif reasons:
        notes.append(
            "Other zeros are stored like any value, and gzip alone shows them: "
            f"{'; '.join(sorted(reasons))}."
        )
    return tuple(notes)


def _pruned_layers(pruned: Model, plan: Plan) -> tuple[LayerSparsity, ...]:
    prunable = {layer.path for layer in plan.layers if layer.prunable}
    return tuple(row for row in layer_sparsities(pruned, plan) if row.path in prunable)


def _export_dense(job: Job, profile: DeviceProfile) -> Path:
    """The unpruned model in the device's number format; made once for all devices that share it."""
    dense_kind = "" if profile.per_channel_dense else "-per-tensor"
    path = job.folder / f"dense-{profile.numerics}{dense_kind}.tflite"
    return export(job.model, profile, path, x=job.samples, scale=job.scale).artifact.path


def _judge(
    job: Job,
    profile: DeviceProfile,
    report: DeviceReport,
    dense: Path,
    exported: Exported,
    tell: Any,
) -> DeviceReport:
    test, ordered = job.split.test, _in_file_order(job, exported.artifact.path)
    tell("validate")
    verdict = validate(
        exported.artifact.path,
        profile,
        reference=job.folder / f"{profile.name}.keras",
        x=ordered(list(test.some(CHECKED_SAMPLES).x)),
    )
    report = replace(report, verdict=verdict)
    if not verdict.ran:
        return report
    tell("measure")
    report = _measured(job, profile, report, [dense, exported.artifact.path])
    tell("accuracy")
    try:
        return replace(
            report,
            accuracy=(
                accuracy(dense, profile, test, ordered),
                accuracy(exported.artifact.path, profile, test, ordered),
            ),
        )
    except DataError as error:
        return replace(report, notes=(*report.notes, f"No accuracy: {error}"))


def _measured(
    job: Job, profile: DeviceProfile, report: DeviceReport, files: Sequence[Path]
) -> DeviceReport:
    """Measures both files with every target that measures the device."""

    def tell(_: str, what: str, done: int, total: int) -> None:
        job.progress(f"{profile.name}: {what}", done, total)

    names = _targets_for(job, profile)
    if not names:
        wanted = ", ".join(profile.targets)
        note = f"Not measured: none of {', '.join(job.targets)} measures it, but {wanted} would."
        return replace(report, notes=(*report.notes, note))
    settings = replace(job.settings, artifacts=job.folder)
    outcomes = measure_each(files, profile, names, settings, tell)
    pairs = [outcome.measurements for outcome in outcomes if outcome.error is None]
    failed = [f"{outcome.target}: {outcome.error}" for outcome in outcomes if outcome.error]
    return replace(
        report,
        dense=tuple(first for first, _ in pairs),
        pruned=tuple(second for _, second in pairs),
        notes=report.notes + _stand_in_notes(profile, [second for _, second in pairs]),
        error="; ".join(failed) or None,
    )


def _targets_for(job: Job, profile: DeviceProfile) -> tuple[str, ...]:
    if not job.targets:
        return (default_target(profile),)
    known = {*profile.targets, PROXY_TARGET}
    return tuple(name for name in job.targets if name.partition(":")[0] in known)


def _in_file_order(job: Job, path: Path) -> Callable[[list[Array]], list[Array]]:
    """What puts one array per input into the order that the file's signature has."""
    names = [signature_name(spec.name) for spec in input_specs(job.model)]
    order = [spec.name for spec in signature_specs(read_tflite(path))]
    return lambda arrays: [arrays[names.index(name)] for name in order]


def _readable(source: AnySource) -> AnySource:
    """The samples that can be read, where any can be asked for."""
    return source.readable() if isinstance(source, Data | Table) else source


def _stand_in_notes(profile: DeviceProfile, measurements: Sequence[Measurement]) -> tuple[str, ...]:
    return tuple(
        f"Latency was measured on this computer ({measurement.runtime}, {measurement.conditions}), "
        f"which is a proxy for the device: {', '.join(profile.targets)} would measure it."
        for measurement in measurements
        if measurement.stand_in
    )
