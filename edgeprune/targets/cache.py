"""The user's cache folder: what is set up there, as root or not, is there whole or not at all.

Everything is built in a folder beside the final one and renamed at the end, so that an interrupted
set-up leaves nothing that looks finished. One that takes long is made of steps, and those that are
finished are not done again. A lock keeps two set-ups from doing the same work; the system drops it
when its holder dies.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from edgeprune.core.errors import TargetError

PARTIAL = ".partial-"
UNFINISHED = ".unfinished"

Tell: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, the step's number and the number of steps."""


@dataclass(frozen=True)
class Step:
    """A part of a set-up that takes long; after an interruption a finished one is not repeated."""

    name: str
    """Unique among the steps; names the file that says that it is finished."""
    what: str
    """What is being done, as it is told."""
    carry_out: Callable[[], None]
    """Does it, also where an interrupted try left half of it."""


def cache_folder() -> Path:
    """Where edgeprune keeps what can be downloaded again, by the XDG base directory rules."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "edgeprune"


def set_up(
    name: str,
    folder: Path,
    complete: Callable[[], bool],
    build: Callable[[Path, Path], None],
    *,
    room_bytes: int,
) -> None:
    """Sets a folder of the cache up, unless somebody else has done so by then.

    Args:
      name: of what is set up; begins the error, and names the lock.
      folder: the final place.
      complete: whether everything is there.
      build: makes it all in the first of two folders; what is in the second is thrown away.
      room_bytes: that have to be free there.

    Raises:
      TargetError: the cache folder cannot be written, or has no room; or as `build` does.
    """
    with _turn(name, folder.parent):
        if not complete():
            _require_room(name, folder.parent, room_bytes)
            _replace(folder, build)


def set_up_in_steps(
    name: str,
    folder: Path,
    complete: Callable[[], bool],
    steps: Callable[[Path, Path], Sequence[Step]],
    tell: Tell,
    *,
    room_bytes: int,
) -> None:
    """Sets a folder of the cache up in steps, unless somebody else has done so by then.

    Args:
      name: as for `set_up`.
      folder: the final place.
      complete: whether everything is there.
      steps: what is to be done, given the folder that becomes the final one and one for everything
        else; both are kept when a step fails or is interrupted.
      tell: told the steps that are done.
      room_bytes: that have to be free there.

    Raises:
      TargetError: the cache folder cannot be written, or has no room; or as a step does.
    """
    with _turn(name, folder.parent):
        if complete():
            return
        _require_room(name, folder.parent, room_bytes)
        unfinished = unfinished_folder(folder)
        for outdated in set(folder.parent.glob(f"{name}-*{UNFINISHED}")) - {unfinished}:
            shutil.rmtree(outdated, ignore_errors=True)
        new, rest = unfinished / "new", unfinished / "rest"
        for each in (new, rest):
            each.mkdir(parents=True, exist_ok=True)
        _carry_out(steps(new, rest), unfinished, tell)
        _put_in_place(new, folder)
        shutil.rmtree(unfinished, ignore_errors=True)


def unfinished_folder(folder: Path) -> Path:
    """Where a set-up in steps keeps what it did until it is whole."""
    return folder.with_name(folder.name + UNFINISHED)


def _carry_out(steps: Sequence[Step], unfinished: Path, tell: Tell) -> None:
    for number, step in enumerate(steps):
        finished = unfinished / f"{step.name}.finished"
        if not finished.exists():
            tell(step.what, number, len(steps))
            step.carry_out()
            finished.touch()


@contextmanager
def _turn(name: str, parent: Path) -> Iterator[None]:
    """Waits for other set-ups of the same; what the system refuses is an error with a remedy."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _lock(parent / f"{name}.lock"):
            yield
    except OSError as error:
        raise TargetError(
            f"{name}: expected a cache folder that can be written, {parent}. Received: "
            f"{error}. Make room there, or name another folder in XDG_CACHE_HOME."
        ) from error


def _require_room(name: str, folder: Path, room_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < room_bytes:
        raise TargetError(
            f"{name}: expected {room_bytes >> 20} MB free in {folder}. Received: {free >> 20} MB. "
            "Make room there, or name another folder in XDG_CACHE_HOME."
        )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds a lock on a file, waiting for whoever has it; nothing is set up on Windows."""
    with path.open("w") as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace(folder: Path, build: Callable[[Path, Path], None]) -> None:
    """Builds beside what is there, then takes its place; called with the lock held."""
    parent, name = folder.parent, folder.name
    for left_over in parent.glob(f"{name}{PARTIAL}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f"{name}{PARTIAL}", dir=parent, ignore_cleanup_errors=True
    ) as partial:
        built = Path(partial, "new")
        built.mkdir()
        build(built, Path(partial, "downloads"))
        _put_in_place(built, folder)


def _put_in_place(built: Path, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    built.rename(folder)
