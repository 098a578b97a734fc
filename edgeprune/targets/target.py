"""What every instrument can do: the one seam between edgeprune and whatever runs a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from edgeprune.core.arrays import Array
    from edgeprune.core.terms import Core
    from edgeprune.profiles.profile import DeviceProfile
    from edgeprune.targets.checks import Case, Check
    from edgeprune.targets.child import Reply
    from edgeprune.targets.measurement import Measurement, Settings
    from edgeprune.tflite.format.file import Graph


@dataclass(frozen=True)
class Readiness:
    """Ready or not, with what was found and what to do about it."""

    ready: bool
    detail: str
    remedy: str = ""
    installs: str = ""
    """What `install` would fetch, and to where; empty where edgeprune cannot set it up."""


@dataclass(frozen=True)
class Capabilities:
    """What an instrument is able to do that others have to know of it."""

    says_flash: bool = False
    """Whether it reports what is stored in flash, which is not the file alone."""
    finds_zeros: bool = False
    """Whether it finds zeros in weights that are stored densely."""
    sparse_networks: bool = False
    """Whether it measures processors on which XNNPACK may run a network sparsely as a whole."""
    every_numerics: bool = False
    """Whether what it measures has a general processor, which runs files of every number format."""
    this_computer: bool = False
    """Whether it runs files, of whatever device, on the computer that edgeprune runs on: its times
    are of devices that are such a computer, and of no others."""
    unpacks: bool = False
    """Whether it runs files whose weights are packed behind DECODE."""
    leaves_unknown: bool = False
    """Whether it takes operators that it does not know, and leaves them to another processor."""
    repeatable: bool = False
    """Whether it says the same again, on any machine: it counts, compiles or models, and has no
    clock."""
    cost_unit: Literal["ms", "instructions", "cycles"] | None = None
    """In what it says how much work one inference is; None if it says nothing of that."""


class Remote:
    """An instrument on another machine, by its address.

    It is used only when it is asked for, and at the same time as others.
    """


class OnCores(ABC):
    """An instrument that runs files on the core of a device, whatever computer it is on.

    Half precision is computed there and not on this computer, where its outputs would be others.
    """

    @abstractmethod
    def readiness_on(self, core: Core) -> Readiness:
        """Whether it can be used for a core, and what adds the core if not."""

    @abstractmethod
    def run_on_core(self, graph: Graph, inputs: list[Array], profile: DeviceProfile) -> Reply:
        """Runs samples in the device's first runtime that is set up, on the device's core.

        Raises:
          TargetError: it is not set up, or not for that core; says what sets it up.
          WorkerError: the runtime refuses the file, crashes on it or does not end.
        """


class Installable(Protocol):
    """An instrument, or a part of one, that can be set up."""

    def readiness(self) -> Readiness:
        """Whether it can be used here, and what installs it if not."""

    def install(self, tell: Callable[[str, int, int], None]) -> None:
        """Sets it up; does nothing if it is ready.

        Args:
          tell: told what is being done, the step's number and the number of steps.

        Raises:
          TargetError: it cannot be set up here, or not by edgeprune; says what to do.
        """


class Target(Installable, Protocol):
    """An instrument that runs, compiles or models .tflite files."""

    @property
    def capabilities(self) -> Capabilities:
        """What it is able to do beside measuring and checking."""

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Measures files in turn; several are compared with the first.

        Raises:
          TfliteError: a file does not parse.
          TargetError: it does not have what the settings ask for.
          CheckError: it refuses a file, crashes on it or does not end.
        """

    def check(self, case: Case) -> Iterator[Check]:
        """What it adds to a verdict on a file; a file it refuses is a failed check, no error.

        Called whether it is ready or not: one that is not may say what stays unproven.
        """
