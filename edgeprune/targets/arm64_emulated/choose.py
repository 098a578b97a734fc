"""Which emulator runs a runtime on a core: the first one wherever it can, else the newer one."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.core.errors import TargetError
from edgeprune.core.runtime import Runtime
from edgeprune.core.terms import Core
from edgeprune.targets.arm64_emulated.emulator import (
    COMMAND,
    LATEST_COMMAND,
    NAME,
    Emulator,
    cached_emulator,
)
from edgeprune.targets.arm64_emulated.latest import ADDED_RUNTIMES, cached_latest


def installed_runtimes() -> tuple[Runtime, ...]:
    """The runtimes that are set up, those of the first emulator before others."""
    latest, first = cached_latest(), cached_emulator()
    if latest.complete():
        return latest.runtimes()
    return first.runtimes() if first.complete() else ()


def required_emulator() -> Emulator:
    """The first emulator.

    Raises:
      TargetError: it is not set up.
    """
    emulator = cached_emulator()
    if not emulator.complete():
        raise TargetError(
            f"Target '{NAME}' is not ready: expected its emulator in {emulator.folder}. Received: "
            f"none. Run: {COMMAND}"
        )
    return emulator


def emulator_of(runtime: Runtime, core: Core) -> Emulator:
    """The emulator that runs a runtime on a core.

    Raises:
      TargetError: it is not set up; says what sets it up.
    """
    first = required_emulator()
    if runtime in first.runtimes() and first.knows(core):
        return first
    latest = cached_latest()
    if not latest.complete():
        needs = str(runtime) if runtime not in first.runtimes() else f"core {core}"
        raise TargetError(
            f"Target '{NAME}': {needs} needs the newer emulator. Received: QEMU "
            f"{first.version('qemu')} alone. Run: {LATEST_COMMAND}"
        )
    return latest.running(runtime)


def find_runtime(
    installed: Sequence[Runtime],
    listed: Sequence[Runtime],
    name: str | None = None,
    version: str | None = None,
) -> Runtime:
    """The runtime to use: the first that a device lists and that is installed.

    Args:
      installed: what is set up.
      listed: what the device lists.
      name: what a person asked for, if anything.
      version: the same.

    Raises:
      TargetError: it is not installed, or there is none under that name.
    """
    known = dict.fromkeys((*installed, *(added.runtime for added in ADDED_RUNTIMES)))
    asked = [
        each for each in known if name in (None, each.name) and version in (None, each.version)
    ]
    if not asked:
        wanted = f"{name}=={version}" if version else name
        raise TargetError(
            f"Target '{NAME}' has these runtimes: {', '.join(map(str, known))}. Received: {wanted}."
        )
    usable = [each for each in asked if each in installed]
    if not usable:
        raise TargetError(f"Target '{NAME}': {asked[0]} is not installed. Run: {LATEST_COMMAND}")
    return next(iter(listed_runtimes(usable, listed)), usable[0])


def listed_runtimes(installed: Sequence[Runtime], listed: Sequence[Runtime]) -> tuple[Runtime, ...]:
    """The installed runtimes that a device lists, in its order.

    One that is listed at a version that is not installed is the first under its name.
    """
    found = []
    for wanted in listed:
        alike = [each for each in installed if each.name == wanted.name]
        found += [wanted] if wanted in alike else alike[:1]
    return tuple(dict.fromkeys(found))
