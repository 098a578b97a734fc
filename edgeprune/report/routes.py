"""Routes side by side: which number format and pattern is fastest on a device, before training.

Every route's files are made without training, measured in turn by one instrument of the device's
own, and ranked. Where no instrument is ready, the device's cost table ranks them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeprune.conversion.given import as_given
from edgeprune.conversion.routes_of_given import routes_for, why_unfit
from edgeprune.core.data import Scale
from edgeprune.core.errors import CheckError, InputError
from edgeprune.core.files import Artifact, make_output_folder, require_output_folder
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.runtime import read_runtime
from edgeprune.core.sources import samples_of
from edgeprune.core.terms import Goal
from edgeprune.keras_model.ports import ports_of
from edgeprune.planning.route_cost import UNIT, expect_dense
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.profiles.rules import Route
from edgeprune.report.entry import unmet as why_unmet
from edgeprune.report.headline import gain_of
from edgeprune.report.route_files import (
    CALIBRATION_SAMPLES,
    RouteFiles,
    RouteJob,
    make_route_files,
)
from edgeprune.report.route_table import Need, RouteResult, Routes
from edgeprune.targets.inference_cost import cost_of
from edgeprune.targets.measurement import Measurement, Settings, speedup_over
from edgeprune.targets.measuring import (
    instrument_for,
    measure_each,
)
from edgeprune.targets.missing import not_measured
from edgeprune.tflite.format.file import read

Found = Mapping[Path, Measurement | CheckError]
"""What an instrument said of each file, or why it did not run it."""


def routes(
    model: Any,
    device: str | Path | DeviceProfile,
    *,
    name: str | None = None,
    sparsity: float | None = None,
    cost: float | None = None,
    goal: Goal | None = None,
    data: Any = None,
    scale: Scale = "auto",
    only: str | None = None,
    skip: str | None = None,
    target: str | None = None,
    runtime: str | None = None,
    settings: Settings | None = None,
    folder: str | Path | None = None,
    signature: str | None = None,
    progress: Progress = no_progress,
) -> Routes:
    """Measures every route of a device, dense and pruned, without training anything.

    What a model costs does not depend on the values of its weights, so this tells which route pays
    before one is trained for. The files are for measuring only, and `validate` refuses them.

    Args:
      model: a built Keras model, or the path of its file, of a .tflite file or of a SavedModel
        folder.
      device: a profile, its name, or the path of a user's own `.toml` file.
      name: what the model is called in the result; its path or its own name if None.
      sparsity: fraction of zeros, or of weights to remove; each route's default if None. A pattern
        with a sparsity of its own (2:4) keeps it.
      cost: as for `plan`; routes whose cost leaves nothing to choose keep their own sparsity.
      goal: leaves out routes that do not serve it, other than dense ones.
      data: samples of any kind that `open_source` takes, to calibrate int8; generated if None.
      scale: what uint8 data is scaled by.
      only: regular expression; layers whose path it is not found in are left alone.
      skip: regular expression; layers whose path it is found in are left alone.
      target: an instrument of the device's own; the first that is ready if None. Without one,
        nothing is measured.
      runtime: as for `measure`.
      settings: how to measure otherwise.
      folder: keeps the files, named after their routes; is made if its parent exists.
      signature: of a SavedModel folder that has several, the one that is taken.
      progress: told what is done.

    Raises:
      InputError: bad model, data, device, folder or layers, before any work; or no file of any
        route could be made.
      TargetError: the target is unknown, not ready, or does not measure this device.
    """
    listed = _in_runtime(load_profile(device), runtime)
    given = as_given(model, signature)
    profile = routes_for(given, listed)
    chosen = _settings(settings, runtime, progress)
    instrument = instrument_for(profile, target)
    served = _serving(listed, goal)
    running = _runtime_name(profile, chosen)
    unmet = {
        route.name: why_unfit(given, route) or why_unmet(profile, route, running)
        for route in served
    }
    able = [route for route in served if not unmet[route.name]]
    if folder is not None:
        require_output_folder(Path(folder), *(f"{route.name}.tflite" for route in able))
    samples = None
    if data is not None:
        samples = samples_of(data, ports_of(given.model), CALIBRATION_SAMPLES, scale=scale)
    with _place(folder) as place:
        job = RouteJob(
            given=given,
            name=name or given.name,
            profile=profile,
            samples=samples,
            scale=scale,
            sparsity=sparsity,
            cost=cost,
            only=only,
            skip=skip,
            folder=place,
            progress=progress,
        )
        files = make_route_files(job, able)
        _require_files(files)
        progress("measuring", len(able), len(able) + 1)
        found = _measured(files, profile, instrument, chosen)
        expect = {each.route.name: _expected(each, profile) for each in files}
    made = {each.route.name: each for each in files}
    if folder is None:
        found = {path: _nameless(each) for path, each in found.items()}
    results = tuple(
        _result(made[route.name], found, expect[route.name])
        if route.name in made
        else _not_made(route, unmet[route.name], sparsity)
        for route in served
    )
    measured = [each for each in found.values() if isinstance(each, Measurement)]
    return Routes(
        model=job.name,
        device=profile.name,
        runtime=measured[0].runtime if measured else _listed(profile, chosen),
        routes=_beside_floats(results),
        not_measured="" if instrument else _why_not_measured(profile),
    )


def _settings(settings: Settings | None, runtime: str | None, progress: Progress) -> Settings:
    found = replace(settings or Settings(), tell=progress)
    if runtime is None:
        return found
    name, version = read_runtime(runtime)
    return replace(found, runtime=name, runtime_version=version)


def _in_runtime(profile: DeviceProfile, runtime: str | None) -> DeviceProfile:
    """The profile for one runtime alone; as it is where an instrument has others than it lists."""
    listed = {each.name for each in profile.runtimes}
    known = runtime is not None and read_runtime(runtime)[0] in listed
    return profile.in_runtime(runtime) if known else profile


def _serving(profile: DeviceProfile, goal: Goal | None) -> tuple[Route, ...]:
    """The routes that serve a goal, all if None; dense ones, which would be taken instead."""
    if goal is not None:
        profile.strategy(goal)
    return tuple(r for r in profile.offered if goal is None or r.dense or goal in r.goals)


def _runtime_name(profile: DeviceProfile, settings: Settings) -> str:
    return settings.runtime or profile.runtimes[0].name


def _listed(profile: DeviceProfile, settings: Settings) -> str:
    """The runtime that would be measured with, as far as the profile says."""
    name = _runtime_name(profile, settings)
    versions = (entry.version for entry in profile.runtimes if entry.name == name)
    return f"{name} {settings.runtime_version or next(versions, '')}".strip()


@contextmanager
def _place(folder: str | Path | None) -> Iterator[Path]:
    """The folder for the files, which is gone afterwards if nobody named one."""
    if folder is not None:
        make_output_folder(Path(folder))
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        yield Path(name)


def _require_files(made: Sequence[RouteFiles]) -> None:
    """Checks that there is something to measure, or something that a check found.

    Raises:
      InputError: no route could be exported, for what the model is.
    """
    errors = [files.error for files in made if files.dense is None and files.error is not None]
    if errors and len(errors) == len(made) and isinstance(errors[0], InputError):
        raise errors[0]


def _measured(
    made: Sequence[RouteFiles], profile: DeviceProfile, instrument: str | None, settings: Settings
) -> Found:
    """Measures all files in turn; where one does not run, each by itself."""
    files = [artifact.path for each in made for artifact in (each.dense, each.pruned) if artifact]
    paths = list(dict.fromkeys(files))
    if instrument is None or not paths:
        return {}
    found = _ask(paths, profile, instrument, settings)
    if isinstance(found, CheckError):
        alone = [(path, _ask([path], profile, instrument, settings)) for path in paths]
        return {path: each if isinstance(each, CheckError) else each[0] for path, each in alone}
    return dict(zip(paths, found, strict=True))


def _ask(
    paths: Sequence[Path], profile: DeviceProfile, instrument: str, settings: Settings
) -> tuple[Measurement, ...] | CheckError:
    (outcome,) = measure_each(paths, profile, [instrument], settings)
    if outcome.error is None:
        return outcome.measurements
    if isinstance(outcome.error, CheckError):
        return outcome.error
    raise outcome.error


def _nameless(found: Measurement | CheckError) -> Measurement | CheckError:
    """What was said of a file that is gone by now, by its name alone."""
    if isinstance(found, CheckError):
        return found
    return replace(found, model=Path(found.model).name, artifact=None)


def _expected(files: RouteFiles, profile: DeviceProfile) -> float | None:
    """What the device's cost table expects of the file of a route; None if it does not tell."""
    plan = files.plan
    if plan is not None:
        told = plan.expected if plan.expected and plan.expected.unit == UNIT else None
        return told.pruned if told else None
    if files.dense is None:
        return None
    return expect_dense(read(files.dense.path), profile.on(files.route.name))


