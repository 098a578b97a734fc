"""Measuring on boards: a queue for each, so that one board never runs two files at once.

The lock of a board is a file in the temporary folder of this computer, which all processes of a
user here see: workers wait for each other, whatever folder they work in.
"""

from __future__ import annotations

import contextlib
import getpass
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from edgeprune.core import digest
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.files import make_output_folder
from edgeprune.core.lock import held
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.find import find_target
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.measuring import measure_each
from edgeprune.targets.target import Remote


@dataclass(frozen=True)
class Job:
    """A file to be measured."""

    path: Path
    profile: DeviceProfile
    """On the route of the file."""
    target: str
    """The instrument, with its address if it has one."""
    beside: Path | None = None
    """A file that it is measured in turn with, and compared with, if any."""


def measure_jobs(
    jobs: Sequence[Job], settings: Settings
) -> Mapping[Job, Measurement | EdgepruneError]:
    """Measures files, those of one instrument in turn, and boards at the same time.

    Args:
      jobs: the files.
      settings: how to measure.

    Returns:
      What was said of each file, or why nothing was.
    """
    queues = [tuple(jobs) for _, jobs in groupby(sorted(jobs, key=_instrument), key=_instrument)]
    far = [queue for queue in queues if _is_far(queue[0])]
    near = [queue for queue in queues if not _is_far(queue[0])]
    found: dict[Job, Measurement | EdgepruneError] = {}
    if far:
        with ThreadPoolExecutor(len(far)) as pool:
            for part in pool.map(lambda queue: _in_turn(queue, settings), far):
                found |= part
    for queue in near:
        found |= _in_turn(queue, settings)
    return found


def _instrument(job: Job) -> str:
    return job.target


def _is_far(job: Job) -> bool:
    return isinstance(find_target(job.target), Remote)


def _in_turn(queue: Sequence[Job], settings: Settings) -> dict[Job, Measurement | EdgepruneError]:
    return {job: _measured(job, settings) for job in queue}


def _measured(job: Job, settings: Settings) -> Measurement | EdgepruneError:
    with _alone(job, settings):
        files = [job.path] if job.beside is None else [job.beside, job.path]
        (outcome,) = measure_each(files, job.profile, [job.target], settings)
    return outcome.error or outcome.measurements[-1]


@contextlib.contextmanager
def _alone(job: Job, settings: Settings) -> Iterator[None]:
    """Holds the lock of a board while a block runs; other instruments have none."""
    if not _is_far(job):
        yield
        return

    def waiting() -> None:
        settings.tell(f"waiting for {job.target}, which another process measures on", 0, 1)

    with held(lock_of(job.target), waiting):
        yield


def lock_of(target: str) -> Path:
    """The file that is locked while a board measures, in a folder that is there.

    Args:
      target: the board's instrument and address.

    Raises:
      OutputError: the folder cannot be made.
    """
    folder = Path(tempfile.gettempdir(), f"edgeprune-boards-{getpass.getuser()}")
    make_output_folder(folder)
    return folder / f"{digest.of_parts([target.encode()])[:16]}.lock"
