"""Targets: the instruments that run or compile an artifact, all behind one seam.

A target is one module or folder and one line in `TARGETS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from edgeprune.layout import Array
from edgeprune.measure import Measurement
from edgeprune.profile import DeviceProfile
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.targets.child import Reply
from edgeprune.targets.host import HOST
from edgeprune.targets.readiness import Readiness
from edgeprune.tflite.file import Graph


class Target(Protocol):
    """What every instrument can do."""

    def readiness(self) -> Readiness:
        """Whether it can be used here, and what installs it if not."""

    def install(self, tell: Callable[[str, int, int], None]) -> None:
        """Sets it up; does nothing if it is ready.

        Args:
          tell: told what is being done, the step's number and the number of steps.

        Raises:
          TargetError: it cannot be set up here, or not by edgeprune; says what to do.
        """

    def runtimes(self, profile: DeviceProfile) -> tuple[str, ...]:
        """The runtimes that a profile wants and that are here, by name, the reference first."""

    def run(
        self, graph: Graph, inputs: list[Array], runtime: str, *, delegates: bool = True
    ) -> Reply:
        """Runs samples one at a time; `inputs` and the outputs are in the order of `signature`.

        Raises:
          WorkerError: the runtime refuses the file, crashes on it or does not end.
        """

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, runtime: str | None, threads: int
    ) -> tuple[Measurement, ...]:
        """Measures files in turn, in the named runtime or the reference one.

        Raises:
          TfliteError: a file does not parse.
          WorkerError: the runtime refuses a file, crashes on it or does not end.
        """


TARGETS: Mapping[str, Target] = MappingProxyType({"host": HOST, "arm64-emulated": ARM64_EMULATED})
"""Every instrument of this version, by the name that `--target` takes."""

__all__ = ["TARGETS", "Readiness", "Target"]