def _result(files: RouteFiles, found: Found, expected: float | None) -> RouteResult:
    dense, pruned = (_said(artifact, found) for artifact in (files.dense, files.pruned))
    errors = [files.error, *(each for each in (dense, pruned) if isinstance(each, CheckError))]
    error = next(filter(None, errors), None)
    before = dense if isinstance(dense, Measurement) else None
    after = pruned if isinstance(pruned, Measurement) else None
    if before is not None and after is not None:
        after = replace(after, speedup=speedup_over(before, after))
    gains, reason = (None, str(error)) if error else gain_on(files, before, after)
    return RouteResult(
        route=files.route.name,
        numerics=files.route.numerics,
        pattern=_patterns(files.route),
        asked=files.plan.asked if files.plan else 0.0,
        reached=files.reached,
        needs=_needs(files.route),
        dense=before and replace(before, speedup=None),
        pruned=after,
        size_bytes=files.own.size_bytes if files.own else None,
        gains=gains,
        reason=reason,
        failed=isinstance(error, CheckError),
        expected=expected,
    )


def _said(artifact: Artifact | None, found: Found) -> Measurement | CheckError | None:
    return found.get(artifact.path) if artifact else None


def gain_on(
    files: RouteFiles, dense: Measurement | None, pruned: Measurement | None
) -> tuple[bool | None, str]:
    """Whether pruning gains on a route, and what it gains or what stands in its way."""
    if files.plan is None:
        return None, ""
    said = " ".join(files.plan.warnings())
    if not files.plan.pruned:
        return False, said
    if dense is None or pruned is None:
        return None, said
    gain = gain_of(dense, pruned, None, "")
    if gain.factor is None:
        return None, said
    text = str(pruned.speedup or gain.text)
    if gain.proven == "gain":
        return True, text
    if gain.proven is None and pruned.latency_ms is not None:
        return None, text  # within the noise of the clock
    return False, f"{text}. {said or _SLOWER}"


