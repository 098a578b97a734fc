"""Measuring: artifacts go to one or more instruments, and what those say comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgeprune.core.errors import EdgepruneError, TargetError, errors_name
from edgeprune.core.files import describe_file
from edgeprune.core.runtime import read_runtime
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.targets.find import TARGETS, find_target, measures_device
from edgeprune.targets.host import HOST
from edgeprune.targets.measurement import DEFAULT_PYTHON, Measurement, Measurements, Settings
from edgeprune.targets.target import OnCores, Readiness, Remote
from edgeprune.tflite.format.file import read as read_tflite
from edgeprune.tflite.metadata import named_route
from edgeprune.tflite.remainder import find_remainder, without_remainder


def measure(
    models: Sequence[str | Path],
    device: str | Path | DeviceProfile,
    *,
    target: str | Sequence[str] | None = None,
    runtime: str | None = None,
    route: str | None = None,
    threads: int = 1,
    affinity: Sequence[int] = (),
    artifacts: Path | None = None,
    board_python: str = DEFAULT_PYTHON,
    benchmark_binary: str | Path | None = None,
) -> Measurements:
    """Measures .tflite files with one or more instruments, in turn with each other.

    Args:
      models: the files; with several, each is also compared with the first.
      device: a profile, its name, or the path of a user's own `.toml` file.
      target: an instrument's name, with its address behind a colon if it has one, or several; the
        first of the profile's that is ready if None. Without one the files are run here once, for
        whether they run and how large they are: this computer's time is never the device's.
      runtime: `tflite-runtime`, `LiteRT` or `TensorFlow`, where the target has several, or one at
        a version, `LiteRT==2.3.0`; the first that the device lists and the target has if None.
      route: that the files were made on, one of the profile's by its name; as their manifests say
        if None.
      threads: that the runtime may use.
      affinity: numbers of the processors to run on; any if empty.
      artifacts: folder for what the instrument makes of the files; beside them if None.
      board_python: the command of the Python on boards that `ssh` reaches.
      benchmark_binary: TensorFlow's `benchmark_model`, for phones that `adb` reaches.

    Returns:
      The measurements of all files by the first target, then by the next one; a tuple that prints
      as a table.

    Raises:
      ProfileError: the profile has no such route, or its core not what that needs.
      TargetError: the target is unknown or not ready, or it does not have the runtime.
      TfliteError: a file does not parse.
      CheckError: the runtime refuses a file, crashes on it or does not end.
    """
    binary = Path(benchmark_binary) if benchmark_binary is not None else None
    chosen, version = (None, None) if runtime is None else read_runtime(runtime)
    settings = Settings(
        runtime=chosen,
        runtime_version=version,
        threads=threads,
        artifacts=artifacts,
        affinity=tuple(affinity),
        python=board_python,
        benchmark_binary=binary,
    )
    names = [target] if isinstance(target, str) else target
    found: list[Measurement] = []
    for outcome in measure_each(models, device, names, settings, route=route):
        if outcome.error is not None:
            raise outcome.error
        found += outcome.measurements
    return Measurements(found)


@dataclass(frozen=True)
class Outcome:
    """What one target said, or why it did not."""

    target: str
    measurements: tuple[Measurement, ...] = ()
    error: EdgepruneError | None = None


def measure_each(
    models: Sequence[str | Path],
    device: str | Path | DeviceProfile,
    targets: Sequence[str] | None,
    settings: Settings,
    tell: Callable[[str, str, int, int], None] | None = None,
    *,
    route: str | None = None,
) -> tuple[Outcome, ...]:
    """Measures with every target, whatever becomes of the others.

    A target that is not one of the device's own gives no ratio for it, see `Measurement`.

    Those on other machines work at the same time; those here wait for them, and for each other,
    since they would disturb each other's clocks.

    Args:
      models: the files; with several, each is also compared with the first.
      device: a profile, its name, or the path of a user's own `.toml` file.
      targets: names of instruments; `default_target` if None or empty. Where there is none, the
        files are run on this computer, and not timed.
      settings: for all of them.
      tell: told which target does what, the step's number and the number of steps.
      route: as for `measure`.

    Raises:
      ProfileError: as `measure`.
      TargetError: a target is unknown, not ready or named twice; nothing was measured then.
    """
    profile = load_profile(device)
    if route is not None:
        profile.on(route)
    names = list(targets or filter(None, [default_target(profile)]))
    paths = [Path(model) for model in models]
    if not names:
        return (_with_routes(_run_here(paths, profile, settings), profile, route),)
    require_ready(names)

    def work(name: str) -> Outcome:
        telling = replace(settings, tell=partial(tell, name)) if tell else settings
        try:
            target = find_target(name)
            with _runnable(paths, whole=target.capabilities.leaves_unknown) as files:
                found = _of_whole(target.measure(files, profile, telling), paths)
        except EdgepruneError as error:
            return Outcome(name, error=error)
        own = measures_device(name, profile)
        return Outcome(name, found if own else tuple(map(_as_proxy, found)))

    far = [name for name in names if isinstance(find_target(name), Remote)]
    outcomes = _at_the_same_time(work, far)
    outcomes.update({name: work(name) for name in names if name not in outcomes})
    return tuple(_with_routes(outcomes[name], profile, route) for name in names)


@contextmanager
def _runnable(paths: Sequence[Path], *, whole: bool = False) -> Iterator[Sequence[Path]]:
    """What can be run of files, while a block runs: they end before operators that no runtime has.

    Args:
      paths: the files.
      whole: whether they stay as they are.
    """
    with ExitStack() as stack:
        files = []
        for path in paths:
            graph = read_tflite(path)
            runnable = graph if whole else stack.enter_context(without_remainder(graph))
            stack.enter_context(errors_name(path, runnable.path))
            files.append(runnable.path)
        yield files


def _of_whole(found: Sequence[Measurement], paths: Sequence[Path]) -> tuple[Measurement, ...]:
    """Measurements of what can be run of files as those of the files, which they say."""
    return tuple(
        each if each.model == str(path) else _renamed(each, path)
        for each, path in zip(found, paths, strict=True)
    )


def _renamed(found: Measurement, path: Path) -> Measurement:
    remainder = find_remainder(read_tflite(path))
    names = ", ".join(remainder.names) if remainder else ""
    artifact = describe_file(path)
    return replace(
        found,
        model=str(path),
        size_bytes=artifact.size_bytes,
        gzip_bytes=artifact.gzip_bytes,
        conditions=f"{found.conditions}; without {names} and what comes after",
    )


def _with_routes(outcome: Outcome, profile: DeviceProfile, asked: str | None) -> Outcome:
    """What a target said, each with the route that was asked for, else that of the file."""
    names = [route.name for route in profile.offered]

    def route_of(found: Measurement) -> str | None:
        return asked or named_route(read_tflite(Path(found.model)), profile.name, names)

    found = (replace(each, route=route_of(each)) for each in outcome.measurements)
    return replace(outcome, measurements=tuple(found))


def _run_here(paths: Sequence[Path], profile: DeviceProfile, settings: Settings) -> Outcome:
    """Whether the files run on this computer, and how large they are."""
    try:
        with _runnable(paths) as files:
            found = _of_whole(HOST.run_once(files, profile, settings), paths)
    except EdgepruneError as error:
        return Outcome(HOST.name, error=error)
    return Outcome(HOST.name, tuple(map(_as_proxy, found)))


def _as_proxy(found: Measurement) -> Measurement:
    """What a target that is not one of the device's own says: no ratio of it is the device's."""
    ratio = found.speedup.median if found.latency_ms and found.speedup else None
    return replace(found, stand_in=True, speedup=None, host_time_ratio=ratio)


def require_ready(names: Sequence[str]) -> None:
    """Checks that instruments can be used.

    Raises:
      TargetError: one is unknown, not ready or named twice.
    """
    if len(set(names)) < len(names):
        raise TargetError(f"Expected every target once. Received: {', '.join(names)}.")
    for name in names:
        state = find_target(name).readiness()
        if not state.ready:
            raise TargetError(f"Target '{name}' is not ready: {state.detail}. {state.remedy}")


def _at_the_same_time(work: Callable[[str], Outcome], names: list[str]) -> dict[str, Outcome]:
    """Does work for every name in a thread of its own.

    The threads end with the program, so that it can be interrupted: a connection that is not held
    any more is ended by its other side, in order.
    """
    outcomes: dict[str, Outcome] = {}
    bugs: list[BaseException] = []

    def run(name: str) -> None:
        try:
            outcomes[name] = work(name)
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            bugs.append(error)

    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for bug in bugs:
        raise bug
    return outcomes


def default_target(profile: DeviceProfile) -> str | None:
    """The first of the device's own targets that is ready here; None if none is.

    An instrument on another machine is used only when it is asked for.
    """
    names = (name for name in local_targets(profile) if find_target(name).readiness().ready)
    return next(names, None)


def targets_for(asked: Sequence[str], profile: DeviceProfile) -> tuple[str, ...]:
    """The instruments to measure a device with: of those asked for its own, else its default.

    Empty where there is none: this computer is no device but those that are such a computer.
    """
    if asked:
        return tuple(name for name in asked if measures_device(name, profile))
    default = default_target(profile)
    return (default,) if default and readiness_for(default, profile).ready else ()


def instrument_for(profile: DeviceProfile, asked: str | None) -> str | None:
    """The one instrument to compare files of a device with; None if none of its own is ready here.

    Args:
      profile: the device.
      asked: a target by its name, with its address if it has one; the default one if None.

    Raises:
      TargetError: the target is unknown, not ready, or does not measure this device.
    """
    if asked is None:
        return next(iter(targets_for((), profile)), None)
    require_ready([asked])
    if not measures_device(asked, profile):
        raise TargetError(
            f"Target '{asked}' does not measure {profile.name}, and no other device's costs tell "
            f"what is fast there. Expected one of {', '.join(profile.targets)}."
        )
    return asked


def readiness_for(name: str, profile: DeviceProfile) -> Readiness:
    """Whether a target can be used for a device: one that emulates cores may lack the device's."""
    target = find_target(name)
    return target.readiness_on(profile.core) if isinstance(target, OnCores) else target.readiness()


def local_targets(profile: DeviceProfile) -> tuple[str, ...]:
    """The device's own targets that measure it here, whether they are ready or not, best first."""
    known = (name for name in profile.targets if name in TARGETS)
    return tuple(
        name
        for name in known
        if measures_device(name, profile) and not isinstance(find_target(name), Remote)
    )
