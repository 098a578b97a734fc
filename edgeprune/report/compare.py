"""The whole pipeline for several devices: one model in, measured files and a report out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from edgeprune.conversion.given import as_given
from edgeprune.conversion.manifest import installed_versions
from edgeprune.conversion.routes_of_given import routes_for
from edgeprune.core.data import Data, Ports, Scale
from edgeprune.core.files import make_output_folder, require_output_folder
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.sources import AnySource, Stream, Table, open_split
from edgeprune.core.terms import Allocation, Goal
from edgeprune.inspection.labels import no_labels, require_classes
from edgeprune.keras_model.ports import ports_of
from edgeprune.planning.cost_asked import require_fraction
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.pruning.dense_accuracy import LOOKED_AT, warn_at_chance
from edgeprune.pruning.reconstruct.samples import most_samples
from edgeprune.pruning.training.labels import check_training
from edgeprune.pruning.training.settings import Training
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.entry import Entry, entries_of
from edgeprune.report.kept import Store
from edgeprune.report.making import FILE_ENDINGS, STEPS, Job
from edgeprune.report.memory import Memory
from edgeprune.report.one_device import report_device
from edgeprune.report.report import REPORT_FILES, Report
from edgeprune.searching import fingerprint
from edgeprune.searching.budget import require_drop
from edgeprune.targets.measurement import Settings
from edgeprune.targets.measuring import require_ready
from edgeprune.targets.missing import missing_instruments


def compare(
    model_path: Any,
    devices: Sequence[str | Path | DeviceProfile],
    data_path: Any,
    folder: str | Path,
    *,
    validation_data: Any = None,
    sparsity: float | None = None,
    cost: float | None = None,
    goal: Goal | None = None,
    routes: str | Sequence[str] = (),
    max_drop: float | None = None,
    epochs: int = 0,
    padding: Literal["keep", "symmetric"] | None = None,
    allocation: Allocation | None = None,
    samples: int | None = None,
    training: Training | None = None,
    scale: Scale = "auto",
    targets: Sequence[str] = (),
    settings: Settings | None = None,
    install_targets: bool = False,
    force: bool = False,
    progress: Progress = no_progress,
    memory: Memory | None = None,
    command: str = "",
    signature: str | None = None,
) -> Report:
    """Prunes, exports, validates and measures a model for several devices.

    Writes, into `folder`: `<device>.keras` and `<device>.tflite` (pruned; `<device>-<route>` on a
    route that is not the default), `dense-<numerics>.tflite` (what they are compared with),
    `report.json` and `report.html`. Every device is finished, also when another one fails.

    Args:
      model_path: a `.keras` or `.tflite` file, a SavedModel folder, or a built Keras model.
      devices: profiles, their names, or paths of a user's own `.toml` files.
      data_path: samples of any kind that `open_source` takes.
      folder: is made if its parent exists.
      validation_data: samples to measure accuracy on; if None, as `open_split` finds them.
      sparsity: fraction of zeros; each profile's default if None. A pattern with a sparsity of its
        own (2:4) keeps it.
      cost: in place of a sparsity, as for `plan`; where a route leaves nothing to choose it is not
        followed, and the report says so.
      goal: takes the first route of each profile that serves it; named routes have to serve it.
      routes: a route's name or several, each taken for the devices that have it, or "all"; the
        default route of each device if empty.
      max_drop: the most accuracy that the file of a device may lose against the dense float model,
        as a fraction of samples, such as 0.01; a check of every file that needs labels.
      epochs: short for `training=Training(epochs=epochs)`; 0 prunes in one shot.
      padding: "symmetric" where the device wants it, or "keep"; if None, symmetric with training.
      allocation: how zeros are spread over layers; if None, as each profile says.
      samples: most samples that plans, one shot and int8 are calibrated on;
        `RECONSTRUCTION_SAMPLES` if None.
      training: how to train with masks; one shot if None.
      scale: what uint8 data is scaled by; "auto" takes the scale of each input.
      targets: instruments, each used for the devices that it measures; one per device, the first
        of its own that is ready, if empty. Where there is none the report says what is expected.
      settings: how to measure.
      install_targets: whether instruments that are missing here are set up first.
      force: whether everything is done again. Else what an earlier run left in `folder` is reused
        where the model, the data, the profile, the options and the versions of what made it are
        the same, and its files are as they were written.
      progress: told what is done.
      memory: keeps the reports of devices for another process, if this one crashes.
      command: what asks for this on a command line, which the page then shows.
      signature: of a SavedModel folder that has several, the one that is taken.

    Raises:
      InputError: bad model, data, device, route or folder, or no labels for `max_drop`; before any
        work.
      TargetError: a target is unknown, not ready or cannot be set up, before any work.

    Warns:
      QualityWarning: samples that look wrongly scaled, before any work.
    """
    require_fraction(cost, sparsity)
    require_drop(max_drop)
    most = most_samples(samples)
    training = training or (Training(epochs=epochs) if epochs else None)
    profiles = [load_profile(device) for device in devices]
    chosen = settings or Settings()
    names = (routes,) if isinstance(routes, str) else routes
    entries = entries_of(profiles, names, goal, chosen.runtime)
    missing = missing_instruments(profiles, targets)
    if not install_targets:
        require_ready(targets)
    output = Path(folder)
    require_output_folder(output, *_file_names(entries))
    given = as_given(model_path, signature)
    able = [routes_for(given, profile, names) for profile in profiles]
    entries = entries_of(able, names, goal, chosen.runtime)
    model = given.model
    split = open_split(data_path, ports_of(model), validation=validation_data, scale=scale)
    if max_drop is not None:
        _require_labels(split.test, ports_of(model), data_path)
    if training is not None:
        split = replace(split, train=_readable(split.train))
        check_training(model, split.train, training)
    known = split.train.some(most)
    warn_at_chance(model, split.test.some(LOOKED_AT), given.name)
    if install_targets:
        for instrument in missing:
            instrument.install(progress)
        require_ready(targets)
    make_output_folder(output)
    store = Store(output, force)
    pads = padding or ("symmetric" if training and given.lifted is None else "keep")
    job = Job(
        given=given,
        name=given.name,
        split=split,
        samples=known,
        most_samples=samples,
        scale=scale,
        folder=output,
        sparsity=sparsity,
        cost=cost,
        goal=goal,
        padding=pads,
        allocation=allocation,
        max_drop=max_drop,
        targets=tuple(targets),
        settings=chosen,
        training=training,
        progress=progress,
        store=store,
        made_from=fingerprint.of_inputs(given, split.train, scale),
    )
    with store.held(lambda: progress(f"waiting for another run in {output}", 0, 1)):
        reports = _report_each(job, entries, memory)
        scaling = split.train.scaling
        report = Report(given.name, reports, scaling, command, installed_versions())
        report.write(output)
    return report


def _report_each(
    job: Job, entries: Sequence[Entry], memory: Memory | None
) -> tuple[DeviceReport, ...]:
    total = len(entries) * len(STEPS)
    reports: list[DeviceReport] = []
    for index, entry in enumerate(entries):

        def tell(step: str, entry: Entry = entry, index: int = index) -> None:
            done = index * len(STEPS) + STEPS.index(step)
            job.progress(f"{entry.name}: {step}", done, total)

        device = entry.offered.name
        known = (report.baselines for report in reports if report.device == device)
        baselines = next(filter(None, known), ())
        make = partial(report_device, job, entry, tell, baselines)
        reports.append(memory.report(index, entry, make) if memory else make())
    job.progress("report", total, total)
    return tuple(reports)


def _file_names(entries: Sequence[Entry]) -> list[str]:
    """The names of the files that a comparison writes."""
    return [
        *REPORT_FILES,
        *(f"{entry.name}{ending}" for entry in entries for ending in FILE_ENDINGS),
    ]


def _require_labels(test: AnySource, ports: Ports, given: Any) -> None:
    """Checks that what is lost can be told.

    Raises:
      DataError: there are no labels, or they name no classes.
    """
    if isinstance(test, Stream) or not test.labelled:
        raise no_labels(given)
    require_classes(test, ports, "For other models and labels, leave out --max-drop.")


def _readable(source: AnySource) -> AnySource:
    """The samples that can be read, where any can be asked for."""
    return source.readable() if isinstance(source, Data | Table) else source
