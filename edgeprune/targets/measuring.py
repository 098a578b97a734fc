"""Measuring: artifacts go to one or more instruments, and what those say comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgeprune.core.errors import EdgepruneError, TargetError
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.targets.find import TARGETS, find_target
from edgeprune.targets.measurement import DEFAULT_PYTHON, Measurement, Measurements, Settings
from edgeprune.targets.target import Remote

PROXY_TARGET = "host"
"""The instrument that measures for any device where none of its own is ready."""


def measure(
    models: Sequence[str | Path],
    device: str | Path | DeviceProfile,
    *,
    target: str | Sequence[str] | None = None,
    runtime: str | None = None,
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
        first of the profile's that is ready if None, else `host`.
      runtime: `tflite-runtime`, `LiteRT` or `TensorFlow`, where the target has several; the
        reference if None.
      threads: that the runtime may use.
      affinity: numbers of the processors to run on; any if empty.
      artifacts: folder for what the instrument makes of the files; beside them if None.
      board_python: the command of the Python on boards that `ssh` reaches.
      benchmark_binary: TensorFlow's `benchmark_model`, for phones that `adb` reaches.

    Returns:
      The measurements of all files by the first target, then by the next one; a tuple that prints
      as a table.

    Raises:
      TargetError: the target is unknown or not ready, or it does not have the runtime.
      TfliteError: a file does not parse.
      CheckError: the runtime refuses a file, crashes on it or does not end.
    """
    binary = Path(benchmark_binary) if benchmark_binary is not None else None
    settings = Settings(runtime, threads, artifacts, tuple(affinity), board_python, binary)
    names = [target] if isinstance(target, str) else target
    found: list[Measurement] = []
    for outcome in measure_each(models, device, names, settings):
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
) -> tuple[Outcome, ...]:
    """Measures with every target, whatever becomes of the others.

    Those on other machines work at the same time; those here wait for them, and for each other,
    since they would disturb each other's clocks.

    Args:
      models: the files; with several, each is also compared with the first.
      device: a profile, its name, or the path of a user's own `.toml` file.
      targets: names of instruments; `default_target` if None or empty.
      settings: for all of them.
      tell: told which target does what, the step's number and the number of steps.

    Raises:
      TargetError: a target is unknown, not ready or named twice; nothing was measured then.
    """
    profile = load_profile(device)
    names = list(targets or [default_target(profile)])
    require_ready(names)

    def work(name: str) -> Outcome:
        telling = replace(settings, tell=partial(tell, name)) if tell else settings
        try:
            found = find_target(name).measure([Path(model) for model in models], profile, telling)
        except EdgepruneError as error:
            return Outcome(name, error=error)
        own = name.partition(":")[0] in profile.targets
        return Outcome(name, tuple(replace(m, stand_in=not own) for m in found))

    far = [name for name in names if isinstance(find_target(name), Remote)]
    outcomes = _at_the_same_time(work, far)
    outcomes.update({name: work(name) for name in names if name not in outcomes})
    return tuple(outcomes[name] for name in names)


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


def default_target(profile: DeviceProfile) -> str:
    """The first of the profile's targets that is ready here; `PROXY_TARGET` if none is.

    An instrument on another machine is used only when it is asked for.
    """
    found = {name: find_target(name) for name in profile.targets if name in TARGETS}
    here = (name for name, target in found.items() if not isinstance(target, Remote))
    return next((name for name in here if found[name].readiness().ready), PROXY_TARGET)