_SLOWER = "The device's kernels do not turn what was pruned into less work."


def _beside_floats(results: tuple[RouteResult, ...]) -> tuple[RouteResult, ...]:
    """Dense routes with what they gain over dense float32, where that was measured too."""
    floats = [result.dense for result in results if result.numerics == "float32" and result.dense]
    if not floats:
        return results
    return tuple(
        _beside_float(result, floats[0])
        if result.pattern is None and result.dense and result.numerics != "float32"
        else result
        for result in results
    )


def _beside_float(result: RouteResult, first: Measurement) -> RouteResult:
    dense = result.dense and replace(result.dense, speedup=speedup_over(first, result.dense))
    if dense is None or cost_of(dense) is None:
        return result
    gain = gain_of(first, dense, None, "")
    if gain.factor is None:
        return result
    text = f"{dense.speedup or gain.text}, beside dense float32"
    return replace(result, gains=gain.proven == "gain", reason=text)


def _not_made(route: Route, why: str, sparsity: float | None) -> RouteResult:
    asked = route.default_sparsity if sparsity is None or route.fixed else sparsity
    return RouteResult(
        route=route.name,
        numerics=route.numerics,
        pattern=_patterns(route),
        asked=0.0 if route.dense else asked,
        reached=None,
        needs=_needs(route),
        dense=None,
        pruned=None,
        size_bytes=None,
        gains=None,
        reason=why,
    )


def _patterns(route: Route) -> str | None:
    return " or ".join(dict.fromkeys(str(rule.pattern) for rule in route.rules)) or None


def _needs(route: Route) -> tuple[Need, ...]:
    """What keeps the accuracy on a route: calibration, and training of what is pruned.

    Labels are of use there, but training without any follows the dense model's outputs.
    """
    if not route.dense:
        return ("data", "training")
    return ("data",) if route.numerics == "int8" else ()


def _why_not_measured(profile: DeviceProfile) -> str:
    return (
        f"Nothing was measured, since no instrument of {profile.name} is ready: "
        f"{not_measured(profile)}. The cost table ranks what it knows."
    )
